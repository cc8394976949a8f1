"""Prepared rows kept in a file, so that each slice is read and prepared once a run."""

import io
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmlp.data.buffers import Buffers
from jaxmlp.data.files import available_memory

Rows = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Network input, `(n, p)`, and labels in {0, 1}, `(n,)`."""

Key = tuple[int, int]
"""Of a slice: number of its row group, and its own in that."""

_PIECE = 2**17  # bytes written or read at once


class _Entry(NamedTuple):
    start: int
    shape: tuple[int, ...]
    sums: tuple[int, ...]


@contextmanager
def row_store(folder: Path) -> Iterator["RowStore | None"]:
    """Makes a store in a folder, or None where no file can be made there.

    Its file has no name: nothing is left of it, however the process ends. It takes at most
    half of the memory that is free, so that the system holds it in its cache, where it is
    read faster than the table.
    """
    store = None
    with ExitStack() as stack:
        with suppress(OSError):
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
            store = RowStore(file, folder, available_memory() // 2)
            stack.callback(store.close)
        yield store


class RowStore:
    """Keeps the rows of slices, as many as there is room for; several threads may use it.

    Half of what is free on the disk at the start stays free, whoever takes it. A file that
    cannot be written or read is given up, and nothing is kept from then on.
    """

    def __init__(self, file: io.FileIO, folder: Path, most: int) -> None:
        """An empty one.

        Args:
          file: Where to keep them.
          folder: The file's.
          most: Bytes that it may take.
        """
        self._file, self._folder, self._most = file, folder, most
        self._reserve = shutil.disk_usage(folder).free // 2
        self._end = 0
        self._entries: dict[Key, _Entry] = {}
        self._lock = threading.Lock()

    def put(self, key: Key, rows: Rows) -> None:
        """Keeps a slice's rows, if there is room."""
        with self._lock:
            try:
                self._write(key, rows)
            except OSError:
                self._give_up()

    def get(self, key: Key, buffers: Buffers) -> Rows | None:
        """A slice's rows, or None if they are not kept.

        Args:
          key: The slice.
          buffers: Lends the memory of the input.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            try:
                return self._read(entry, buffers)
            except OSError:
                self._give_up()
                return None

    def close(self) -> None:
        """Forgets all rows and gives the room back."""
        with self._lock:
            self._give_up()

    def _write(self, key: Key, rows: Rows) -> None:
        n_bytes = sum(array.nbytes for array in rows)
        if self._file.closed or key in self._entries or not self._has_room(n_bytes):
            return
        self._file.seek(self._end)
        for array in rows:
            _repeat(self._file.write, array)
        sums = tuple(map(_sum_words, rows))
        self._entries[key] = _Entry(self._end, rows[0].shape, sums)
        self._end += n_bytes

    def _read(self, entry: _Entry, buffers: Buffers) -> Rows:
        rows = buffers.lend(entry.shape), np.empty(entry.shape[0], np.float32)
        self._file.seek(entry.start)
        for array in rows:
            _repeat(self._file.readinto, array)
        # What a disk fails to take over from the cache may come back as zeros.
        if tuple(map(_sum_words, rows)) != entry.sums:
            raise OSError("not what was written")
        return rows

    def _has_room(self, n_bytes: int) -> bool:
        n_left = shutil.disk_usage(self._folder).free - n_bytes
        return self._end + n_bytes <= self._most and n_left >= self._reserve

    def _give_up(self) -> None:
        self._entries.clear()
        with suppress(OSError):  # nobody needs what it could not write
            self._file.close()


def _repeat(action: Callable[[memoryview], int | None], array: NDArray[np.float32]) -> None:
    """Writes or reads all of an array, in pieces: all at once can take much longer."""
    rest = array.reshape(-1).view(np.uint8)
    while len(rest):
        n_bytes = action(rest[:_PIECE].data)
        if not n_bytes:
            raise OSError("the file does not go on")
        rest = rest[n_bytes:]


def _sum_words(array: NDArray[np.float32]) -> int:
    return int(array.reshape(-1).view(np.uint32).sum(dtype=np.uint32))
