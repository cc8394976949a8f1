"""The target column: two values, one of which is the positive one."""

import difflib
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jaxmlp.data.columns import is_number, python_values
from jaxmlp.data.errors import DataError, shorten

Label = bool | int | float | str


class Classes(NamedTuple):
    """The two values of the target.

    Attributes:
      negative: Value coded as 0.
      positive: Value coded as 1, whose probability is predicted.
    """

    negative: Label
    positive: Label


def find_column(table: pa.Table, name: str, what: str) -> pa.ChunkedArray:
    """Takes a column by name.

    Raises:
      DataError: There is none; names the nearest and the columns that exist.
    """
    names = table.column_names
    if name not in names:
        # Comparing takes the product of the lengths: not of all names, nor of endless ones.
        short = [n for n in names[:1000] if len(n) <= 200]
        near = difflib.get_close_matches(name[:200], short, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"no {what} column {name!r}{hint} (the columns are: {shorten(names)})"
        )
    return table[name]


def find_classes(column: pa.ChunkedArray, target: str, positive: str | None) -> Classes:
    """Finds the two values of a target and which of them is positive.

    Args:
      column: The target column.
      target: Its name, for messages.
      positive: The positive value as text, or None for the greater one: 1 of 0 and 1,
        True of False and True, "yes" of "no" and "yes".

    Raises:
      DataError: A label is missing, there are not two values, or `positive` is neither.
    """
    return choose_classes(code_labels(column, target)[0], target, positive)


def choose_classes(labels: Iterable[Any], target: str, positive: str | None) -> Classes:
    """`find_classes` from the target's distinct values."""
    distinct = sorted(set(labels))
    if len(distinct) != 2:
        shown = shorten([repr(value) for value in distinct], most=5)
        raise DataError(
            f"target column {target!r} has {len(distinct)} distinct "
            f"value{'' if len(distinct) == 1 else 's'} ({shown}); two are needed"
        )
    is_plain = all(map(is_storable, distinct))
    negative, default = distinct if is_plain else map(str, distinct)
    if positive is None:
        return Classes(negative, default)
    for wanted in (positive, _canonical(positive)):
        if as_text(default) == wanted:
            return Classes(negative, default)
        if as_text(negative) == wanted:
            return Classes(default, negative)
    raise DataError(
        f"--positive {positive!r} is not a value of target column {target!r}: "
        f"it holds {negative!r} and {default!r}"
    )


def encode_labels(
    column: pa.ChunkedArray, target: str, classes: Classes, first_row: int = 0
) -> NDArray[np.int32]:
    """Codes a target column as 0 and 1, `(n,)`.

    Args:
      column: The target column.
      target: Its name, for messages.
      classes: The two values.
      first_row: Number of the first row, for messages.

    Raises:
      DataError: A label is missing or neither of the two.
    """
    values, places = code_labels(column, target, first_row)
    by_text = {as_text(classes.negative): 0, as_text(classes.positive): 1}
    codes = np.array([by_text.get(as_text(value), -1) for value in values], np.int32)
    y: NDArray[np.int32] = codes[places]
    if (y < 0).any():
        row = int(np.argmin(y))
        raise DataError(
            f"target column {target!r}, row {first_row + row}: the label "
            f"{as_text(values[places[row]])!r} is neither {classes.negative!r} nor "
            f"{classes.positive!r}"
        )
    return y


def as_text(label: Any) -> str:
    """One text for one label, whatever type a file gave it: 1, 1.0 and "1" are the same."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def _canonical(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return {"true": "True", "false": "False"}.get(text.lower(), text)
    return as_text(number) if math.isfinite(number) else text


def code_labels(
    column: pa.ChunkedArray, target: str, first_row: int = 0
) -> tuple[list[Any], NDArray[np.int32]]:
    """Distinct values of a target column, and for each row its place among them.

    Raises:
      DataError: A label is missing or infinite, or the column holds none.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_label(column.type):
        raise DataError(f"target column {target!r} holds {column.type}, not labels")
    is_missing = pc.is_null(column, nan_is_null=True).to_numpy()
    if is_missing.any():
        first, more = int(np.argmax(is_missing)), int(is_missing.sum()) - 1
        also = f", and {more} of the next {len(column) - first - 1} are" if more else ""
        raise DataError(
            f"target column {target!r}, row {first_row + first}: the label is missing"
            f"{also}; remove what has none"
        )
    coded = pc.dictionary_encode(column).combine_chunks()
    values = python_values(coded.dictionary)
    places = coded.indices.to_numpy().astype(np.int32)
    for place, value in enumerate(values):
        if isinstance(value, float) and math.isinf(value):
            row = first_row + int(np.argmax(places == place))
            raise DataError(f"target column {target!r}, row {row}: the label is infinite")
    return values, places


def _is_label(kind: pa.DataType) -> bool:
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return (
        is_number(kind)
        or is_text
        or pa.types.is_string_view(kind)
        or pa.types.is_temporal(kind)
        or pa.types.is_null(kind)
    )


def is_storable(label: Any) -> bool:
    """Whether JSON and tables have it: no date, decimal or number beyond 64 bits."""
    if isinstance(label, int):
        return abs(label) < 2**63
    return isinstance(label, float | str)
