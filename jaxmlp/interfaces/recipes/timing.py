"""Compile time and run time, apart."""

import math
import time

import jax

# What JAX reports for tracing, lowering and compiling.
_COMPILE_EVENTS = "/jax/core/compile/"


class Stopwatch:
    """Measures a block's wall time, and how much of it JAX was compiling on some thread.

    Attributes:
      compile: Seconds in which JAX traced, lowered or compiled, on one thread or several.
      total: Seconds of the whole block.

    Examples:
      >>> import jax
      >>> with Stopwatch() as watch:
      ...     _ = jax.jit(lambda x: x + 1)(1.0)
      >>> 0 < watch.compile < watch.total
      True
    """

    def __init__(self) -> None:
        self.total = 0.0
        self._spans: list[tuple[float, float]] = []

    @property
    def compile(self) -> float:
        """The length of all spans together, what they share counted once."""
        length, end = 0.0, -math.inf
        for begin, stop in sorted(self._spans):
            length += max(0.0, stop - max(begin, end))
            end = max(end, stop)
        return length

    @property
    def run(self) -> float:
        """Seconds in which nothing was compiled."""
        return max(0.0, self.total - self.compile)

    def __enter__(self) -> "Stopwatch":
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        self._began = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.total = time.perf_counter() - self._began
        jax.monitoring.unregister_event_duration_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith(_COMPILE_EVENTS):
            now = time.perf_counter()
            self._spans.append((now - duration_secs, now))
