"""What a run needs to go on after an end that nobody planned, kept in a folder.

A checkpoint is a folder named by its number of steps. `arrays.bin` holds the numbers of all
arrays, one after another and nothing else; `checkpoint.json` their names, types and shapes,
which run they belong to and where that stood, and the SHA-256 of `arrays.bin`. Both are
written under another name, and renamed when all is on the disk, so that there is none
half-written. A run reads what has the names, types and shapes of its own arrays alone: so
no size and no path comes from the file, and nothing in it can run.

orbax-checkpoint, the usual library, is made for arrays in parts. For these
it did not serve: of its files (version 0.12.8), flipped bits went unnoticed, other types
were cast without a word, and a small one could unpack to a gigabyte.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

FORMAT = 1
KEPT = 2
"""Checkpoints kept, the latest: one more than needed, should its disk lose the last."""

_LARGEST_MANIFEST = 2**24  # bytes


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read; the message says which, and why."""


class Checkpoints(NamedTuple):
    """Where a run keeps its checkpoints, and how often.

    Attributes:
      folder: The folder; made if it is not there.
      every: Seconds between two, at least; 0 makes one after each window. The end of a
        run always makes one.
      resume: Whether to go on from the latest; without one, the run begins.
      identity: What makes the run this run, beside what training itself knows, as JSON
        values, such as a mark of the data: another run's checkpoint is refused.
      tell: Called with a sentence for each checkpoint that cannot be read and is passed
        over, and with one for the checkpoint that is gone on from.
    """

    folder: str | Path
    every: float = 600.0
    resume: bool = True
    identity: Mapping[str, Any] = MappingProxyType({})
    tell: Callable[[str], object] = warnings.warn


class Found(NamedTuple):
    """A checkpoint that can be gone on from.

    Attributes:
      path: Where it is.
      arrays: Its arrays by name.
      position: Where the run stood, as JSON values.
      skipped: Why each later one is not used.
    """

    path: Path
    arrays: dict[str, NDArray[Any]]
    position: dict[str, Any]
    skipped: list[str]


def name_leaves(tree: Any) -> dict[str, Any]:
    """The arrays of a pytree by names that follow from its structure; keys as words."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path): jax.random.key_data(leaf) if _is_key(leaf) else leaf
        for path, leaf in leaves
    }


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def save_checkpoint(
    folder: Path,
    step: int,
    tree: Any,
    position: Mapping[str, Any],
    identity: Mapping[str, Any],
) -> Path:
    """Writes a checkpoint, whole or not at all, and removes all but the latest `KEPT`.

    Args:
      folder: Where.
      step: Steps of the run that are done.
      tree: What the run carries: a pytree of arrays.
      position: Where the run stands, as JSON values.
      identity: What makes the run this run, as JSON values.

    Raises:
      CheckpointError: It cannot be written; those before it are as they were.
    """
    place, unfinished = folder / f"{step:012d}", folder / f".{step:012d}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        arrays = {name: np.asarray(leaf) for name, leaf in name_leaves(tree).items()}
        content = b"".join(array.tobytes() for array in arrays.values())
        manifest = {
            "format": FORMAT,
            "identity": identity,
            "position": position,
            "arrays": _describe(arrays),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        _write_through(unfinished / "arrays.bin", content)
        text = json.dumps(manifest, indent=1, allow_nan=False)
        _write_through(unfinished / "checkpoint.json", text.encode())
        if place.exists():  # of a run that could not read it
            shutil.rmtree(place)
        unfinished.rename(place)
        entry = os.open(folder, os.O_RDONLY)
        os.fsync(entry)  # that the name is on the disk too
        os.close(entry)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{place}: cannot be written: {_one_line(error)}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for old in _steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"{old:012d}", ignore_errors=True)
    return place


def load_checkpoint(
    folder: Path,
    tree: Any,
    identity: Mapping[str, Any],
    check_position: Callable[[Mapping[str, Any]], object],
) -> Found | None:
    """Reads the latest checkpoint that is whole.

    Args:
      folder: Where.
      tree: What a run carries before its first step; the arrays must be like these.
      identity: Of the run.
      check_position: Raises ValueError where a run cannot stand.

    Returns:
      What was found; None if there is no checkpoint at all.

    Raises:
      CheckpointError: The latest belongs to another run, or none can be read.
    """
    skipped = list[str]()
    for step in reversed(_steps(folder)):
        path = folder / f"{step:012d}"
        try:
            manifest = _read_manifest(path)
            _check_identity(path, manifest["identity"], identity)
            check_position(manifest["position"])
            arrays = _read_arrays(path, manifest, name_leaves(tree))
            return Found(path, arrays, manifest["position"], skipped)
        except _ForeignError:
            raise
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            skipped.append(f"{path}: cannot be used: {_one_line(error)}")
    if skipped:
        raise CheckpointError(f"no checkpoint can be read: {'; '.join(skipped)}")
    return None


def restore(tree: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Puts a checkpoint's arrays in the places of a pytree's."""
    leaves, structure = jax.tree.flatten(tree)
    found = [
        jax.random.wrap_key_data(jnp.asarray(arrays[name]), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else arrays[name]
        for name, leaf in zip(name_leaves(tree), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, found)


def check_folder(checkpoints: Checkpoints) -> Path:
    """Refuses a folder that cannot take checkpoints before any work is done.

    Raises:
      CheckpointError: It is a file, cannot be written, or holds checkpoints that nobody
        said to go on from.
    """
    folder = Path(checkpoints.folder)
    if not checkpoints.resume and has_checkpoints(folder):
        raise CheckpointError(
            f"{folder}: holds checkpoints of an earlier run; give another folder, or go on "
            "from them with resume=True"
        )
    # Not made yet: of a run that ends before its first checkpoint, nothing shall stay.
    nearest = next(
        place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)
    )
    if not nearest.is_dir():
        raise CheckpointError(f"{folder}: cannot be made: {nearest} is not a folder")
    try:
        with tempfile.TemporaryDirectory(prefix=".jaxmlp-", dir=nearest):
            pass
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written: {_one_line(error)}") from error
    for leftover in folder.glob(".*.unfinished"):  # of a run that was killed
        if re.fullmatch(r"\.[0-9]{12}\.unfinished", leftover.name):
            shutil.rmtree(leftover, ignore_errors=True)
    return folder


def has_checkpoints(folder: Path) -> bool:
    """Whether there are any, whole or not."""
    return bool(_steps(folder))


class _ForeignError(CheckpointError):
    """It belongs to another run."""


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(int(name) for name in names if re.fullmatch(r"[0-9]{12}", name))


def _describe(arrays: Mapping[str, Any]) -> list[list[Any]]:
    """Name, type and shape of each array."""
    return [
        [name, np.dtype(array.dtype).name, list(np.shape(array))]
        for name, array in arrays.items()
    ]


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, size: int | None, most: int) -> bytes:
    """Reads a file, of this size if given, or of `most` bytes at most."""
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"it has no {path.name}")
    found = path.stat().st_size
    if found > most or size not in (None, found):
        raise ValueError(f"its {path.name} is of {found} bytes")
    return path.read_bytes()


