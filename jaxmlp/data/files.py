"""Files that somebody else may have made: looked at before they are opened and read.

Nothing here waits for a pipe that nobody writes to, reads a device, or asks for more memory
than there is.
"""

import json
import os
import re
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from jaxmlp.data.errors import DataError, one_line

_CHUNK = 2**24
_MOST_RATIO, _ALWAYS_EXPANDED = 1000, 2**26
_JSON_GROWTH = 32  # bytes of memory that a byte of JSON, such as one of "[[],[]", can need


def open_file(path: Path, *, or_pipe: bool = False) -> BinaryIO:
    """Opens a file for reading, and never waits for it.

    Args:
      path: The file.
      or_pipe: Whether it may be a pipe, as `/dev/stdin` and a shell's `<(...)` are.

    Raises:
      DataError: It is missing, a folder, a device, or cannot be opened.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be opened: {one_line(error)}") from error
    if stat.S_ISDIR(mode):
        raise DataError(f"{path}: is a folder, not a file")
    if not (stat.S_ISREG(mode) or (or_pipe and stat.S_ISFIFO(mode))):
        raise DataError(f"{path}: is a device or a pipe, not a file")
    try:
        # Opening a pipe waits for somebody who writes to it, unless told not to.
        number = os.open(path, os.O_RDONLY | _NOT_WAITING | _BINARY)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {one_line(error)}") from error
    if stat.S_ISFIFO(mode):
        os.set_blocking(number, True)
    return os.fdopen(number, "rb")


# Windows has the one, the others have the other.
_BINARY, _NOT_WAITING = getattr(os, "O_BINARY", 0), getattr(os, "O_NONBLOCK", 0)


def read_file(
    path: Path, *, folder: Path | None = None, or_pipe: bool = False, growth: int = 2
) -> bytearray:
    """Reads a file, if memory can hold what becomes of it.

    Args:
      path: The file.
      folder: A folder that it must not lead out of, as a link would.
      or_pipe: As in `open_file`.
      growth: Bytes of memory that each of its bytes will need.

    Raises:
      DataError: It is not such a file, or cannot be read.
    """
    if folder is not None:
        real = os.path.realpath(path)  # unlike Path.resolve, no error for a circle of links
        if os.path.dirname(real) != os.path.realpath(folder):
            raise DataError(f"{path}: is a link that leads out of its folder")
    with open_file(path, or_pipe=or_pipe) as file:
        check_memory(growth * os.fstat(file.fileno()).st_size, str(path))
        most = available_memory() // growth
        try:
            return read_all(file.read, most, f"{path}: needs more memory than there is")
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {one_line(error)}") from error


def read_all(read: Callable[[int], Any], most: int, refusal: str) -> bytearray:
    """Reads until nothing more comes.

    Args:
      read: Gives at most so many of the next bytes, or a buffer of them.
      most: How many bytes there may be in all.
      refusal: What to say if there are more.

    Raises:
      DataError: There are.
    """
    content = bytearray()
    while chunk := read(_CHUNK):
        content += chunk
        if len(content) > most:
            raise DataError(refusal)
    return content


def most_expanded(n_bytes: int) -> int:
    """How many bytes so many compressed ones may become: 1,000 times as many, or 64 MiB.

    That is more than tables need, and stops files made to fill memory.
    """
    return min(max(_MOST_RATIO * n_bytes, _ALWAYS_EXPANDED), available_memory() // 2)


TOO_EXPANDED = (
    "its content is more than 1,000 times as large as the file, or more than half of the "
    "memory; if you trust it, give it as plain CSV"
)


def read_json(
    path: Path,
    *,
    folder: Path | None = None,
    make_object: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Reads a JSON file.

    Args:
      path: The file.
      folder: As in `read_file`.
      make_object: Makes an object of its pairs; by default a dict.

    Raises:
      DataError: It cannot be read, or is not JSON.
    """
    content = read_file(path, folder=folder, growth=_JSON_GROWTH)
    try:
        return json.loads(content.decode(), object_pairs_hook=make_object)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {one_line(error)}") from error


def check_memory(n_bytes: int, what: str) -> None:
    """Raises DataError unless so much memory is left; `what` needs it."""
    available = available_memory()
    if n_bytes > available:
        needed, left = n_bytes / 2**30, available / 2**30
        raise DataError(
            f"{what}: needs {needed:.3g} GiB of memory, and {left:.3g} GiB are available"
        )


def available_memory() -> int:
    """Bytes of memory that the system and the container leave, as far as they say."""
    found = [sys.maxsize]
    with suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text()
        found += [1024 * int(n) for n in re.findall(r"^MemAvailable: +(\d+)", text, re.M)]
    with suppress(OSError, ValueError):  # "max" is no number, and no limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found)
