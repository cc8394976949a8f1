"""The command line's values that are more than one number."""

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar, cast, get_args

import typer

from jaxmlp.data.columns import Wish
from jaxmlp.interfaces.recipes.threshold import Metric, Rule

_T = TypeVar("_T")

_WIDEST = 1_000_000


def parse_split(text: str) -> tuple[float, float, float]:
    """Reads shares such as "70/15/15".

    Raises:
      typer.BadParameter: They are not three shares that sum to 100, or the training or
        validation part is 0.
    """
    try:
        train, val, test = (float(share) / 100 for share in text.split("/"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not three shares such as 70/15/15") from None
    if not math.isclose(train + val + test, 1, abs_tol=1e-6) or test < 0:
        raise typer.BadParameter(
            f"the shares {text!r} are not per cent that sum to 100, such as 70/15/15"
        )
    if train <= 0 or val <= 0:
        raise typer.BadParameter(
            f"{text!r}: the training part, and the validation part that chooses step "
            "size, width and epoch, must be greater than 0"
        )
    return train, val, test


def parse_learning_rates(text: str) -> tuple[float, ...]:
    """Reads step sizes such as "0.01,0.1".

    Raises:
      typer.BadParameter: One is not a positive number.
    """
    try:
        rates = _unique(float(rate) for rate in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise typer.BadParameter(f"{text!r} is not positive numbers such as 0.01,0.1")
    return rates


def parse_penalties(text: str) -> tuple[float, ...]:
    """Reads penalties such as "0,0.001".

    Raises:
      typer.BadParameter: One is not a number from 0.
    """
    try:
        penalties = _unique(float(penalty) for penalty in text.split(","))
    except ValueError:
        penalties = ()
    if not penalties or not all(math.isfinite(l2) and l2 >= 0 for l2 in penalties):
        raise typer.BadParameter(f"{text!r} is not numbers from 0 such as 0,0.001")
    return penalties


def parse_positive(text: str) -> float:
    """Reads a number such as "1.5".

    Raises:
      typer.BadParameter: It is not a positive number.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise typer.BadParameter(f"{text!r} is not a positive number such as 1.5")
    return number


def parse_column(text: str) -> tuple[str, Wish]:
    """Reads what a column is, such as "zip=categorical".

    Raises:
      typer.BadParameter: It is not a name and a kind.
    """
    name, _, kind = text.rpartition("=")
    if not name or kind not in get_args(Wish):
        raise typer.BadParameter(
            f"{text!r} is not NAME=KIND with one of the kinds {', '.join(get_args(Wish))}"
        )
    return name, cast(Wish, kind)


def parse_threshold(text: str) -> Rule:
    """Reads a probability such as "0.3", or a metric.

    Raises:
      typer.BadParameter: It is neither.
    """
    metrics = get_args(Metric)
    if text in metrics:
        return cast(Metric, text)
    try:
        threshold = float(text)
    except ValueError:
        threshold = math.nan
    if not 0 < threshold < 1:
        raise typer.BadParameter(
            f"{text!r} is neither a probability between 0 and 1 nor one of "
            f"{', '.join(metrics)}"
        )
    return threshold


def parse_hidden(text: str) -> tuple[tuple[int, ...], ...]:
    """Reads hidden layers such as "16,64,32x16"; 0 is none.

    Raises:
      typer.BadParameter: One is not a width or widths joined by x.
    """
    try:
        sizes = tuple(
            tuple(int(width) for width in layers.lower().split("x"))
            for layers in text.split(",")
        )
    except ValueError:
        sizes = ((-1,),)
    sizes = _unique(() if widths == (0,) else widths for widths in sizes)
    if any(not 1 <= width <= _WIDEST for widths in sizes for width in widths):
        raise typer.BadParameter(
            f"{text!r} is not widths such as 16,64 (32x16 for two layers, 0 for none)"
        )
    return sizes


def _unique(values: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(values))


def format_hidden(hidden_sizes: Sequence[int]) -> str:
    """Writes hidden layers as `parse_hidden` reads them."""
    return "x".join(str(width) for width in hidden_sizes) or "0"