def _read_manifest(path: Path) -> dict[str, Any]:
    """Reads what a checkpoint says of itself."""
    content = _read(path / "checkpoint.json", None, _LARGEST_MANIFEST)
    manifest: dict[str, Any] = json.loads(content)
    if not isinstance(manifest, dict) or manifest["format"] != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    for name in ("identity", "position"):
        if not isinstance(manifest[name], dict):
            raise ValueError(f"its {name} is {type(manifest[name]).__name__}")
    return manifest


def _check_identity(path: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    wanted = json.loads(json.dumps(wanted))  # as it looks after writing: lists, no tuples
    if found == wanted:
        return
    names = [name for name in wanted if found.get(name) != wanted[name]]
    name = next(iter(names), "version")
    raise _ForeignError(
        f"{path}: belongs to another run: its {name} is {found.get(name)!r}, not "
        f"{wanted.get(name)!r}; give another folder, or the same data and settings"
    )


def _one_line(error: Exception) -> str:
    # Of the system's errors, what it says, without a name that is not the user's.
    said = getattr(error, "strerror", None) or str(error)
    return " ".join(said.split())[:300] or type(error).__name__


def _read_arrays(
    path: Path, manifest: Mapping[str, Any], wanted: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """Reads the arrays that a run wants, and no others."""
    if manifest["arrays"] != _describe(wanted):
        found = manifest["arrays"]
        pairs = itertools.zip_longest(_describe(wanted), found)
        ours, theirs = next(pair for pair in pairs if pair[0] != pair[1])
        raise ValueError(f"its arrays are others: {theirs} where {ours} is wanted")
    size = sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in wanted.values())
    content = _read(path / "arrays.bin", size, size)
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise ValueError("its arrays.bin is not what was written")
    return split_arrays(content, wanted)


def split_arrays(content: bytes, wanted: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Cuts the bytes of arrays, one after another, where these end."""
    arrays, offset = {}, 0
    for name, leaf in wanted.items():
        array = np.frombuffer(content, np.dtype(leaf.dtype), leaf.size, offset)
        arrays[name] = array.reshape(np.shape(leaf))
        offset += array.nbytes
    return arrays
