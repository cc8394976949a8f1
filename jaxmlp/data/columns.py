"""What the columns of a table mean, and their values in plain form."""

import datetime
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jaxmlp.data.errors import DataError, shorten

Kind = Literal["numeric", "categorical", "date"]
"""Booleans count as numeric, 0 and 1; so do times of day and durations, in seconds."""

Wish = Literal["numeric", "categorical", "date", "drop"]
"""What a user says of a column."""

Values: TypeAlias = NDArray[np.floating] | pa.Array
"""Numeric: `(n,)`, NaN where missing, float32 of a column of float32 or float16, else
float64; dates: days since 1970-01-01, float64. Categorical: strings, null where missing."""

# "id", "customer_id", "customerID", "PassengerId"; not "paid" or "grid".
_NAMES_OF_IDENTIFIERS = re.compile(r"(^|[^A-Za-z])[iI][dD]$|[a-z](ID|Id)$")


class Kinds(NamedTuple):
    """The reading of a table's columns.

    Attributes:
      used: Kind of each feature column, in the table's order.
      dropped: Why each other column is not used.
    """

    used: dict[str, Kind]
    dropped: dict[str, str]


def infer_kinds(
    table: pa.Table,
    target: str,
    wishes: Mapping[str, Wish] | None = None,
    *,
    is_whole: bool = True,
) -> Kinds:
    """Reads the kinds of all columns but the target from their types.

    Args:
      table: The table.
      target: Name of the target column.
      wishes: What the user says of columns, which goes before what their types say.
      is_whole: Whether these are all rows, so that a column without a value has none.

    Raises:
      DataError: A wish is for a column that is not there, or the target, or is none.
    """
    wishes = wishes or {}
    features = [name for name in table.column_names if name != target]
    for name, given in wishes.items():
        if str(given) not in get_args(Wish):
            wanted = ", ".join(get_args(Wish))
            raise DataError(f"column {name!r} can be {wanted}, not {given!r}")
        if name not in features:
            what = "is the target" if name == target else "is not in the table"
            raise DataError(
                f"column {name!r} {what} (the features are: {shorten(features)})"
            )
    used: dict[str, Kind] = {}
    dropped: dict[str, str] = {}
    for name in features:
        column, wish = table[name], wishes.get(name)
        kind = _kind(column.type)
        if wish == "drop":
            dropped[name] = "you said so"
        elif pa.types.is_nested(column.type):  # their values were not even read
            dropped[name] = f"values of type {column.type} are not supported"
        elif is_whole and column.null_count == len(column):
            dropped[name] = "it has no value"
        elif wish is not None:
            used[name] = wish
        elif kind is None:
            dropped[name] = f"values of type {column.type} are not supported"
        elif _counts_rows(column):
            dropped[name] = "it numbers the rows"
        elif _identifies_rows(name, column):
            dropped[name] = (
                "its name and its values, no two alike, are those of an identifier"
            )
        else:
            used[name] = kind
    return Kinds(used, dropped)


def decode(
    table: pa.Table, kinds: Mapping[str, Kind], first_row: int = 0
) -> dict[str, Values]:
    """Brings the values of feature columns into plain form.

    Args:
      table: The table; further columns are ignored.
      kinds: The columns to take, and what they mean.
      first_row: Number of the first row, for messages.

    Returns:
      The values of each column; see `Values`.

    Raises:
      DataError: A column is missing from the table, a number is infinite, or a column
        holds something else than its kind; names column and row.
    """
    present = set(table.column_names)
    absent = [name for name in kinds if name not in present]
    if absent:
        plural = "s" if len(absent) > 1 else ""
        raise DataError(
            f"the table lacks {len(absent)} column{plural} that the model needs: "
            f"{shorten(absent)}"
        )
    read = {"numeric": _numbers, "categorical": _texts, "date": _days}
    return {name: read[kind](table[name], name, first_row) for name, kind in kinds.items()}


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """Values as Python has them; dates, times and zones that it lacks as whole numbers."""
    try:
        values: list[Any] = column.to_pylist()
    except (ArithmeticError, ValueError):  # pa.ArrowInvalid is a ValueError
        column = _decoded(column)
        whole = pa.int32() if column.type.bit_width == 32 else pa.int64()
        values = column.cast(whole).to_pylist()
    return values


