"""A search's networks in chunks, on as many threads as help."""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding

from jaxmlp.core import Params
from jaxmlp.training.engine import run_in_chunks
from jaxmlp.training.grid import (
    Choice,
    Draws,
    HiddenSizes,
    footprint,
    run_chunk,
    start_chunk,
)
from jaxmlp.training.orders import Orders, round_up
from jaxmlp.training.places import gather, in_parts, mesh_of, platform_of, put, share_out
from jaxmlp.training.stack import stack_on_host
from jaxmlp.training.state import BestEpoch, Data, History, Hyper, Settings, history_of


class Work(NamedTuple):
    """What all chunks of a search share.

    Attributes:
      data: Training and validation part, on the device.
      settings: What the programs are specialised to.
      draws: Starting weights.
      orders: Draws the orders of the examples.
      device: Where the networks train; on a mesh, each device trains its share of them.
      has_penalty: Whether any network has an L2 penalty.
      every: Epochs between two reports, or None for one report at the end.
    """

    data: Data
    settings: Settings
    draws: Draws
    orders: Orders
    device: jax.Device | NamedSharding
    has_penalty: bool
    every: int | None


class Group(NamedTuple):
    """Networks of one depth, which share a program.

    Attributes:
      widest: Widths that all are padded to.
      chunks: Positions of the networks that train side by side; the last of a short
        chunk stands as often as its program needs.
    """

    widest: HiddenSizes
    chunks: list[list[int]]


class Report(NamedTuple):
    """How far a chunk has come.

    Attributes:
      networks: Positions of its networks, each once.
      n_done: Epochs done.
      outcome: Best epochs and curves, on the host with a leading axis, once it has ended.
    """

    networks: list[int]
    n_done: int
    outcome: tuple[BestEpoch, History] | None


