import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxmlp.data.stream.parts import TEST, TRAIN, VALIDATION, assign_parts, hash_rows
from jaxmlp.data.stream.reading import read_group
from jaxmlp.data.stream.source import open_source
from jaxmlp.data.stream.spool import opened
from jaxmlp.data.stream.survey import survey
from jaxmlp.data.tables import write_table
from tests.data.stream.conftest import make_rows, write_parts

SHARES = (0.6, 0.25, 0.15)
FIVE_SIGMA = 5  # one in two million, if rows fell by chance; the rows are always the same


def parts_by_row(path, **options):
    """The part of each row, known by its number in column a."""
    with opened(path, path if path.is_dir() else path.parent) as source:
        found = survey(source, "y", **({"fractions": SHARES, "n_threads": 1} | options))
        parts = {}
        for group in source.groups:
            for each in read_group(found.reading, group):
                parts |= zip(each.columns["a"].tolist(), each.parts.tolist(), strict=True)
        assert np.bincount(list(parts.values()), minlength=3).tolist() == list(found.sizes)
        return parts


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    pq.write_table(make_rows(), folder / "t.parquet")
    return parts_by_row(folder / "t.parquet")


def as_text(folder, table, compress):
    write_table(table, folder / "t.csv")
    if compress:
        content = (folder / "t.csv").read_bytes()
        (folder / "t.csv").unlink()
        (folder / "t.csv.gz").write_bytes(gzip.compress(content, mtime=0))


@pytest.mark.parametrize(
    "write",
    [
        lambda folder, t: write_parts(folder, t, [1000], 7),
        lambda folder, t: write_parts(folder, t, [1, 300, 301, 1000], 500),
        lambda folder, t: pq.write_table(
            t.take(np.arange(1000)[::-1]), folder / "r.parquet"
        ),
        lambda folder, t: pq.write_table(
            t.select(t.column_names[::-1]), folder / "c.parquet"
        ),
        lambda folder, t: as_text(folder, t, compress=False),
        lambda folder, t: as_text(folder, t.select(t.column_names[::-1]), compress=True),
        lambda folder, t: pq.write_table(
            t.set_column(2, "word", t["word"].dictionary_encode()), folder / "d.parquet"
        ),
        lambda folder, t: pq.write_table(
            t.set_column(1, "k", t["k"].cast(pa.float32())), folder / "f.parquet"
        ),
    ],
    ids=["groups", "files", "rows", "columns", "csv", "csv.gz", "dictionary", "float32"],
)
def test_a_row_s_part_follows_from_its_values_alone(tmp_path, expected, write):
    write(tmp_path, make_rows())
    assert parts_by_row(tmp_path) == expected


def test_slices_change_no_part(tmp_path, expected, monkeypatch):
    monkeypatch.setattr("jaxmlp.data.stream.source.SLICE_ROWS", 5)
    assert parts_by_row(write_parts(tmp_path, make_rows(), [1000]), n_threads=3) == expected


def test_another_seed_draws_parts_that_do_not_depend_on_the_first_s(tmp_path, expected):
    others = parts_by_row(write_parts(tmp_path, make_rows(), [1000]), seed=1)
    agree = sum(others[row] == part for row, part in expected.items())
    chance = sum(share**2 for share in SHARES)
    spread = np.sqrt(1000 * chance * (1 - chance))
    assert abs(agree - 1000 * chance) < FIVE_SIGMA * spread


@pytest.mark.parametrize("shares", [SHARES, (0.98, 0.01, 0.01), (0.5, 0.5, 0), (1, 0, 0)])
def test_parts_have_their_shares_of_the_rows(shares):
    n = 100_000
    columns = {"a": np.arange(n, dtype=float)}  # not at all like random numbers
    hashes = hash_rows(columns, pa.array(["x"] * n), seed=3)
    counts = np.bincount(assign_parts(hashes, shares), minlength=3)
    spread = np.sqrt(n * np.array(shares) * (1 - np.array(shares)))
    assert (np.abs(counts - n * np.array(shares)) <= FIVE_SIGMA * spread).all()


def test_bounds_of_the_parts():
    edges = np.array([0, 2**31 - 1, 2**31, 3 * 2**30 - 1, 3 * 2**30, 2**32 - 1], np.uint32)
    parts = assign_parts(edges, (0.5, 0.25, 0.25))
    assert parts.tolist() == [TRAIN, TRAIN, VALIDATION, VALIDATION, TEST, TEST]


@pytest.mark.parametrize("train", [0.34, 0.43, 0.51])
def test_shares_whose_sum_is_rounded_below_1(train):
    shares = (train / 100, (100 - train) / 100, 0.0)
    assert 1 - 1e-9 < sum(shares) < 1
    parts = assign_parts(np.array([0, 2**32 - 1], np.uint32), shares)
    assert parts.tolist() == [TRAIN, VALIDATION]


def hash_one(value, kind="float64"):
    values = value if isinstance(value, np.ndarray) else np.array([value], kind)
    return hash_rows({"a": values}, pa.array(["x"]), seed=0)[0]


