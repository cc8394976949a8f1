import datetime
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from jaxmlp.data import preprocess
from jaxmlp.data.buffers import Buffers
from jaxmlp.data.columns import decode, infer_kinds
from jaxmlp.data.errors import DataError
from jaxmlp.data.preprocess import MAX_LEVELS, Preprocessor, fit_preprocessor
from jaxmlp.data.rules import NumericRule

N = 40


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "x": rng.normal(3, 5, N),
            "gaps": pa.array([None if i % 4 == 0 else float(i) for i in range(N)]),
            "flag": pa.array(rng.integers(0, 2, N).astype(bool)),
            "job": pa.array(["clerk" if i % 2 else "cook" for i in range(N)]),
            "rare": pa.array(["a"] * 30 + list("bcdefghijk")),
            "holes": pa.array([None if i % 5 == 0 else "u" for i in range(N)]),
            "y": rng.integers(0, 2, N),
        }
    )


def prepare(table, train=None):
    kinds = infer_kinds(table, "y")
    columns = decode(table, kinds.used)
    train = np.arange(table.num_rows) if train is None else train
    preprocessor, dropped = fit_preprocessor(columns, train)
    return preprocessor, {**kinds.dropped, **dropped}, columns


def encode(rule, values):
    return Preprocessor((rule,)).encode({rule.name: values})


def smooth_clip(z):
    return z / np.sqrt(1 + (z / 3) ** 2)


def test_inputs_by_name(table):
    preprocessor, dropped, columns = prepare(table)
    X = dict(zip(preprocessor.input_names, preprocessor.encode(columns).T, strict=True))
    assert dropped == {}
    assert list(X) == [
        "x",
        "gaps",
        "gaps is missing",
        "flag",
        "job = clerk",
        "job = cook",
        "rare = a",
        "rare is another value",
        "holes = u",
        "holes is missing",
    ]
    x = table["x"].to_numpy()
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    expected = smooth_clip((x - middle) / (high - low))
    np.testing.assert_allclose(X["x"], expected, rtol=1e-5, atol=1e-7)
    gaps = table["gaps"].to_pandas()
    low, middle, high = gaps.quantile([0.25, 0.5, 0.75])
    expected = smooth_clip((gaps.fillna(middle).to_numpy() - middle) / (high - low))
    np.testing.assert_allclose(X["gaps"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(X["gaps is missing"], gaps.isna())
    np.testing.assert_array_equal(X["job = cook"], [i % 2 == 0 for i in range(N)])
    np.testing.assert_array_equal(X["rare is another value"], np.arange(N) >= 30)
    np.testing.assert_array_equal(X["holes is missing"], np.arange(N) % 5 == 0)


def test_nothing_is_learned_outside_the_training_part(table):
    train = np.arange(20)
    changed = table.set_column(
        0, "x", pa.array(np.where(np.arange(N) < 20, table["x"].to_numpy(), 1e6))
    )
    assert prepare(table, train)[0] == prepare(changed, train)[0]


def test_unseen_category_and_new_missing_value(table):
    preprocessor, _, _ = prepare(table)
    new = pa.table(
        {
            "x": pa.array([None], pa.float64()),
            "gaps": pa.array([None], pa.float64()),
            "flag": pa.array([None], pa.bool_()),
            "job": ["pilot"],
            "rare": ["z"],
            "holes": ["v"],
        }
    )
    columns = decode(new, preprocessor.kinds)
    X = dict(zip(preprocessor.input_names, preprocessor.encode(columns)[0], strict=True))
    assert X["gaps is missing"] == 1
    assert X["job = clerk"] == X["job = cook"] == 0
    assert X["rare = a"] == 0
    assert X["rare is another value"] == 1
    assert X["holes = u"] == X["holes is missing"] == 0
    assert all(np.isfinite(value) for value in X.values())
    median = float(np.median(table["x"].to_numpy()))
    same = decode(new.set_column(0, "x", pa.array([median])), preprocessor.kinds)
    np.testing.assert_array_equal(preprocessor.encode(columns), preprocessor.encode(same))


def test_rows_encoded_in_parts_are_the_same(table, monkeypatch):
    preprocessor, _, columns = prepare(table)
    whole = preprocessor.encode(columns)
    for values, turned in ((3 * preprocessor.n_inputs, 2), (7 * preprocessor.n_inputs, 7)):
        monkeypatch.setattr(preprocess, "_VALUES", values)
        monkeypatch.setattr(preprocess, "_FEWEST_ROWS", 1)
        monkeypatch.setattr(preprocess, "_TURNED_ROWS", turned)
        buffers = Buffers()
        for _ in range(2):  # the second time in the memory of the first
            found = preprocessor.encode(columns, buffers)
            np.testing.assert_array_equal(found, whole)
            buffers.take_back(found)


def test_rules_survive_json(table):
    preprocessor, _, columns = prepare(table)
    loaded = Preprocessor.from_json(json.loads(json.dumps(preprocessor.to_json())))
    assert loaded == preprocessor
    np.testing.assert_array_equal(loaded.encode(columns), preprocessor.encode(columns))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(N, 7.1), "constant"),
        (pa.array(["same"] * N), "constant"),
        (pa.array([f"id{i}" for i in range(N)]), "40 different values in 40 rows"),
        (pa.nulls(N), "it has no value"),
        (pa.nulls(N, pa.float64()), "it has no value"),
        (np.arange(N), "it numbers the rows"),
        (np.arange(1, N + 1), "it numbers the rows"),
        (pa.array([datetime.date(2024, 1, 1)] * N), "constant"),
        (pa.array([[1, 2]] * N), "type list"),
        (pa.array([b"raw"] * N), "type binary"),
    ],
)
def test_useless_columns_are_left_out_with_a_reason(table, values, reason):
    _, dropped, _ = prepare(table.append_column("extra", pa.array(values)))
    assert reason in dropped.pop("extra")
    assert not dropped


