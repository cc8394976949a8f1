"""Training on rows that come window by window; nothing but a window is in memory.

The step is that of `fit`, and a stream that one window holds gives the bits of `fit`.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jaxmlp.core import Params
from jaxmlp.training.engine import (
    Sums,
    Validation,
    end_epoch,
    is_active,
    run_steps,
    start_sums,
)
from jaxmlp.training.layout import lay_out
from jaxmlp.training.orders import Plan
from jaxmlp.training.places import Place, mesh_of, put, replicate
from jaxmlp.training.state import (
    BestEpoch,
    Data,
    History,
    Hyper,
    RunState,
    Settings,
    history_of,
    make_optimizer,
    start_run,
)
from jaxmlp.training.windows import Blocks, Layout, Window, cut_windows

T = TypeVar("T")


class Course(NamedTuple):
    """How one network trains.

    Attributes:
      hyper: Step size, penalty and key of dropout.
      settings: What its program is specialised to; the plan is each window's own.
    """

    hyper: Hyper
    settings: Settings


class Run(NamedTuple):
    """A network in training.

    Attributes:
      sums: Parameters, optimiser state and losses of the epoch so far.
      history: Curves by epoch.
      best: Epoch with the lowest validation loss, or None without a validation part.
    """

    sums: Sums
    history: dict[str, jax.Array]
    best: BestEpoch | None


class StreamState(NamedTuple):
    """Where training stands between two windows.

    Attributes:
      runs: The networks.
      ended: Epochs after which each ended before its time, or None.
      epoch: Number of the epoch, from 0.
      window: Windows of it that are done.
      step: Steps of the whole run that are done.
    """

    runs: tuple[Run, ...]
    ended: tuple[int | None, ...]
    epoch: int = 0
    window: int = 0
    step: int = 0


class Stream(NamedTuple):
    """What the networks train on.

    Attributes:
      blocks: Gives the rows.
      layout: What the windows are like.
      seed: Numbers that the orders follow from.
      validation: The validation part, if there is one.
      place: Where training is.
    """

    blocks: Blocks
    layout: Layout
    seed: tuple[int, ...]
    validation: Validation | None
    place: Place


def start_runs(
    courses: Sequence[Course],
    params: Sequence[Params],
    opt_states: Sequence[optax.OptState | None],
    stream: Stream,
) -> StreamState:
    """State before the first window."""
    has_validation = stream.validation is not None
    runs = tuple(
        _start(
            each, opt_state, course.hyper, course.settings, has_validation=has_validation
        )
        for each, opt_state, course in zip(params, opt_states, courses, strict=True)
    )
    return StreamState(runs, (None,) * len(runs))


@partial(jax.jit, static_argnames=("settings", "has_validation"))
def _start(
    params: Params,
    opt_state: optax.OptState | None,
    hyper: Hyper,
    settings: Settings,
    *,
    has_validation: bool,
) -> Run:
    if opt_state is None:
        opt_state = make_optimizer(settings, hyper).init(params)
    state = start_run(params, opt_state, settings, has_validation=has_validation)
    return replicate(_between_epochs(state), settings.mesh)


def _between_epochs(state: RunState) -> Run:
    return Run(start_sums(state.params, state.opt_state), state.history, state.best)


def as_run_state(run: Run) -> RunState:
    """A run between two epochs as the state that `fit` carries."""
    return RunState(run.sums.params, run.sums.opt_state, run.history, run.best)


def outcome_of(run: Run, n_done: int) -> tuple[BestEpoch, History]:
    """Best epoch and curves of a run that has ended, on the host with a leading axis."""
    assert run.best is not None
    history = history_of(as_run_state(run), n_done)
    one: tuple[BestEpoch, History] = jax.device_get((run.best, history))
    return jax.tree.map(lambda array: np.asarray(array)[None], one)


def run_stream(
    courses: Sequence[Course], state: StreamState, stream: Stream
) -> Iterator[StreamState]:
    """Trains networks side by side, each window read once for all.

    A network ends when it is out of patience, or when its loss is not finite: then at
    once, whatever its epoch has still to come.

    Args:
      courses: How each trains.
      state: Where to begin; its arrays are taken over.
      stream: What they train on.

    Yields:
      The state after each window; between epochs its `window` is 0.
    """
    n_epochs, n_rows = stream.layout.n_epochs, stream.layout.n_rows
    spare = list[NDArray[Any]]()
    while state.epoch < n_epochs and None in state.ended:
        blocks = stream.blocks(state.epoch, state.window * n_rows)
        windows = cut_windows(
            blocks, stream.layout, stream.seed, state.epoch, state.window, spare
        )
        for window in ahead(windows):
            state = _train_window(courses, state, stream, _place(stream, window))
            spare.append(window.memory)  # which the device may have read until now
            yield state
            if None not in state.ended:
                break


class _Placed(NamedTuple):
    """A window on the device."""

    plan: Plan
    order: jax.Array | None
    data: Data
    is_last: bool


def _place(stream: Stream, window: Window) -> _Placed:
    # Not on the thread that fills windows: threads do not see settings of JAX that the
    # caller has made in a `with` block.
    mesh = mesh_of(stream.place)
    if mesh is not None:
        plan, data = lay_out(window, mesh)
        return _Placed(plan, None, data, window.is_last)
    arrays: Any = (window.order, window.X, window.y, window.sample_weight)
    order, X, y, weight = put(arrays, stream.place)
    data = Data(X, y, weight, None, None, None)
    return _Placed(window.plan, order, data, window.is_last)


def _train_window(
    courses: Sequence[Course], state: StreamState, stream: Stream, window: _Placed
) -> StreamState:
    runs, ended = list(state.runs), list(state.ended)
    active = [i for i, end in enumerate(ended) if end is None]
    step, epoch, plan = np.int32(state.step), np.int32(state.epoch), window.plan
    are_finite = []
    for i in active:
        settings = courses[i].settings._replace(plan=plan)
        sums, is_finite = _advance(
            np.int32(1),
            step,
            runs[i].sums,
            courses[i].hyper,
            window.order,
            window.data,
            settings,
        )
        runs[i] = runs[i]._replace(sums=sums)
        are_finite.append(is_finite)
    for i, is_finite in zip(active, are_finite, strict=True):
        settings = courses[i].settings
        has_diverged = not bool(is_finite)  # waits; the next window is read meanwhile
        if window.is_last or has_diverged:
            runs[i] = _finish(epoch, runs[i], stream.validation, settings)
            if has_diverged or not _is_patient(runs[i], state.epoch + 1, settings):
                ended[i] = state.epoch + 1
    state = StreamState(
        tuple(runs),
        tuple(ended),
        state.epoch,
        state.window + 1,
        state.step + plan.n_batches,
    )
    return state._replace(epoch=state.epoch + 1, window=0) if window.is_last else state


@partial(jax.jit, static_argnames="settings", donate_argnames="sums")
def _advance(
    n_times: ArrayLike,
    first_step: ArrayLike,
    sums: Sums,
    hyper: Hyper,
    order: jax.Array | None,
    data: Data,
    settings: Settings,
) -> tuple[Sums, jax.Array]:
    """Trains on a window; says whether the losses are finite."""

    def body(_: jax.Array, sums: Sums) -> Sums:
        return run_steps(first_step, sums, hyper, order, data, settings)[0]

    # Once; but XLA cannot know, so that the steps stand in a loop, as those of `fit`, and
    # are compiled to the same operations.
    sums = jax.lax.fori_loop(0, n_times, body, sums)
    return replicate((sums, jnp.isfinite(sums.loss)), settings.mesh)


@partial(jax.jit, static_argnames="settings", donate_argnames="run")
def _finish(
    epoch: jax.Array, run: Run, validation: Validation | None, settings: Settings
) -> Run:
    sums, history, best = run
    state = end_epoch(epoch, sums, None, history, best, validation, settings)
    return replicate(_between_epochs(state), settings.mesh)


def _is_patient(run: Run, n_done: int, settings: Settings) -> bool:
    return bool(is_active(as_run_state(run), jnp.int32(n_done), settings))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Makes items on a thread, one ahead of the caller."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="jaxmlp-window")
    try:
        waiting = pool.submit(_next, items)
        while found := waiting.result():
            waiting = pool.submit(_next, items)
            yield found[0]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _next(items: Iterator[T]) -> list[T]:
    """The next item, or nothing at the end."""
    return [item for _, item in zip(range(1), items, strict=False)]
