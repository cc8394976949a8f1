"""Work on slices ahead of their use, on threads, with results in a fixed order."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def take_turns(lanes: Sequence[Iterator[T]], n_threads: int) -> Iterator[T]:
    """Takes one item of each lane in turn, until all have ended.

    While the caller has an item, the next one of each lane is made, on threads: their
    number changes the speed, and not what comes when. One item a lane is made ahead, so
    that memory stays bounded.

    Args:
      lanes: What makes the items.
      n_threads: Threads to make them on.
    """
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="jaxmlp-read")
    try:
        waiting = [(lane, pool.submit(_next, lane)) for lane in lanes]
        while waiting:
            lane, future = waiting.pop(0)
            for item in future.result():
                waiting.append((lane, pool.submit(_next, lane)))
                yield item
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for lane in lanes:
            close = getattr(lane, "close", None)
            if close is not None:
                close()


def _next(lane: Iterator[T]) -> list[T]:
    """The next item, or nothing at the end."""
    return [item for _, item in zip(range(1), lane, strict=False)]
