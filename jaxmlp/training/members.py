"""One candidate of a cross-fit, and its network for one fold left out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jaxmlp.core import Params, forward
from jaxmlp.training.engine import RunChunk, run_alone, run_in_chunks
from jaxmlp.training.grid import Choice, Draws, HiddenSizes
from jaxmlp.training.orders import Orders
from jaxmlp.training.state import (
    Data,
    History,
    Hyper,
    RunState,
    Settings,
    dropout_key,
    history_of,
    make_optimizer,
    start_run,
)


class Member(NamedTuple):
    """One network of a cross-fit: trained on all rows but its fold's.

    Attributes:
      fold: The fold that it left out, which chose its epoch.
      epoch: Epoch with the lowest validation loss, counted from 1; 0 if none was finite.
      val_loss: Loss on its fold at that epoch in nats; infinite if there is none.
      params: Parameters at that epoch.
      history: Loss curves of the whole run, as in `FitResult`.
    """

    fold: int
    epoch: int
    val_loss: float
    params: Params
    history: History


class Course(NamedTuple):
    """How the networks of one candidate train.

    Attributes:
      data: All rows, on the device, without validation part.
      X: Their features on the host, `(n, p)`.
      hidden_sizes: Widths of the hidden layers.
      learning_rate: Step size η.
      settings: What the program is specialised to.
      draws: Starting weights, a row for each fold.
      fold_rows: Rows of each fold.
      orders: For each fold, the orders of the other rows; the same for all candidates.
      seed: Numbers that the units left out by dropout are drawn from.
      device: Where it trains.
    """

    data: Data
    X: NDArray[Any]
    hidden_sizes: HiddenSizes
    learning_rate: float
    settings: Settings
    draws: Draws
    fold_rows: list[NDArray[np.int32]]
    orders: list[Orders]
    seed: tuple[int, ...]
    device: jax.Device | None


class Start(NamedTuple):
    """What one member begins with, on the device."""

    params: Params
    hyper: Hyper
    data: Data


class Program(NamedTuple):
    """A candidate's compiled programs."""

    start: Any
    run: Any


def start_member(course: Course, fold: int) -> Start:
    """Puts starting parameters and validation part on the device."""
    dtype = course.data.y.dtype
    choice = Choice(course.hidden_sizes, course.learning_rate, 0.0, fold)
    params = course.draws.params(choice)
    rows = course.fold_rows[fold]
    # Folds differ by one row at most; filled up, they share a program.
    n_val = max(map(len, course.fold_rows))
    filled = np.resize(rows, n_val)
    is_real = np.arange(n_val) < len(rows)
    weight = course.data.sample_weight
    weights = np.ones(n_val, dtype) if weight is None else np.asarray(weight)[filled]
    parts = (
        params,
        np.asarray(course.learning_rate, dtype),
        course.X[filled].astype(dtype),
        np.asarray(course.data.y)[filled],
        np.where(is_real, weights, 0).astype(dtype),
    )
    params, rate, X_val, y_val, val_weight = jax.device_put(parts, course.device)
    key = dropout_key(np.array([*course.seed, fold]), course.settings)
    data = course.data._replace(X_val=X_val, y_val=y_val, val_weight=val_weight)
    return Start(params, Hyper(rate, None, key), data)


def trace_course(course: Course) -> Callable[[], Program]:
    """Traces a candidate's programs, and returns what compiles them, on any thread.

    Threads do not see settings of JAX that the caller has made in a `with` block, so
    nothing may be traced there.
    """
    params, hyper, data = start_member(course, 0)
    start = _start.lower(params, hyper, course.settings)
    bounds = (np.int32(0), np.int32(0))
    orders = course.orders[0](0)
    run = run_alone.lower(start.out_info, hyper, orders, data, bounds, course.settings)
    return lambda: Program(start.compile(), run.compile())


def _start_run(params: Params, hyper: Hyper, settings: Settings) -> RunState:
    opt_state = make_optimizer(settings, hyper).init(params)
    return start_run(params, opt_state, settings, has_validation=True)


_start = jax.jit(_start_run, static_argnames="settings")


def train_member(
    course: Course,
    program: Program,
    fold: int,
    begin: Start,
    is_stopped: Callable[[], bool],
) -> Member:
    """Trains the network that leaves one fold out.

    Args:
      course: How.
      program: Compiled for it.
      fold: The fold.
      begin: From `start_member`.
      is_stopped: Asked after each block of epochs; when true, it ends there.
    """
    params, hyper, data = begin

    def run(state: RunState, orders: jax.Array, bounds: tuple[ArrayLike, ArrayLike]) -> Any:
        return program.run(state, hyper, orders, data, bounds)

    runner: RunChunk = run
    state, n_done = program.start(params, hyper), 0
    chunks = run_in_chunks(
        runner, state, course.orders[fold], course.settings.plan, None, is_stopped
    )
    for state, n_done, _ in chunks:  # noqa: B007 (the last state counts)
        pass
    assert state.best is not None
    best, history = jax.device_get((state.best, history_of(state, n_done)))
    return Member(fold, int(best.epoch), float(best.val_loss), best.params, history)


def judge_member(course: Course, member: Member) -> NDArray[np.floating]:
    """Logits of the rows of its fold, in their order."""
    rows = course.fold_rows[member.fold]
    # As many rows for each fold, so that all share a program.
    filled = np.resize(rows, max(map(len, course.fold_rows)))
    X = jax.device_put(course.X[filled].astype(course.data.y.dtype), course.device)
    return np.asarray(_logits(member.params, X))[: len(rows)]


_logits = jax.jit(forward)
