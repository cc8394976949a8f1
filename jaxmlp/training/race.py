"""The race of a cross-fit: which candidates train for which folds, on which threads."""

import math
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmlp.training.members import (
    Course,
    Member,
    Program,
    Start,
    start_member,
    trace_course,
    train_member,
)
from jaxmlp.training.pool import n_processors


class CrossFitProgress(NamedTuple):
    """What a callback of `cross_fit` gets.

    Attributes:
      n_done: Networks trained.
      n_members: Networks to train, all rounds of the race together.
      val_losses: As in `CrossFitResult`, as far as known.
    """

    n_done: int
    n_members: int
    val_losses: NDArray[np.float64]


class Round(NamedTuple):
    """A part of the race.

    Attributes:
      n_folds: Folds that each candidate in it has trained for at its end.
      n_kept: Candidates that go on.
    """

    n_folds: int
    n_kept: int


def plan_rounds(n_candidates: int, n_folds: int, *, race: bool) -> list[Round]:
    """All candidates for a quarter of the folds, two for half, one for all."""
    if not race or n_candidates == 1:
        return [Round(n_folds, 1)]
    quarter, half = max(1, n_folds // 4), max(1, n_folds // 2)
    return [Round(quarter, 2), Round(half, 1), Round(n_folds, 1)]


class Race(NamedTuple):
    """What came out: networks and validation losses by candidate and fold."""

    best: int
    members: dict[tuple[int, int], Member]
    val_losses: NDArray[np.float64]


def run_race(
    courses: list[Course],
    rounds: list[Round],
    is_stopped: Callable[[], bool],
    callback: Callable[[CrossFitProgress], object] | None,
) -> Race:
    """Trains the candidates round by round.

    Args:
      courses: How each candidate trains.
      rounds: From `plan_rounds`.
      is_stopped: As in `cross_fit`.
      callback: As in `cross_fit`.

    Raises:
      FloatingPointError: No network had a finite validation loss.
    """
    n_folds = len(courses[0].fold_rows)
    losses = np.full((len(courses), n_folds), np.nan)
    members: dict[tuple[int, int], Member] = {}
    running = list(range(len(courses)))
    programs: dict[int, Future[Program]] = {}
    n_members = _count_members(len(courses), rounds)
    for one in rounds:
        jobs = [
            (i, fold)
            for i in running
            for fold in range(one.n_folds)
            if (i, fold) not in members
        ]
        for job, member in _train_all(courses, programs, jobs, is_stopped):
            members[job] = member
            losses[job] = member.val_loss
            if callback is not None:
                callback(CrossFitProgress(len(members), n_members, losses.copy()))
        running = _leaders(losses[:, : one.n_folds], running, one.n_kept)
        if is_stopped():
            break
    return Race(running[0], members, losses)


def _count_members(n_candidates: int, rounds: list[Round]) -> int:
    total, n_running, n_done = 0, n_candidates, 0
    for one in rounds:
        total += n_running * (one.n_folds - n_done)
        n_running, n_done = min(n_running, one.n_kept), one.n_folds
    return total


def _leaders(losses: NDArray[np.float64], running: list[int], n_kept: int) -> list[int]:
    """The candidates with the lowest mean loss, those with a network at least."""
    trained = [i for i in running if not np.isnan(losses[i]).all()]
    means = {i: float(np.nanmean(losses[i])) for i in trained}
    best = sorted(trained, key=lambda i: (means[i], i))[:n_kept]
    if not math.isfinite(means[best[0]]):
        raise FloatingPointError(
            "no candidate had a finite validation loss: the learning rates are too large "
            "for these data"
        )
    return best


def _train_all(
    courses: list[Course],
    programs: dict[int, Future[Program]],
    jobs: list[tuple[int, int]],
    is_stopped: Callable[[], bool],
) -> Iterator[tuple[tuple[int, int], Member]]:
    """Trains networks on all threads, a candidate compiling while others train."""
    failed = threading.Event()
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    is_cpu = next(iter(courses[0].data.y.devices())).platform == "cpu"

    def over() -> bool:
        return failed.is_set() or is_stopped()

    def train(job: tuple[int, int], begin: Start) -> None:
        i, fold = job
        try:
            program = programs[i].result()
            # The first one is trained in any case, for something to show.
            is_left_out = over() and job != (0, 0)
            outcome: Any = None
            if not is_left_out:
                outcome = train_member(courses[i], program, fold, begin, over)
        except BaseException as error:
            outcome = error
        done.put((job, outcome))

    compilers = ThreadPoolExecutor(n_processors())
    pool = ThreadPoolExecutor(n_processors() if is_cpu else 1)
    try:
        for i in dict.fromkeys(i for i, _ in jobs):
            if i not in programs:
                programs[i] = compilers.submit(trace_course(courses[i]))
        for i, fold in jobs:
            pool.submit(train, (i, fold), start_member(courses[i], fold))
        for _ in jobs:
            job, outcome = done.get()
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is not None:
                yield job, outcome
    except BaseException:
        failed.set()
        raise
    finally:
        for executor in (compilers, pool):
            executor.shutdown(cancel_futures=True)
