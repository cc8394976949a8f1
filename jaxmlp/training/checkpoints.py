"""What a run needs to go on after an end that nobody planned, kept in a folder.

A checkpoint is a folder named by its number of steps: `arrays`, and `checkpoint.json`,
which says what run it belongs to, where that stood, and the size and SHA-256 of each file.
It is written under another name and renamed when all of it is on the disk, so that there
is none half-written; and it is read only if every file is what was written.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
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
    words = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for _, leaf in leaves]
    names = [f"{i:04d}{jax.tree_util.keystr(path)}" for i, (path, _) in enumerate(leaves)]
    return {
        # As a name of a file: nothing but letters, digits, dots and dashes.
        re.sub(r"[^A-Za-z0-9]+", ".", name).strip("."): leaf
        for name, leaf in zip(names, words, strict=True)
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
        _write_arrays(unfinished / "arrays", tree)
        manifest = {
            "format": FORMAT,
            "identity": identity,
            "position": position,
            "files": {name: _describe(path) for name, path in _files(unfinished).items()},
        }
        content = json.dumps(manifest, indent=1, allow_nan=False).encode()
        with (unfinished / "checkpoint.json").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if place.exists():  # of a run that could not read it
            shutil.rmtree(place)
        unfinished.rename(place)
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        _remove_for_good(unfinished)
        raise CheckpointError(f"{place}: cannot be written: {_reason(error)}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for old in _steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"{old:012d}", ignore_errors=True)
    return place


def _remove_for_good(folder: Path) -> None:
    """Removes a folder in which other writes of a save that failed are still under way."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


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
            arrays = _read_arrays(path / "arrays", name_leaves(tree))
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
    if not checkpoints.resume and _steps(folder):
        raise CheckpointError(
            f"{folder}: holds checkpoints of an earlier run; go on from them (resume), or "
            "give another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be made: {_one_line(error)}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CheckpointError(f"{folder}: cannot be written")
    for leftover in folder.glob(".*.unfinished"):  # of a run that was killed
        if re.fullmatch(r"\.[0-9]{12}\.unfinished", leftover.name):
            shutil.rmtree(leftover, ignore_errors=True)
    with _orbax():  # says early if it is not installed
        return folder


class _ForeignError(CheckpointError):
    """It belongs to another run."""


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(int(name) for name in names if re.fullmatch(r"[0-9]{12}", name))


def _files(folder: Path) -> dict[str, Path]:
    """All files below a folder, by their paths in it; links are refused, not followed."""
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path.is_symlink():
                raise ValueError(f"{path.relative_to(folder)} is a link")
        found |= {
            Path(parent, name).relative_to(folder).as_posix(): Path(parent, name)
            for name in names
        }
    return dict(sorted(found.items()))


def _describe(path: Path) -> list[Any]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def _read_manifest(path: Path) -> dict[str, Any]:
    """Reads what a checkpoint says of itself, and checks each of its files against it."""
    place = path / "checkpoint.json"
    if not place.is_file() or place.is_symlink():
        raise ValueError("it has no checkpoint.json")
    if place.stat().st_size > _LARGEST_MANIFEST:
        raise ValueError("its checkpoint.json is too large")
    manifest: dict[str, Any] = json.loads(place.read_text("utf-8"))
    if not isinstance(manifest, dict) or manifest["format"] != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    for name in ("identity", "position", "files"):
        if not isinstance(manifest[name], dict):
            raise ValueError(f"its {name} are {type(manifest[name]).__name__}")
    found = _files(path)
    del found["checkpoint.json"]
    if found.keys() != manifest["files"].keys():
        odd = sorted(found.keys() ^ manifest["files"].keys())
        raise ValueError(f"files are missing or too many: {odd[0]}")
    for name, file in found.items():
        if file.stat().st_size != manifest["files"][name][0]:
            raise ValueError(f"{name} is not as long as it was")
        if _describe(file) != manifest["files"][name]:
            raise ValueError(f"{name} is not what was written")
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


def _reason(error: Exception) -> str:
    """What the system said of a write, without the names of files that are gone by now."""
    said = re.search(r"([^:]+) \[os_error_code='\d+'\]", str(error))
    return said[1].strip() if said else _one_line(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextlib.contextmanager
def _orbax() -> Iterator[Any]:
    """Orbax's checkpointer that writes, and waits, in this process alone."""
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise CheckpointError(
            f"checkpoints need orbax-checkpoint ({error}): pip install "
            "'jaxmlp[checkpoints]'"
        ) from error
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it warns of what is as wanted, and raises its errors
    me = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"jaxmlp{me}"
    )
    try:
        handler = ocp.PyTreeCheckpointHandler(
            use_ocdbt=False, use_zarr3=False, multiprocessing_options=options
        )
        with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
            yield checkpointer
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _without_echoes() -> Iterator[None]:
    """Leaves out what tensorstore prints of each other write when one has failed."""
    hook = sys.unraisablehook

    def show(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = show
    yield
    sys.unraisablehook = hook  # not after an error: other writes may still be under way


def _write_arrays(path: Path, tree: Any) -> None:
    """Writes the arrays, all of which this process can read."""
    arrays = {name: np.asarray(leaf) for name, leaf in name_leaves(tree).items()}
    with _without_echoes(), _orbax() as checkpointer:
        import orbax.checkpoint as ocp

        checkpointer.save(path.absolute(), args=ocp.args.PyTreeSave(arrays))


def _read_arrays(path: Path, wanted: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Reads the arrays, whose shapes and types are compared before memory is taken."""
    with _orbax() as checkpointer:
        import orbax.checkpoint as ocp

        found = checkpointer.metadata(path.absolute()).item_metadata.tree
        if found.keys() != wanted.keys():
            odd = sorted(found.keys() ^ wanted.keys())
            raise ValueError(f"array {odd[0]!r} is missing or unknown")
        for name, leaf in wanted.items():
            shape, dtype = tuple(found[name].shape), np.dtype(found[name].dtype)
            if (shape, dtype) != (np.shape(leaf), np.dtype(leaf.dtype)):
                raise ValueError(
                    f"array {name!r} is {dtype}{list(shape)}, not "
                    f"{np.dtype(leaf.dtype)}{list(np.shape(leaf))}"
                )
        kinds = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in wanted}
        arrays: dict[str, NDArray[Any]] = checkpointer.restore(
            path.absolute(), args=ocp.args.PyTreeRestore(kinds, restore_args=kinds)
        )
    return arrays
