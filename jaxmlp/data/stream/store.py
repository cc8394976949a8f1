"""Prepared rows kept in a file, so that each slice is read and prepared once a run."""

import io
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jaxmlp.data.buffers import Buffers
from jaxmlp.data.errors import DataError
from jaxmlp.data.files import available_memory
from jaxmlp.data.tables import one_line

Rows = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Network input, `(n, p)`, and labels in {0, 1}, `(n,)`."""

Key = tuple[int, int]
"""Of a slice: number of its row group, and its own in that."""


@contextmanager
def row_store(folder: Path) -> Iterator["RowStore | None"]:
    """Makes a store in a folder, or None where no file can be made there.

    Its file has no name: nothing is left of it, however the process ends. It may take half
    of the memory that is free, so that the system holds it in its cache, where it is read
    many times as fast as the table; and half of the disk's room.
    """
    store = None
    with ExitStack() as stack:
        with suppress(OSError):
            room = min(available_memory(), shutil.disk_usage(folder).free) // 2
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
            store = RowStore(file, folder, room)
            stack.callback(store.close)
        yield store


class RowStore:
    """Keeps the rows of slices, as many as there is room for; several threads may use it.

    A file that cannot grow any more is given up, and nothing is kept from then on.
    """

    def __init__(self, file: io.FileIO, folder: Path, room: int) -> None:
        """An empty one.

        Args:
          file: Where to keep them.
          folder: The file's, for messages.
          room: Bytes that it may take.
        """
        self._file, self._folder, self._room = file, folder, room
        self._end = 0
        self._entries: dict[Key, tuple[int, tuple[int, ...]]] = {}
        self._lock = threading.Lock()

    def put(self, key: Key, rows: Rows) -> None:
        """Keeps a slice's rows, if there is room."""
        n_bytes = sum(array.nbytes for array in rows)
        with self._lock:
            is_full = self._file.closed or self._end + n_bytes > self._room
            if is_full or key in self._entries:
                return
            try:
                self._file.seek(self._end)
                for array in rows:
                    if self._file.write(array.data) != array.nbytes:
                        raise OSError("the disk is full")
            except OSError:
                self._give_up()
            else:
                self._entries[key] = self._end, rows[0].shape
                self._end += n_bytes

    def get(self, key: Key, buffers: Buffers) -> Rows | None:
        """A slice's rows, or None if they are not kept.

        Args:
          key: The slice.
          buffers: Lends the memory of the input.

        Raises:
          DataError: They cannot be read.
        """
        with self._lock:
            if key not in self._entries:
                return None
            start, shape = self._entries[key]
            X, y = buffers.lend(shape), np.empty(shape[0], np.float32)
            try:
                self._file.seek(start)
                for array in (X, y):
                    if self._file.readinto(array.data) != array.nbytes:
                        raise OSError("it has become shorter")
            except OSError as error:
                raise DataError(
                    f"{self._folder}: the file there that keeps prepared rows cannot be "
                    f"read: {one_line(error)}"
                ) from error
        return X, y

    def close(self) -> None:
        """Forgets all rows and gives the room back."""
        with self._lock:
            self._give_up()

    def _give_up(self) -> None:
        self._entries.clear()
        with suppress(OSError):  # nobody needs what it could not write
            self._file.close()
