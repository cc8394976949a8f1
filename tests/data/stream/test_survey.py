import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError
from jaxmlp.data.preprocess import fit_preprocessor
from jaxmlp.data.stream import survey as module
from jaxmlp.data.stream.reading import read_group
from tests.data.stream.conftest import look, make_rows, write_parts

ENDS = [100, 420, 1000]


@pytest.fixture
def folder(tmp_path):
    return write_parts(tmp_path / "parts", make_rows(), ENDS)


def parts_of(found):
    """Each row's part, in the order of the files."""
    groups = found.reading.source.groups
    slices = [each for group in groups for each in read_group(found.reading, group)]
    return np.concatenate([each.parts for each in slices])


def test_counts_and_classes_are_those_of_the_rows(folder):
    found, table = look(folder), make_rows()
    parts, is_yes = parts_of(found), np.array(table["y"]) == "yes"
    assert found.sizes == tuple(np.bincount(parts).tolist())
    assert found.positives.tolist() == np.bincount(parts, is_yes).tolist()
    assert found.classes == ("no", "yes")
    for group, counts in zip(found.reading.source.groups, found.counts, strict=True):
        assert counts.sum() == group.n_rows
        assert (counts.sum(axis=1)[:-1] == 64).all()
    assert look(folder, positive="no").classes == ("yes", "no")
    turned = look(folder, positive="no")
    assert (turned.positives + found.positives).tolist() == list(found.sizes)


def test_rules_are_those_that_the_whole_training_part_teaches(folder):
    found, table = look(folder, n_knots=4), make_rows()
    columns = decode(table, found.reading.kinds)
    train = np.flatnonzero(parts_of(found) == 0)
    expected, _ = fit_preprocessor(columns, train, found.reading.kinds, n_knots=4)
    assert found.preprocessor == expected


def test_samples_are_the_parts_where_these_are_small(folder):
    found, table = look(folder), make_rows()
    for part, sample in enumerate(found.samples):
        rows = table.filter(pa.array(parts_of(found) == part))
        columns = found.reading.columns
        assert sample.select(columns).sort_by("a").equals(rows.select(columns).sort_by("a"))


