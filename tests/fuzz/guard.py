"""Watches what a run does to the machine: it reads, and writes in its folder alone."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Code from data, other programs, the network: reading never needs them.
_FORBIDDEN = {
    "pickle.find_class", "os.system", "os.exec", "os.fork", "os.posix_spawn",
    "subprocess.Popen", "socket.connect", "socket.bind", "urllib.Request",
}  # fmt: skip
_WRITES = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link",
    "os.truncate", "os.chmod", "os.chown", "shutil.rmtree", "shutil.move",
}  # fmt: skip
_RELATIVE = {"os.mkdir", "os.remove", "os.rmdir"}  # which come with such a folder's number
_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_folders: list[Path] = []  # where writing is allowed now; none while nobody watches
_found: list[str] = []


@contextmanager
def writes_only_in(*folders: Path) -> Iterator[None]:
    """Fails if the block runs a program, asks the network, or writes elsewhere."""
    _found.clear()
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    _folders[:] = folders
    try:
        yield
    finally:
        _folders.clear()
        sys.dont_write_bytecode = kept
        assert not _found, _found


def contents(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder, to be compared with what is in it later."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else "other"
        for path in folder.rglob("*")
    }


def _watch(event: str, given: tuple[Any, ...]) -> None:
    if not _folders:
        return
    if event in _FORBIDDEN:
        _found.append(f"{event}{given[:1]}")
    writes = event in _WRITES or (event == "open" and given[2] & _TO_WRITE)
    base = given[-1] if event in _RELATIVE else -1
    start = "." if base < 0 else f"/proc/self/fd/{base}"  # a folder that is open
    for path in given[: 1 if event == "open" else 2] if writes else ():
        if isinstance(path, str | bytes | os.PathLike):
            name = os.path.join(start, os.fsdecode(path))
            place = os.path.realpath(os.path.dirname(name))
            if not any(Path(place).is_relative_to(folder) for folder in _folders):
                _found.append(f"{event}({path!r})")


sys.addaudithook(_watch)