def plan_groups(
    work: Work, choices: list[Choice], n_parallel: int | None, memory_limit: int
) -> tuple[list[Group], int]:
    """Cuts the networks into chunks that keep the memory limit.

    Returns:
      The groups, deep networks first, and the number of threads to train on.

    Raises:
      ValueError: One network alone exceeds memory_limit.
    """
    mesh = mesh_of(work.device)
    n_devices = 1 if mesh is None else mesh.size
    is_cpu = platform_of(work.device) == "cpu"
    n_threads = n_processors() if is_cpu and mesh is None else 1
    wanted = n_parallel or (n_devices if is_cpu else len(choices))
    groups = []
    for depth in sorted({len(choice.hidden_sizes) for choice in choices}, reverse=True):
        networks = [i for i, c in enumerate(choices) if len(c.hidden_sizes) == depth]
        columns = zip(*(choices[i].hidden_sizes for i in networks), strict=True)
        widest = tuple(map(max, columns))
        sizes = (work.draws.n_features, *widest, 1)
        need = partial(
            footprint(sizes, work.data, work.settings).of_chunk, on_mesh=mesh is not None
        )
        fits = [
            n
            for n in range(1, -(-min(wanted, len(networks)) // n_devices) + 1)
            if need(n) <= memory_limit
        ]
        if not fits:
            raise ValueError(
                f"memory_limit of {memory_limit} bytes is too little: a network of widths "
                f"{sizes} may take {need(1)}; raise it, or give narrower ones"
            )
        n_chunks = -(-len(networks) // (max(fits) * n_devices))
        size = round_up(-(-len(networks) // n_chunks), n_devices)
        n_chunks = -(-len(networks) // size)
        n_threads = min(n_threads, memory_limit // need(size // n_devices))
        padded = networks + networks[-1:] * (n_chunks * size - len(networks))
        groups.append(
            Group(widest, [padded[i : i + size] for i in range(0, len(padded), size)])
        )
    return groups, n_threads


def run_groups(
    work: Work,
    choices: list[Choice],
    groups: list[Group],
    n_threads: int,
    stop: threading.Event,
) -> Iterator[Report]:
    """Trains all chunks; a group compiles while those before it train.

    Args:
      work: What they share.
      choices: What distinguishes the networks.
      groups: From `plan_groups`.
      n_threads: Chunks that train at the same time.
      stop: When set, chunks end after the block that they are in, or do not begin.

    Yields:
      Reports as they come; of each chunk the last one has its outcome.
    """
    if mesh_of(work.device) is not None:
        # One after the other: processes may share the mesh, and must do the same in turn.
        program = _on_mesh(work)
        for group in groups:
            for chunk in group.chunks:
                yield from _train_chunk(work, choices, group, program, chunk, stop)
        return
    reports: queue.SimpleQueue[Report | BaseException] = queue.SimpleQueue()
    pool = ThreadPoolExecutor(n_threads)
    try:
        for group in groups:
            train = partial(
                _train_chunk, work, choices, group, _compile(work, choices, group)
            )
            for chunk in group.chunks:
                pool.submit(_report, reports, partial(train, chunk, stop))
        n_open = sum(len(group.chunks) for group in groups)
        while n_open:
            report = reports.get()
            if isinstance(report, BaseException):
                raise report
            n_open -= report.outcome is not None
            yield report
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _Program(NamedTuple):
    start: Any
    run: Any


def _compile(work: Work, choices: list[Choice], group: Group) -> _Program:
    """Compiles a group's programs ahead of time.

    Threads do not see settings of JAX that the caller has made in a `with` block, so
    nothing may be traced there.
    """
    params, hyper = _starts(work, choices, group, group.chunks[0])
    start = start_chunk.lower(params, hyper, work.settings)
    bounds = (np.int32(0), np.int32(0))
    run = run_chunk.lower(
        start.out_info, hyper, work.orders(0), work.data, bounds, work.settings
    )
    return _Program(start.compile(), run.compile())


def _on_mesh(work: Work) -> _Program:
    mesh, settings = mesh_of(work.device), work.settings
    shared_out = jax.jit(partial(share_out, mesh=mesh))
    return _Program(
        lambda params, hyper: shared_out(start_chunk(params, hyper, settings)),
        partial(run_chunk, settings=settings),
    )


def _starts(
    work: Work, choices: list[Choice], group: Group, chunk: list[int]
) -> tuple[Params, Hyper]:
    """Starting parameters and hyperparameters of a chunk, on the device or devices."""
    members = [choices[i] for i in chunk]
    dtype = work.draws.values.dtype
    params = stack_on_host([work.draws.params(c) for c in members], group.widest)
    rates = np.array([choice.learning_rate for choice in members], dtype)
    l2 = np.array([choice.l2 for choice in members], dtype) if work.has_penalty else None
    mesh = mesh_of(work.device)
    place = work.device if mesh is None else in_parts(mesh)
    params, rates, l2 = put((params, rates, l2), place)
    return params, Hyper(rates, l2)


def _train_chunk(
    work: Work,
    choices: list[Choice],
    group: Group,
    program: _Program,
    chunk: list[int],
    stop: threading.Event,
) -> Iterator[Report]:
    networks = sorted(set(chunk))
    # A thread does not see that the caller has 64 bits switched on in a `with` block.
    with jax.enable_x64(work.data.y.dtype == np.float64):
        params, hyper = _starts(work, choices, group, chunk)
    state, n_done = program.start(params, hyper), 0
    if not stop.is_set():
        chunks = run_in_chunks(
            lambda state, orders, bounds: program.run(
                state, hyper, orders, work.data, bounds
            ),
            state,
            work.orders,
            work.settings.plan,
            work.every,
            stop.is_set,
        )
        for state, n_done, has_ended in chunks:  # noqa: B007 (the last state counts)
            if not has_ended:
                yield Report(networks, n_done, None)
    state = gather(state._replace(opt_state=None), mesh_of(work.device))
    outcome = jax.device_get((state.best, history_of(state, n_done)))
    yield Report(networks, n_done, outcome)


def _report(
    reports: "queue.SimpleQueue[Report | BaseException]",
    train: Callable[[], Iterator[Report]],
) -> None:
    try:
        for report in train():
            reports.put(report)
    except BaseException as error:
        reports.put(error)


def n_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