def test_samples_are_the_same_whatever_the_threads_and_the_order(folder, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_ROWS", 40)
    found = look(folder, n_threads=1)
    assert [sample.num_rows for sample in found.samples] == [40, 40, 40]
    for n_threads in (2, 5):
        other = look(folder, n_threads=n_threads)
        assert other.samples == found.samples
        assert (other.fingerprint, other.preprocessor) == (
            found.fingerprint,
            found.preprocessor,
        )
    take_turns = module.take_turns
    turned = lambda *args: reversed(list(take_turns(*args)))
    monkeypatch.setattr(module, "take_turns", turned)
    assert look(folder).samples == found.samples
    assert look(folder).fingerprint == found.fingerprint


def test_samples_are_random_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_ROWS", 500)
    n = 10_000
    rank = np.arange(n, dtype=float)
    table = pa.table({"a": rank, "y": np.random.default_rng(0).random(n) < 0.5})
    (train, _, _) = look(write_parts(tmp_path, table, [n], 3000)).samples
    values = np.sort(train["a"].to_numpy()) / n
    assert len(np.unique(values)) == 500
    # Kolmogorov and Smirnov's distance from a uniform distribution; 0.087 at 1 in 1000.
    assert np.abs(values - np.linspace(0, 1, 500)).max() < 0.087


def test_what_is_missing_is_told_beyond_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_ROWS", 40)
    n = 3000
    rng = np.random.default_rng(0)
    y, nowhere = rng.random(n) < 0.5, np.zeros(n, bool)
    columns = {"a": rng.normal(size=n), "b": rng.normal(size=n), "c": rng.normal(size=n)}
    whole = look(write_parts(tmp_path / "whole", pa.table(columns | {"y": y}), [n]))
    parts = parts_of(whole)
    assert not any(rule.marks_missing for rule in whole.preprocessor.rules)
    for rows, is_marked in ((parts == 0, True), (parts != 0, False)):
        # The one row whose part, with the gap, is still the one meant.
        for row in np.flatnonzero(rows)[:5]:
            mask = nowhere.copy()
            mask[row] = True
            table = pa.table(columns | {"b": pa.array(columns["b"], mask=mask), "y": y})
            found = look(write_parts(tmp_path / "gap", table, [n]))
            if (parts_of(found)[row] == 0) == is_marked:
                break
        marks = {rule.name: rule.marks_missing for rule in found.preprocessor.rules}
        assert marks == {"a": False, "b": is_marked, "c": False}


def change(table, name, row, value):
    column = table[name].to_pylist()
    column[row] = value
    place = table.column_names.index(name)
    return table.set_column(place, name, pa.array(column, table[name].type))


def test_fingerprint_changes_with_any_value_and_any_order(tmp_path):
    table = make_rows()
    swapped = [*range(500), 501, 500, *range(502, 1000)]
    tables = [
        table,
        change(table, "a", 999, 0.25),
        change(table, "word", 0, "cook" if table["word"][0].as_py() != "cook" else "pilot"),
        change(table, "gap", 31, None if table["gap"][31].as_py() is not None else 0.0),
        change(table, "y", 500, "no" if table["y"][500].as_py() == "yes" else "yes"),
        table.take(swapped),
        table.slice(1),
        table.rename_columns(["a", "k", "word", "flag", "day", "other", "y"]),
    ]
    marks = [
        look(write_parts(tmp_path / str(i), each, [each.num_rows])).fingerprint
        for i, each in enumerate(tables)
    ]
    marks.append(look(tmp_path / "0", seed=1).fingerprint)
    assert len(set(marks)) == len(marks)
    assert look(tmp_path / "0", n_threads=7).fingerprint == marks[0]


def test_progress_counts_the_rows(folder):
    seen = []
    look(folder, watch=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1000
    assert len(seen) == sum(1 for _ in itertools.chain(*look(folder).counts))


def test_columns_that_are_not_used_are_named(tmp_path):
    table = make_rows()
    table = table.append_column("same", pa.array(["x"] * 1000))
    table = table.append_column("twin", table["gap"])
    table = table.append_column("customer_id", pa.array(np.arange(1000) * 7))
    table = table.append_column("list", pa.array([[1]] * 1000))
    found = look(write_parts(tmp_path, table, [1000]), wishes={"k": "drop"})
    assert found.dropped == {
        "k": "you said so",
        "same": "it is constant in the training part",
        "twin": "it repeats column 'gap'",
        "customer_id": "its name and its values, no two alike, are those of an identifier",
        "list": "values of type list<element: int64> are not supported",
    }
    assert set(found.preprocessor.kinds) == {"a", "word", "flag", "day", "gap"}


def signalling():
    """A NaN that casts warn of."""
    return np.array([0x7FF0000000000001], np.uint64).view(float)[0]


@pytest.mark.parametrize("nan", [np.nan, signalling()])
def test_a_nan_is_missing_whatever_its_bits(tmp_path, nan):
    table = make_rows()
    b = np.array(table["a"])[::-1].copy()
    b[::3] = nan
    table = table.append_column("b", pa.array(b))
    found = look(write_parts(tmp_path, table, [1000]))
    rules = {rule.name: rule for rule in found.preprocessor.rules}
    assert rules["b"].marks_missing


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("a", 707, np.inf, "column 'a', row 287: the value is infinite"),
        ("gap", 100, -np.inf, "column 'gap', row 0: the value is infinite"),
        ("y", 999, None, "column 'y', row 579: the label is missing; remove"),
    ],
)
def test_errors_name_file_column_and_row(tmp_path, name, row, value, message):
    """In a file's last rows that is a slice of two, read from the fourth row group."""
    write_parts(tmp_path, change(make_rows(), name, row, value), ENDS)
    file = tmp_path / f"part-{np.searchsorted(ENDS, row, 'right')}.parquet"
    with pytest.raises(DataError) as raised:
        look(tmp_path)
    assert str(raised.value).startswith(f"{file}: ")
    assert message in str(raised.value)


def test_a_third_label_is_named_with_its_row(tmp_path):
    write_parts(tmp_path, change(make_rows(), "y", 999, "maybe"), ENDS)
    with pytest.raises(DataError) as raised:
        look(tmp_path)
    file = tmp_path / f"part-{np.searchsorted(ENDS, 999, 'right')}.parquet"
    assert str(raised.value).startswith(f"{file}: target column 'y', row 579: 'maybe' is a")
    assert str(raised.value).endswith("; two are needed")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"y": [0, 1] * 50}, "no usable feature column: none given"),
        ({"a": [1.0] * 100, "y": [0, 1] * 50}, "'a': it is constant"),
        ({"a": range(100), "y": [0, 1] * 50}, "'a': it numbers the rows"),
        ({"a": [0.5, 2] * 50, "y": [1] * 100}, "'y' has 1 distinct value (1)"),
        ({"a": [0.5, 2] * 50, "yy": [1] * 100}, "no target column 'y'; did you mean 'yy'?"),
        (
            {"a": [0.5, 2] * 50, "y": [None] * 100},
            "row 0: the label is missing, and ",
        ),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, columns, message):
    pq.write_table(
        pa.table({k: list(v) for k, v in columns.items()}), tmp_path / "t.parquet"
    )
    with pytest.raises(DataError) as raised:
        look(tmp_path)
    assert message in str(raised.value)


def test_a_file_that_changes_during_the_survey(folder):
    def spoil(n_seen):
        if n_seen < 100:
            pq.write_table(make_rows(10), folder / "part-2.parquet")

    with pytest.raises(DataError, match=r"part-2\.parquet: the file has changed since"):
        look(folder, watch=spoil)
