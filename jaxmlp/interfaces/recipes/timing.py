"""Compile time and run time, apart."""

import time

import jax

# What JAX reports for tracing, lowering and compiling.
_COMPILE_EVENTS = "/jax/core/compile/"


class Stopwatch:
    """Measures a block's wall time and the part of it that JAX spent on compiling.

    Attributes:
      compile: Seconds of tracing, lowering and compiling.
      total: Seconds of the whole block.

    Example:
      >>> import jax
      >>> with Stopwatch() as watch:
      ...     _ = jax.jit(lambda x: x + 1)(1.0)
      >>> 0 < watch.compile < watch.total
      True
    """

    def __init__(self) -> None:
        self.compile = 0.0
        self.total = 0.0

    @property
    def run(self) -> float:
        """Seconds of everything but compiling, which may go on beside other work."""
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
            self.compile += duration_secs
