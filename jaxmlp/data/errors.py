"""The error for input that a user can put right."""

import re

_LONGEST = 1000  # so that a name of a million characters does not bury what is wrong


class DataError(ValueError):
    """A table or label that cannot be used; the message is one line that says why.

    Guarantees:
      The line is printable, whatever the names and values that it quotes (see `printable`).
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    r"""One line that a terminal shows and does not obey; of a long text both ends.

    Examples:
      >>> print(printable("a\x1b[2Jb"))
      a\x1b[2Jb
    """
    text = _cut(text)
    if text.isprintable():
        return text
    return _cut("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def _cut(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} … {text[-half:]}"


def one_line(error: Exception) -> str:
    """The first line of an error's message; of the system's, what is wrong."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        # pyarrow has the system's words behind its own.
        text = re.sub(r".*Detail: \[errno \d+\] ", "", error.strerror, flags=re.DOTALL)
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")


def shorten(names: list[str], most: int = 20) -> str:
    """Joins names with commas, the first `most` of them."""
    shown = ", ".join(names[:most])
    rest = len(names) - most
    return f"{shown}, and {rest} more" if rest > 0 else shown
