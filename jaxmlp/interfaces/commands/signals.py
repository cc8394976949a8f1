"""What the command does when it is told to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from jaxmlp.training import Checkpoints, Stopped
from jaxmlp.training.checkpoints import has_checkpoints

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM ends."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HINT = "the same command with --resume goes on"


class Ended(BaseException):
    """The command ends because it was told to.

    Attributes:
      code: Its exit code.
      message: What to say.
      is_agreed: Whether all processes have agreed to end, so that none is missed.
    """

    def __init__(self, code: int, message: str, *, is_agreed: bool = False) -> None:
        word = "terminated" if code == TERMINATED else "interrupted"
        self.code, self.message = code, f"{word}; {message}"
        self.is_agreed = is_agreed
        super().__init__(self.message)


class Stop:
    """Asked after each window of training, says whether a signal has come.

    Attributes:
      code: Exit code that goes with the signal, or None.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._is_asked = False

    def __call__(self) -> bool:
        """Whether to stop."""
        self._is_asked = True
        return self.code is not None

    def take(self, number: int, frame: FrameType | None) -> None:
        """Notes a signal; ends at once if nobody asks, or if it is the second."""
        if not self._is_asked or self.code is not None:
            end_at_once(number, frame)
        self.code = 128 + number


def end_at_once(number: int, _: FrameType | None) -> None:
    """Handler that ends the command; what it has begun to write is removed."""
    raise Ended(128 + number, "nothing was written")


@contextmanager
def handling(handler: Stop | None = None) -> Iterator[None]:
    """Within, SIGINT and SIGTERM go to `Stop.take`, or end the command at once."""
    take = end_at_once if handler is None else handler.take
    before = [signal.signal(number, take) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, earlier in zip(_SIGNALS, before, strict=True):
            signal.signal(number, earlier)


def end_well() -> None:
    """Until `handling` ends, SIGINT and SIGTERM end the command, but not as a failure."""

    def end(_: int, __: FrameType | None) -> None:
        raise Ended(0, "all was done")

    for number in _SIGNALS:
        signal.signal(number, end)


@contextmanager
def naming_checkpoints(checkpoints: Checkpoints | None) -> Iterator[None]:
    """Within, what ends the command at once says that there are checkpoints."""
    try:
        yield
    except Ended as ended:
        if checkpoints is None or ended.is_agreed:
            raise
        folder = Path(checkpoints.folder)
        if not has_checkpoints(folder):
            raise
        said = f"no model was written; a checkpoint is in {folder}; {_HINT}"
        raise Ended(ended.code, said) from None


@contextmanager
def stopping() -> Iterator[Stop]:
    """Within, the first SIGINT or SIGTERM lets training save what it has, and ends then."""
    stop = Stop()
    try:
        with handling(stop):
            yield stop
    except Stopped as stopped:
        # Without a signal of its own, another process was told to end.
        code = stop.code or TERMINATED
        raise Ended(code, f"{stopped}; {_HINT}", is_agreed=True) from None