def test_text_is_left_out_though_a_few_values_come_again():
    texts = ["nothing to say"] * 9 + [f"note {i}" for i in range(91)]
    table = pa.table({"notes": texts, "y": np.arange(100) % 2})
    assert "as text or an identifier" in prepare(table)[1]["notes"]


@pytest.mark.parametrize(
    ("name", "is_dropped"),
    [("id", 1), ("customer_id", 1), ("CustomerID", 1), ("RowId", 1), ("paid", 0)],
)
def test_identifiers_are_left_out_by_name_and_values(table, name, is_dropped):
    numbers = np.random.default_rng(1).permutation(N) + 70_000
    _, dropped, _ = prepare(table.append_column(name, pa.array(numbers)))
    assert ("identifier" in dropped.get(name, "")) == is_dropped
    # The name alone is not enough: groups of rows may be numbered.
    assert not prepare(table.append_column(name, pa.array(numbers // 2)))[1]


def test_repeated_columns_are_left_out(table):
    twice = table.append_column("again", table["gaps"]).append_column("work", table["job"])
    _, dropped, _ = prepare(twice)
    assert dropped == {
        "again": "it repeats column 'gaps'",
        "work": "it repeats column 'job'",
    }


def test_mostly_zero_columns_are_scaled_by_their_range(table):
    rare = np.r_[np.zeros(N - 2), 1.0, 4.0]
    preprocessor, _, columns = prepare(table.append_column("count", pa.array(rare)))
    X = preprocessor.encode(columns)[:, preprocessor.input_names.index("count")]
    np.testing.assert_allclose(X, smooth_clip(rare / 2), rtol=1e-6)


def fit_one(values, n_knots, train=None):
    train = np.arange(len(values)) if train is None else train
    (rule,) = fit_preprocessor({"x": values}, train, n_knots=n_knots)[0].rules
    return rule


def test_knots_are_quantiles():
    rule = fit_one(np.linspace(0, 8, 801), 9)
    np.testing.assert_allclose(rule.knots, np.arange(9), atol=0.011)
    X = encode(rule, np.array([-1.0, 2.5, np.nan, 99]))[:, 1:]
    missing = np.clip((4 - np.array(rule.knots[:-1])) / np.diff(rule.knots), 0, 1)
    np.testing.assert_allclose(X[0], 0)
    np.testing.assert_allclose(X[1], [1, 1, 0.5, 0, 0, 0, 0, 0], atol=0.02)
    np.testing.assert_allclose(X[2], missing, atol=1e-6)
    np.testing.assert_allclose(X[3], 1)


def test_knots_lie_where_a_column_of_mostly_zeros_is_not_zero():
    values = np.r_[np.zeros(900), np.linspace(1, 10, 100)]
    knots = np.array(fit_one(values, 17).knots)
    assert knots[0] == 0
    assert (knots > 0).sum() >= 8
    assert knots[-1] == 10


@pytest.mark.parametrize(
    ("values", "knots"),
    [
        (np.array([0.0, 1.0] * 20), ()),  # a line through two values bends nowhere
        (np.array([0.0, 1.0, 7.0] * 20), (0.0, 1.0, 7.0)),
        (np.array([0.0, 1.0, np.nan] * 20), ()),
        (np.array([-1e308, 0.0, 1e308] * 20), (-1e308, 0.0, 1e308)),
    ],
)
def test_few_values_are_their_own_knots(values, knots):
    rule = fit_one(values, 9)
    assert rule.knots == knots
    X = encode(rule, values)
    assert np.isfinite(X).all()
    assert rule.plain().knots == ()
    np.testing.assert_array_equal(encode(rule.plain(), values)[:, 0], X[:, 0])


def test_dates_are_days():
    day = datetime.date(2024, 2, 29)
    moments = [datetime.datetime(1970, 1, 2, 6), None, datetime.datetime(1969, 12, 31)]
    table = pa.table(
        {
            "day": pa.array([day, None, day]),
            "moment": pa.array(moments, pa.timestamp("ns")),
            "zoned": pa.array(moments, pa.timestamp("ms", "UTC")),
            "text": ["2024-02-29", None, "2024-02-29T12:00+02:00"],
        }
    )
    assert set(infer_kinds(table.drop(["text"]), "y").used.values()) == {"date"}
    columns = decode(table, dict.fromkeys(table.column_names, "date"))
    days = (day - datetime.date(1970, 1, 1)).days
    np.testing.assert_array_equal(columns["day"], [days, np.nan, days])
    np.testing.assert_array_equal(columns["moment"], [1.25, np.nan, -1])
    np.testing.assert_array_equal(columns["zoned"], [1.25, np.nan, -1])
    np.testing.assert_allclose(columns["text"], [days, np.nan, days + 10 / 24])
    with pytest.raises(DataError, match="column 'text', row 1: 'soon' is not a date"):
        decode(pa.table({"text": ["2024-02-29", "soon"]}), {"text": "date"})


def test_times_and_durations_are_seconds():
    table = pa.table(
        {
            "time": pa.array([datetime.time(1, 0, 1), None]),
            "time of s": pa.array([3601, None], pa.time32("s")),
            "long": pa.array([datetime.timedelta(hours=1, seconds=1), None]),
        }
    )
    kinds = infer_kinds(table, "y").used
    assert set(kinds.values()) == {"numeric"}
    for values in decode(table, kinds).values():
        np.testing.assert_array_equal(values, [3601, np.nan])


def test_wishes_go_before_types(table):
    wishes = {"flag": "categorical", "x": "drop", "gaps": "numeric"}
    kinds = infer_kinds(table, "y", wishes)
    assert kinds.used["flag"] == "categorical"
    assert kinds.dropped == {"x": "you said so"}
    with pytest.raises(DataError, match="column 'z' is not in the table"):
        infer_kinds(table, "y", {"z": "drop"})
    with pytest.raises(DataError, match="column 'y' is the target"):
        infer_kinds(table, "y", {"y": "drop"})


def test_codes_with_gaps_are_the_same_categories():
    codes = decode(pa.table({"c": [1.0, None, float("nan"), 2.0]}), {"c": "categorical"})
    assert codes["c"].to_pylist() == ["1", None, None, "2"]


def test_huge_outliers_and_huge_values_stay_finite(table):
    x = np.r_[1e300, -1e300, np.linspace(-1, 1, N - 2)]
    tiny = np.r_[np.zeros(N - 1), 1e-300]
    preprocessor, _, columns = prepare(
        table.append_column("big", pa.array(x)).append_column("tiny", pa.array(tiny))
    )
    X = preprocessor.encode(columns)
    assert np.isfinite(X).all()
    assert np.abs(X).max() <= 3
    # Outside the training part, whose spread they do not enter.
    preprocessor, _, _ = prepare(table)
    X = preprocessor.encode({**columns, "x": np.clip(x, -1, 1) * 1.7e308})
    assert np.isfinite(X).all()
    np.testing.assert_allclose(X[:2, 0], [3, -3], rtol=1e-6)


def test_many_levels_keep_the_most_frequent(table):
    n_levels = MAX_LEVELS + 50
    values = [f"level {i}" for i in range(n_levels) for _ in range(5 + (i == 140))]
    big = pa.table({"c": values, "y": np.arange(len(values)) % 2})
    (rule,) = prepare(big)[0].rules
    assert len(rule.levels) == MAX_LEVELS
    assert rule.levels[0] == "level 140"
    assert rule.joins_rare


def test_missing_values_of_pandas_and_polars(table):
    frame = pd.DataFrame(
        {
            "number": [1.0, float("nan"), None] * 5,
            "nullable": pd.array([1, None, 3] * 5, dtype="Int64"),
            "text": ["a", None, pd.NA] * 5,
            "category": pd.Categorical(["a", None, "b"] * 5),
        }
    )
    polars = pl.DataFrame(
        {
            "number": [1.0, float("nan"), None] * 5,
            "nullable": [1, None, 3] * 5,
            "text": ["a", None, None] * 5,
            "category": pl.Series(["a", None, "b"] * 5, dtype=pl.Categorical),
        }
    )
    for one in (pa.Table.from_pandas(frame), polars.to_arrow()):
        columns = decode(one, infer_kinds(one, "y").used)
        np.testing.assert_array_equal(np.isnan(columns["number"]), [False, True, True] * 5)
        np.testing.assert_array_equal(
            np.isnan(columns["nullable"]), [False, True, False] * 5
        )
        assert columns["text"].to_pylist() == ["a", None, None] * 5
        assert columns["category"].to_pylist() == ["a", None, "b"] * 5


def test_numbers_of_any_type():
    table = pa.table(
        {
            "i": pa.array([1, 2], pa.uint64()),
            "d": pa.array(["1.5", "2.5"]).cast(pa.decimal128(5, 2)),
            "f": pa.array(np.array([1, 2], np.float16)),
        }
    )
    columns = decode(table, infer_kinds(table, "y").used)
    np.testing.assert_array_equal(columns["d"], [1.5, 2.5])
    dtypes = {name: column.dtype for name, column in columns.items()}
    assert dtypes == {"i": np.float64, "d": np.float64, "f": np.float32}


def test_text_where_numbers_were_is_read_or_named():
    kinds = {"x": "numeric"}
    columns = decode(pa.table({"x": ["1.5", None, "", " 2 "]}), kinds)
    np.testing.assert_array_equal(columns["x"], [1.5, np.nan, np.nan, 2])
    with pytest.raises(DataError, match="column 'x', row 1: 'many' is not a number"):
        decode(pa.table({"x": ["1.5", "many"]}), kinds)


def test_times_of_day_may_be_texts():
    times = [datetime.time(7, 7, 25), datetime.time(0, 0, 0, 500_000), None]
    as_times = decode(pa.table({"x": pa.array(times, pa.time64("us"))}), {"x": "numeric"})
    texts = pa.table({"x": [None if time is None else str(time) for time in times]})
    np.testing.assert_array_equal(decode(texts, {"x": "numeric"})["x"], as_times["x"])
    np.testing.assert_array_equal(as_times["x"], [25645, 0.5, np.nan])
    for text in ("07:07:25+01:00", "25:00", "0707x"):
        with pytest.raises(DataError, match="is not a number"):
            decode(pa.table({"x": [text]}), {"x": "numeric"})


def test_numbers_where_text_was_are_categories():
    columns = decode(pa.table({"c": [1, 2]}), {"c": "categorical"})
    assert columns["c"].to_pylist() == ["1", "2"]


def test_infinite_value_is_named():
    table = pa.table({"x": [1.0, 2.0, float("-inf")]})
    with pytest.raises(DataError, match="column 'x', row 2: the value is infinite"):
        decode(table, {"x": "numeric"})


def test_missing_columns_are_named():
    with pytest.raises(DataError, match="lacks 2 columns that the model needs: b, c"):
        decode(pa.table({"a": [1]}), {"a": "numeric", "b": "numeric", "c": "numeric"})


@pytest.mark.parametrize("marks_missing", [False, True])
@pytest.mark.parametrize(
    ("center", "scale"), [(0.0, 1.0), (1.7e9, 3e5), (-2e-3, 1e-9), (1e35, 1e33), (0, 1e-40)]
)
def test_float32_columns_are_computed_in_float32(center, scale, marks_missing):
    z = np.random.default_rng(1).standard_cauchy(5000)
    with np.errstate(over="ignore"):
        narrow = (center + scale * z).astype(np.float32)
    narrow[::7] = np.nan
    center = float(np.float32(center))
    rule = NumericRule("x", center, center, scale, marks_missing, knots=(-1.0, 0.5, 1.0))
    X, wide = encode(rule, narrow), encode(rule, narrow.astype(np.float64))
    assert np.abs(X[::7, 0]).max() == 0
    np.testing.assert_allclose(
        X, wide, rtol=0, atol=3 * 6e-7
    )  # ten roundings of 3 in float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_value_far_out_is_bent_to_three(dtype, sign):
    rule = NumericRule("x", 0.0, 0.0, 1e-3, marks_missing=False)
    X = encode(rule, np.array([0, 1e-3, sign * np.finfo(dtype).max], dtype))
    np.testing.assert_allclose(X[:, 0], [0, 0.9**0.5, 3 * sign], rtol=1e-6)


def test_narrow_types_keep_their_width():
    table = pa.table(
        {
            "f": pa.array([1.5, None, np.nan], pa.float32()),
            "half": pa.array(np.array([1, 2, np.nan], np.float16)),
            "long": pa.array([1, None, 2**53], pa.int64()),
        }
    )
    found = decode(table, dict.fromkeys(table.column_names, "numeric"))
    assert [values.dtype for values in found.values()] == ["float32", "float32", "float64"]
    np.testing.assert_array_equal(found["f"], np.float32([1.5, np.nan, np.nan]))
    np.testing.assert_array_equal(found["half"], np.float32([1, 2, np.nan]))
    np.testing.assert_array_equal(found["long"], [1, np.nan, 2**53])
