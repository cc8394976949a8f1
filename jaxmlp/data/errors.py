"""The error for input that a user can put right."""


class DataError(ValueError):
    """A table or label that cannot be used; the message is one line that says why."""


def shorten(names: list[str], most: int = 20) -> str:
    """Joins names with commas, the first `most` of them."""
    shown = ", ".join(names[:most])
    rest = len(names) - most
    return f"{shown}, and {rest} more" if rest > 0 else shown