def test_numbers_that_are_alike_hash_alike():
    payload = np.array([0x7FF8000000000123, 0xFFF0000000000001], np.uint64).view(float)
    nans = {hash_one(nan) for nan in (np.nan, -np.nan, *payload)}
    assert nans == {hash_one(np.nan, "float32")}
    assert hash_one(-0.0) == hash_one(0.0) == hash_one(-0.0, "float32")
    assert hash_one(0.1) == hash_one(0.1, "float32")
    assert hash_one(1e300) == hash_one(1e301)  # beyond float32, and no warning
    assert len({hash_one(v) for v in (0, 1, -1, np.nan, 1e-30, 0.1)}) == 6


def test_values_are_told_apart_by_column_and_missing_from_empty():
    def hash_of(**columns):
        return hash_rows({k: np.array([v], float) for k, v in columns.items()},
                         pa.array(["x"]), seed=0)[0]  # fmt: skip

    assert hash_of(a=1, b=2) == hash_of(b=2, a=1)
    assert len({hash_of(a=1, b=2), hash_of(a=2, b=1), hash_of(a=1, c=2)}) == 3
    texts = pa.array([None, "", "x", "y", None])
    hashes = hash_rows({"t": texts}, pa.array(["x"] * 5), seed=0).tolist()
    assert len(set(hashes)) == 4
    assert hashes[0] == hashes[4]
    labels = hash_rows({"t": texts}, pa.array(["x", "x", "x", "x", "y"]), seed=0)
    assert labels[0] != labels[4]


def test_equal_rows_are_in_one_part(tmp_path):
    table = make_rows(500)
    write_parts(tmp_path, pa.concat_tables([table, table]), [320, 1000], 90)
    source = open_source(sorted(tmp_path.iterdir()))
    found = survey(source, "y", fractions=SHARES)
    assert not found.reading.by_number
    parts = [each.parts for g in source.groups for each in read_group(found.reading, g)]
    parts = np.concatenate(parts)
    np.testing.assert_array_equal(parts[:500], parts[500:])


def test_rows_that_mostly_repeat_are_spread_by_their_number(tmp_path):
    n = 4000
    code = np.random.default_rng(0).integers(4, size=n)
    table = pa.table({"a": code, "y": code > 1})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=900)
    source = open_source([tmp_path / "t.parquet"])
    found = survey(source, "y", fractions=SHARES)
    assert found.reading.by_number
    shares = np.array(SHARES)
    spread = np.sqrt(n * shares * (1 - shares))
    assert (np.abs(found.sizes - n * shares) < FIVE_SIGMA * spread).all()
    again = survey(source, "y", fractions=SHARES, n_threads=5)
    assert again.fingerprint == found.fingerprint


def test_parts_do_not_depend_on_features_or_label():
    rng = np.random.default_rng(0)
    n = 50_000
    columns = {
        "real": rng.normal(size=n),
        "rank": np.arange(n) % 7.0,
        "power": 2.0 ** (np.arange(n) % 16),  # all but a few bits alike
    }
    labels = np.array(["no", "yes"])[(columns["real"] > 0).astype(int)]
    hashes = hash_rows(columns, pa.array(labels), seed=0)
    is_train = assign_parts(hashes, (0.5, 0.25, 0.25)) == TRAIN
    for values in (*columns.values(), labels == "yes"):
        centred = values - values.mean()
        correlation = (centred * (is_train - 0.5)).mean() / centred.std() / 0.5
        assert abs(correlation) < FIVE_SIGMA / np.sqrt(n)
    for name in ("rank", "power"):
        for value in np.unique(columns[name]):
            chosen = is_train[columns[name] == value]
            assert abs(chosen.mean() - 0.5) < FIVE_SIGMA * 0.5 / np.sqrt(len(chosen))


def test_each_bit_of_a_hash_is_even_and_depends_on_each_column():
    n = 20_000
    bits = np.arange(32, dtype=np.uint32)
    base = {"a": np.arange(n) / 8, "b": np.arange(n) % 3.0}
    labels = pa.array(["x"] * n)
    before = hash_rows(base, labels, seed=0)
    even = (before[:, None] >> bits & 1).mean(axis=0)
    assert (np.abs(even - 0.5) < FIVE_SIGMA * 0.5 / np.sqrt(n)).all()
    for name in base:
        # The least change: one unit in the last place of float32.
        changed = np.nextafter(base[name].astype(np.float32), np.float32(np.inf))
        after = hash_rows(base | {name: changed}, labels, seed=0)
        flipped = ((before ^ after)[:, None] >> bits & 1).mean(axis=0)
        assert (np.abs(flipped - 0.5) < 0.05).all()  # a small hash, not a cipher


def test_hashes_are_the_same_on_every_host():
    """Numbers written down once: parts must not change with a version either."""
    columns = {"a": np.array([0.5, np.nan]), "t": pa.array(["x", None])}
    hashes = hash_rows(columns, pa.array(["no", "yes"]), 7, np.array([0, 1], np.uint32))
    assert hashes.tolist() == [3951039077, 1374007820]
