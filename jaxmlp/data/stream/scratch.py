"""Folders for one run's files, which no run leaves behind for long."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import one_line

_PREFIX = ".jaxmlp-spool-"


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Makes a hidden folder, and removes it with all that is in it in the end.

    Those of runs that were killed are removed in the beginning: a run holds a lock on its
    folder, which ends with its process. Where a file system has no locks, they stay.

    Raises:
      DataError: The folder cannot be made.
    """
    _remove_abandoned(parent)
    try:
        folder, lock = _make(parent)
    except OSError as error:
        raise DataError(f"{parent}: cannot be written to: {one_line(error)}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _make(parent: Path) -> tuple[Path, int | None]:
    """Makes a folder and locks it, where that can be done."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            lock = _lock(folder)
            # Before it was locked, another run may have taken it for abandoned.
            if lock is None or folder.exists():
                return folder, lock
            os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """Locks a folder for this process; None if that cannot be done there.

    Raises:
      BlockingIOError: Another process has.
      FileNotFoundError: It is gone.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        opened = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        raise
    except OSError:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(opened)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return opened
