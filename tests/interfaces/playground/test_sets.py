import jax
import numpy as np
import pyarrow as pa
import pytest

from jaxmlp.data.errors import DataError
from jaxmlp.interfaces.playground.sets import built_in_sets, table_set, two_columns
from tests.interfaces.playground.conftest import make_points


def columns(n=40):
    rng = np.random.default_rng(1)
    return {
        "a": rng.normal(size=n),
        "b": rng.integers(0, 50, n),
        "y": np.where(np.arange(n) % 2 == 0, "no", "yes"),
    }


def test_points_are_split_and_standardised_by_the_training_part():
    points = make_points()
    assert len(points.y_train), len(points.y_val) == (42, 18)
    np.testing.assert_allclose(points.X_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(points.X_train.std(axis=0), 1, rtol=1e-6)
    assert abs(points.X_val.mean(axis=0)).max() > 1e-3
    y = np.concatenate([points.y_train, points.y_val])
    raw = points.raw
    np.testing.assert_array_equal(((raw[:, 0] - 1) * (raw[:, 1] - 300) > 0).astype(int), y)
    X = np.concatenate([points.X_train, points.X_val])
    np.testing.assert_allclose(X * points.sd + points.mean, raw, rtol=1e-5, atol=1e-5)


def test_rows_are_drawn_at_random_from_the_seed():
    few, again = make_points(n_rows=30), make_points(n_rows=30)
    assert len(few.y_train) + len(few.y_val) == 30
    assert few.note == "30 of 60 rows, at random"
    np.testing.assert_array_equal(few.X_train, again.X_train)


def test_built_in_sets():
    sets = built_in_sets(jax.random.key(0), 300)
    assert [points.name.split()[0] for points in sets] == [
        "circle", "xor", "spiral", "tumours", "irises",
    ]  # fmt: skip
    for points in sets:
        assert 0.2 < points.y_train.mean() < 0.8
        assert np.isfinite(points.X_train).all()
    assert sets[3].axes == ("worst concave points", "worst texture")
    assert sets[3].classes == ("benign", "malignant")
    assert sets[4].classes == ("other", "versicolor")


def take(columns, axes=("a", "b"), **others):
    given = {"positive": None, "n_rows": 300, "name": "t.csv", **others}
    return table_set(jax.random.key(0), pa.table(columns), "y", axes, **given)


def test_a_table_of_ones_own():
    points = take(columns())
    assert (points.name, points.axes, points.classes) == (
        "t.csv",
        ("a", "b"),
        ("no", "yes"),
    )
    assert len(points.y_train) + len(points.y_val) == 40
    assert take(columns(), positive="no").classes == ("yes", "no")


def test_rows_without_a_value_are_left_out_and_told():
    given = columns()
    given["a"] = pa.array(
        [None if i < 3 else float(v) for i, v in enumerate(given["a"])], pa.float64()
    )
    points = take(given)
    assert points.note == "3 rows without a value left out"
    assert len(points.y_train) + len(points.y_val) == 37


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"a": ["x"] * 40}, "column 'a'"),
        ({"a": np.full(40, 0.1)}, "column 'a': all values of the training points are the"),
        (
            {"a": columns()["a"] * 1e200},
            "column 'a': its values are too large or too small",
        ),
        (
            {"a": columns()["a"] * 1e-200},
            "column 'a': its values are too large or too small",
        ),
        ({"a": np.full(40, np.inf)}, "column 'a'"),
        ({"y": ["yes"] * 40}, "1 distinct value"),
        ({"y": ["yes"] * 39 + ["no"]}, "two of each label"),
    ],
)
def test_columns_that_cannot_be_shown(change, told):
    with pytest.raises(DataError, match=told):
        take({**columns(), **change})


def test_too_few_rows_and_absent_columns():
    with pytest.raises(DataError, match="8 rows with both numbers"):
        take({name: values[:8] for name, values in columns().items()})
    with pytest.raises(DataError, match=r"no feature column 'c'.*a, b, y"):
        take(columns(), axes=("a", "c"))


def test_a_rare_label_is_drawn_by_its_share():
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=2000) for name in ("a", "b")}
    given["y"] = (np.arange(2000) < 40).astype(int)
    points = take(given, n_rows=300)
    assert points.y_train.sum() + points.y_val.sum() == 6
    assert points.note == "300 of 2000 rows, at random"
    given["y"] = (np.arange(2000) < 3).astype(int)
    with pytest.raises(DataError, match=r"^300 of 2000 rows, at random, . of them '1'"):
        take(given, n_rows=300)


def test_two_columns_need_no_names():
    assert two_columns(pa.table(columns()), "y") == ("a", "b")
    more = pa.table({**columns(), "c": ["t"] * 40, "d": np.ones(40)})
    with pytest.raises(DataError, match=r"--x and --y .* numbers are in: a, d, b"):
        two_columns(more, "y")
