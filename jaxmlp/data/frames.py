"""Tables of pandas, polars, pyarrow and NumPy as one kind of table."""

import numbers
from typing import Any

import numpy as np
import pyarrow as pa

from jaxmlp.data.columns import as_texts
from jaxmlp.data.errors import DataError

# What Arrow raises on values of several types, of none that it knows, or too large for it.
_UNFIT = (
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    pa.ArrowNotImplementedError,
    OverflowError,
)


def as_table(frame: Any) -> pa.Table:
    """Brings a table into pyarrow's form.

    Args:
      frame: A table of pyarrow, pandas or polars, or an array `(n, p)`, whose columns are
        then called x0, x1, …. A column of mixed types becomes text.

    Raises:
      DataError: It is something else, names a column twice, or a column holds what has no
        place in a table; names the column.
    """
    if isinstance(frame, pa.Table):
        return _with_distinct_names(frame)
    if isinstance(frame, pa.RecordBatch):
        return as_table(pa.Table.from_batches([frame]))
    if hasattr(frame, "to_arrow"):  # polars
        return _with_distinct_names(frame.to_arrow())
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):  # pandas
        names = [str(name) for name in frame.columns]
        arrays = [_from_pandas(frame.iloc[:, i], name) for i, name in enumerate(names)]
        return _with_distinct_names(pa.Table.from_arrays(arrays, names=names))
    array = np.asarray(frame)
    if array.ndim != 2:
        raise DataError(
            "X must be a table of pandas, polars or pyarrow, or an array of shape (n, p), "
            f"not {type(frame).__name__} of shape {array.shape}"
        )
    names = [f"x{i}" for i in range(array.shape[1])]
    arrays = [
        _from_pandas(column, name) for column, name in zip(array.T, names, strict=True)
    ]
    return pa.Table.from_arrays(arrays, names=names)


def _with_distinct_names(table: pa.Table) -> pa.Table:
    names = table.column_names
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise DataError(f"two columns are named {repeated[0]!r}; rename one")
    return table


def _from_pandas(column: Any, name: str) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.array(column, from_pandas=True)
    except _UNFIT:
        pass
    if np.asarray(column).dtype != object:
        raise DataError(f"column {name!r} holds {column.dtype}, which no table can hold")
    values = [None if _is_missing(value) else value for value in column]
    if all(value is None or isinstance(value, numbers.Real) for value in values):
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    # Numbers and texts in one column: 1 and "1" are one value then.
    return pa.array([None if v is None else _as_text(v, name) for v in values])


def _as_text(value: Any, name: str) -> str:
    """The category that a column of such values alone would make of it."""
    try:
        text: str = as_texts(pa.array([value]), name)[0].as_py()
    except _UNFIT:
        return str(value)
    return text


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))
