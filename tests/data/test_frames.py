import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError
from jaxmlp.data.frames import as_table


@pytest.mark.parametrize(
    "column",
    [
        [1.0, None, float("nan"), 4.0],
        np.array([1, 2, 3, 4], np.int8),
        pd.array([1, None, 3, 4], dtype="Int64"),
        pd.array([1.5, None, 3, 4], dtype="Float32"),
        pd.array([1, None, 3, 4], dtype="int64[pyarrow]"),
        pd.array([True, None, False, True], dtype="boolean"),
        ["a", None, pd.NA, np.nan],
        pd.array(["a", None, "b", "c"], dtype="string"),
        pd.Categorical(["a", None, "b", "a"]),
        pd.Categorical([1, None, 2, 1], ordered=True),
        pd.to_datetime(["2024-01-01", None, "2024-01-03", "2024-01-04"]),
        pd.to_timedelta([1, None, 3, 4], unit="h"),
        [datetime.date(2024, 1, 1), None, datetime.date(2024, 1, 2), pd.NaT],
        [None, None, None, None],
    ],
)
def test_missing_values_of_every_kind_are_null(column):
    frame = pd.DataFrame({"c": column})
    found = as_table(frame)["c"]
    missing = frame["c"].isna().to_numpy()
    assert found.is_null(nan_is_null=True).to_pylist() == missing.tolist()


def test_mixed_types_become_text():
    frame = pd.DataFrame({"c": [1, "1", "b", None, pd.NA, 2.5, pd.NaT, float("nan")]})
    expected = ["1", "1", "b", None, None, "2.5", None, None]
    assert as_table(frame)["c"].to_pylist() == expected


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.5, "a", 1, 1e16, -0.0, None],
        [True, "maybe", False, np.True_],
        [1.0, 2.5, 123456789012.0, np.nan],
        [datetime.date(2024, 2, 29), "never", pd.Timestamp("2024-02-29 13:05")],
        [np.float32(0.1), "a", decimal.Decimal("1.50")],
    ],
    ids=str,
)
def test_a_category_does_not_depend_on_the_other_rows(values):
    def categories(values):
        table = as_table(pd.DataFrame({"c": pd.Series(values, dtype=object)}))
        return decode(table, {"c": "categorical"})["c"].to_pylist()

    alone = [categories([value])[0] for value in values]
    assert categories(values) == alone


def test_integers_beyond_64_bits_are_numbers():
    frame = pd.DataFrame({"c": pd.Series([2**70, 1, None], dtype=object)})
    assert as_table(frame)["c"].to_pylist() == [2.0**70, 1.0, None]


def test_polars_and_pyarrow_and_arrays():
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    assert as_table(table) is table
    assert as_table(table.to_batches()[0]) == table
    assert as_table(pl.from_arrow(table)).to_pydict() == table.to_pydict()
    array = as_table(np.array([[1.0, 2.0], [3.0, np.nan]]))
    assert array.column_names == ["x0", "x1"]
    assert array["x0"].to_pylist() == [1, 3]
    mixed = as_table(np.array([[1, "a"], [None, "b"]], object))
    assert mixed["x0"].to_pylist() == [1, None]


def test_names_that_are_no_texts_become_texts():
    assert as_table(pd.DataFrame({0: [1], ("a", 1): [2]})).column_names == ["0", "('a', 1)"]


def test_what_is_no_table_is_named():
    with pytest.raises(DataError, match="not list of shape"):
        as_table([1, 2])
    with pytest.raises(DataError, match="two columns are named 'a'"):
        as_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(DataError, match="column 'c' holds complex128"):
        as_table(pd.DataFrame({"c": [1j, 2.0]}))
