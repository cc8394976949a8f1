"""A run on a stream that goes on where an earlier one ended."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxmlp.training.checkpoints import (
    CheckpointError,
    Checkpoints,
    Found,
    check_folder,
    load_checkpoint,
    name_leaves,
    restore,
    save_checkpoint,
    split_arrays,
)
from jaxmlp.training.places import Place, any_process, gather_bytes, is_local, mesh_of, put
from jaxmlp.training.stream import Course, Stream, StreamState, run_stream

_MOST = 2**31 - 1  # steps, which are counted in int32


class Stopped(Exception):  # noqa: N818 (nothing is wrong)
    """The caller has stopped the run; the message says what is kept."""


def keep_checkpoints(
    courses: Sequence[Course],
    start: StreamState,
    stream: Stream,
    checkpoints: Checkpoints | None,
    stop: Callable[[], object] | None,
) -> Iterator[StreamState]:
    """`run_stream`, from the last checkpoint on, with new ones, until told to stop.

    In several processes, each reads the same checkpoint, and the first one writes.

    Args:
      courses: How each network trains.
      start: Where to begin without a checkpoint.
      stream: What they train on.
      checkpoints: Where they are kept, or None for nowhere.
      stop: Asked after each window; whatever it returns that is true saves a checkpoint
        and ends the run.

    Yields:
      The state before the first window, and after each.

    Raises:
      CheckpointError: One cannot be written, or none of those there can be read.
      Stopped: Told to.
    """
    mesh = mesh_of(stream.place)
    layout, folder, identity = stream.layout, None, {}
    if checkpoints is not None:
        folder = check_folder(checkpoints)
        identity = {
            **checkpoints.identity,
            "batch_size": layout.batch_size,
            "window_size": layout.n_rows,
            "n_epochs": layout.n_epochs,
            "key": stream.seed,
        }
        if checkpoints.resume:
            start = _resume(start, folder, identity, stream, checkpoints.tell)
    yield start
    saved = time.monotonic()
    for state in run_stream(courses, start, stream):
        is_stopped = stop is not None and any_process(stop(), mesh)
        is_over = state.epoch == layout.n_epochs or None not in state.ended
        if checkpoints is not None and folder is not None and jax.process_index() == 0:
            is_due = time.monotonic() - saved >= checkpoints.every
            if is_due or is_stopped or is_over:
                _save(state, folder, identity)
                saved = time.monotonic()
        yield state
        if is_stopped and not is_over:
            kept = "nothing is kept" if folder is None else f"a checkpoint is in {folder}"
            raise Stopped(f"stopped in epoch {state.epoch + 1}; {kept}")


def _save(state: StreamState, folder: Path, identity: Mapping[str, Any]) -> None:
    position = state._replace(runs=())._asdict()
    save_checkpoint(folder, state.step, state.runs, position, identity)


def _load(
    folder: Path,
    runs: Any,
    identity: Mapping[str, Any],
    check_position: Callable[[Mapping[str, Any]], object],
    place: Place,
) -> Found | None:
    """As `load_checkpoint`; in several processes, the first reads and tells the others."""
    mesh = mesh_of(place)
    if mesh is None or is_local(mesh):
        return load_checkpoint(folder, runs, identity, check_position)
    payload = b""
    if jax.process_index() == 0:
        try:
            found = load_checkpoint(folder, runs, identity, check_position)
            payload = json.dumps(found and [*found[2:], str(found.path)]).encode() + b"\n"
            if found is not None:
                payload += b"".join(
                    found.arrays[name].tobytes() for name in name_leaves(runs)
                )
        except CheckpointError as error:
            payload = json.dumps({"error": str(error)}).encode() + b"\n"
    line, _, content = gather_bytes(payload)[0].partition(b"\n")
    told = json.loads(line)
    if told is None:
        return None
    if isinstance(told, dict):
        raise CheckpointError(told["error"])
    position, skipped, path = told
    arrays = split_arrays(content, name_leaves(runs))
    return Found(Path(path), arrays, position, skipped)


def _resume(
    start: StreamState,
    folder: Path,
    identity: Mapping[str, Any],
    stream: Stream,
    tell: Callable[[str], object],
) -> StreamState:
    def check_position(position: Mapping[str, Any]) -> None:
        most = {"epoch": stream.layout.n_epochs, "window": _MOST, "step": _MOST}
        if position["epoch"] == stream.layout.n_epochs:
            most["window"] = 0
        ends = [("epoch", end) for end in position["ended"] if end is not None]
        for name, count in [*((name, position[name]) for name in most), *ends]:
            if type(count) is not int or not 0 <= count <= most[name]:
                raise ValueError(f"no run stands at {name} {count!r}")
        if len(position["ended"]) != len(start.runs):
            raise ValueError(f"it is of {len(position['ended'])} networks")

    found = _load(folder, start.runs, identity, check_position, stream.place)
    if found is None:
        return start
    for reason in found.skipped:
        tell(reason)
    runs = put(restore(start.runs, found.arrays), stream.place)
    position = found.position
    state = StreamState(
        runs,
        tuple(position["ended"]),
        position["epoch"],
        position["window"],
        position["step"],
    )
    tell(f"going on from {found.path}, epoch {state.epoch + 1}, window {state.window + 1}")
    return state