def explain_texts(columns: Mapping[str, Values]) -> dict[str, str]:
    """Finds text columns that hold numbers but for a few values, and says which one."""
    reasons = {}
    for name, values in columns.items():
        if isinstance(values, np.ndarray) or not len(values.drop_null()):
            continue
        texts = values.to_pylist()
        others = [row for row, text in enumerate(texts) if text and not _is_float(text)]
        if 0 < len(others) <= 0.1 * len(texts):
            example = f"row {others[0]} holds {texts[others[0]]!r}"
            reasons[name] = f"it is read as text, not as numbers, because {example}"
    return reasons


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _kind(kind: pa.DataType) -> Kind | None:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if is_number(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        return "numeric"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "date"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "categorical"
    return "categorical" if pa.types.is_string_view(kind) else None


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers, True and False among them."""
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )


def _counts_rows(column: pa.ChunkedArray) -> bool:
    """Whether the values are 0, 1, 2, … or 1, 2, 3, …: an index, not a feature."""
    if not pa.types.is_integer(column.type) or column.null_count or len(column) < 3:
        return False
    first = column[0].as_py()
    if first not in (0, 1):
        return False
    return bool((column.to_numpy() == np.arange(first, first + len(column))).all())


def _identifies_rows(name: str, column: pa.ChunkedArray) -> bool:
    """Whether a column of whole numbers has the name and the values of an identifier."""
    if not pa.types.is_integer(column.type) or not _NAMES_OF_IDENTIFIERS.search(name):
        return False
    return len(column) > 2 and len(column.unique()) == len(column)


def _decoded(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column


_NARROW = {pa.float16(), pa.float32()}


def _with_one_nan(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same; a signalling NaN would warn wherever it is used."""
    return np.where(np.isnan(values), np.nan, values)


def _texts(column: pa.ChunkedArray, name: str, _: int) -> pa.Array:
    return as_texts(column, name)


def _numbers(column: pa.ChunkedArray, name: str, first_row: int) -> NDArray[np.floating]:
    column = _decoded(column)
    values: NDArray[np.floating]
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_time(column.type):
        values = _microseconds(column.cast(pa.time64("us"), safe=False)) / 1e6
    elif pa.types.is_duration(column.type):
        values = _microseconds(column.cast(pa.duration("us"), safe=False)) / 1e6
    elif is_number(column.type):
        kind = pa.float32() if column.type in _NARROW else pa.float64()
        if column.type != kind:
            column = column.cast(kind, safe=False)
        values = column.to_numpy()
    else:
        values = _parse_numbers(column, name, first_row)
    if np.isfinite(values).all():
        return values
    values = _with_one_nan(values)
    if np.isinf(values).any():
        row = first_row + int(np.isinf(values).argmax())
        raise DataError(
            f"column {name!r}, row {row}: the value is infinite; "
            "leave it empty if it is unknown"
        )
    return values


def _parse_numbers(
    column: pa.ChunkedArray, name: str, first_row: int
) -> NDArray[np.float64]:
    """Reads numbers and times of day given as text, as pandas leaves the latter."""
    values = np.full(len(column), np.nan)
    for row, text in enumerate(as_texts(column, name).to_pylist()):
        try:
            values[row] = _number(text or "nan")
        except ValueError:
            raise DataError(
                f"column {name!r}, row {first_row + row}: {text!r} is not a number, "
                "and one is needed there"
            ) from None
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        time = datetime.time.fromisoformat(text.strip())
        if ":" not in text or time.tzinfo is not None:
            raise
        midnight = datetime.datetime.min
        return (datetime.datetime.combine(midnight, time) - midnight).total_seconds()


def _microseconds(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.array(column.cast(pa.int64()).cast(pa.float64(), safe=False), np.float64)


def _days(column: pa.ChunkedArray, name: str, first_row: int) -> NDArray[np.float64]:
    column = _decoded(column)
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if not (pa.types.is_date(column.type) or pa.types.is_timestamp(column.type)):
        column = _parse_dates(column, name, first_row)
    return _microseconds(column.cast(pa.timestamp("us"), safe=False)) / 86_400e6


def _parse_dates(column: pa.ChunkedArray, name: str, first_row: int) -> pa.ChunkedArray:
    """Reads dates given as text, such as 2024-02-29 or 2024-02-29 13:05."""
    days: list[datetime.datetime | None] = []
    for row, text in enumerate(as_texts(column, name).to_pylist()):
        try:
            moment = datetime.datetime.fromisoformat(text.strip()) if text else None
            if moment is not None and moment.tzinfo is not None:
                moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):  # a zone can lead out of the years 1 to 9999
            raise DataError(
                f"column {name!r}, row {first_row + row}: {text!r} is not a date such as "
                "2024-02-29, and one is needed there"
            ) from None
        days.append(moment)
    return pa.chunked_array([pa.array(days, pa.timestamp("us"))])


def as_texts(column: pa.Array | pa.ChunkedArray, name: str) -> pa.Array:
    """Writes values as categories: each as it would be written alone.

    Raises:
      DataError: They cannot be written; names the column.
    """
    column = _decoded(column)
    try:
        if pa.types.is_floating(column.type):
            return _float_texts(column)
        texts = column.cast(pa.string())
    except pa.ArrowException as error:
        raise DataError(
            f"column {name!r} holds {column.type}, and the model needs categories there"
        ) from error
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _float_texts(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Makes "3" of 3.0, as of 3: codes with a gap come as floats from pandas."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    values = _with_one_nan(np.array(column.cast(pa.float64()), np.float64))
    is_whole = (values == np.round(values)) & (np.abs(values) < 2**63)
    whole = pa.array(np.where(is_whole, values, 0).astype(np.int64)).cast(pa.string())
    texts = pc.if_else(pa.array(is_whole), whole, column.cast(pa.string()))
    return pc.if_else(pa.array(np.isnan(values)), None, texts)
