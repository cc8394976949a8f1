import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxmlp.data.columns import as_texts
from jaxmlp.data.errors import DataError
from jaxmlp.data.stream import source
from jaxmlp.data.stream.source import find_files, is_pattern, open_source, read_slices
from tests.data.stream.conftest import make_rows, write_parts

NAMES = [
    "part-10.csv",
    "part-2.csv",
    "Part-3.CSV",
    "a[1].csv",
    "a1.csv",
    "notes.md",
    ".hidden.csv",
    "deep/part-1.csv.gz",
    "deep/er/part-1.tsv",
]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("part-*.csv", ["part-2.csv", "part-10.csv"]),
        ("a[1].csv", ["a[1].csv"]),
        ("a[12].csv", ["a1.csv"]),
        ("", ["Part-3.CSV", "a1.csv", "a[1].csv", "part-2.csv", "part-10.csv"]),
        ("**/part-1.*", ["deep/er/part-1.tsv", "deep/part-1.csv.gz"]),
        ("notes.md", ["notes.md"]),
        (".hidden.csv", [".hidden.csv"]),
        ("?art-3*", ["Part-3.CSV"]),
    ],
)
def test_files_that_are_meant(folder, pattern, names):
    assert find_files(folder / pattern) == [folder / name for name in names]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("absent.csv", "no such file"),
        ("*.parquet", "no file matches"),
        ("d*p", "only folders match"),
        ("empty", "no Parquet or CSV file in this folder"),
    ],
)
def test_none(folder, pattern, message):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=message) as raised:
        find_files(folder / pattern)
    assert str(raised.value).startswith(f"{folder / pattern}: ")


def test_what_means_several_files(folder):
    for name, several in {"": True, "a[1].csv": False, "a*": True, "absent": False}.items():
        assert is_pattern(Path(folder / name)) is several


COLUMNS = ["a", "k", "word", "flag", "day", "gap", "y"]


def read_all(found, columns=COLUMNS):
    groups = (read_slices(found, group, columns) for group in found.groups)
    return pa.concat_tables([table for slices in groups for table in slices])


def opened_parts(folder, **options):
    write_parts(folder, make_rows(), [300, 1000], **options)
    return open_source(find_files(folder))


@pytest.mark.parametrize("group_rows", [1, 7, 64, 65, 150, 10_000])
def test_all_rows_come_in_order_in_slices_of_bounded_size(tmp_path, group_rows):
    table = make_rows(300)
    found = open_source(find_files(write_parts(tmp_path, table, [130, 300], group_rows)))
    assert read_all(found).equals(table)
    assert (found.n_rows, len(found.files)) == (300, 2)
    for group in found.groups[::9]:
        slices = list(read_slices(found, group, ["y"]))
        assert len(slices) == found.n_slices(group)
        assert all(each.num_rows == 64 for each in slices[:-1])
        for start in range(len(slices) + 1):
            assert list(read_slices(found, group, ["y"], start)) == slices[start:]


def test_a_slice_holds_no_more_memory_than_its_rows(tmp_path, monkeypatch):
    """Of a row group that no memory holds, one slice after the other."""
    monkeypatch.setattr(source, "SLICE_ROWS", 1000)
    n = 2_000_000
    values = np.random.default_rng(0).normal(size=n)
    table = pa.table({"a": values})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=n)
    found = open_source([tmp_path / "t.parquet"])
    before, most = pa.total_allocated_bytes(), 0
    for i, piece in enumerate(read_slices(found, found.groups[0], ["a"])):
        np.testing.assert_array_equal(piece["a"], values[1000 * i : 1000 * (i + 1)])
        most = max(most, pa.total_allocated_bytes() - before)
    assert 1000 * (i + 1) == n
    assert most < table.nbytes / 2


def test_groups_without_rows(tmp_path):
    table = make_rows(100)
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        for part in (
            table.slice(0, 0),
            table.slice(0, 40),
            table.slice(0, 0),
            table.slice(40),
        ):
            writer.write_table(part)
    pq.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    found = open_source(find_files(tmp_path))
    assert [(group.n_rows, group.first_row) for group in found.groups] == [
        (40, 0),
        (60, 40),
    ]
    assert read_all(found).equals(table)
    with pytest.raises(DataError, match=r"b\.parquet: the table has no rows"):
        open_source([tmp_path / "b.parquet"])


FITTING = {
    "int32 and int64": (pa.int32(), pa.int64(), pa.int64()),
    "int and float": (pa.int64(), pa.float64(), pa.float64()),
    "float32 and float64": (pa.float32(), pa.float64(), pa.float64()),
    "null and int": (pa.null(), pa.int64(), pa.int64()),
    "string and large_string": (pa.string(), pa.large_string(), pa.large_string()),
}


@pytest.mark.parametrize("name", FITTING)
def test_types_that_differ_are_unified(tmp_path, name):
    first, second, both = FITTING[name]
    values = [None, None] if pa.types.is_null(first) else ["1", "2"]
    for i, (kind, column) in enumerate([(first, values), (second, ["3", None])]):
        pq.write_table(
            pa.table({"a": pa.array(column).cast(kind)}), tmp_path / f"{i}.parquet"
        )
    found = open_source(find_files(tmp_path))
    assert found.schema.field("a").type == both
    expected = pa.chunked_array([pa.array([*values, "3", None]).cast(both)])
    assert read_all(found, ["a"])["a"].equals(expected)


def test_dictionaries_and_texts_are_one_column(tmp_path):
    texts = pa.array(["x", None, "y"])
    pq.write_table(pa.table({"a": texts.dictionary_encode()}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": texts}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": texts.dictionary_encode()}), tmp_path / "2.parquet")
    found = open_source(find_files(tmp_path))
    assert as_texts(read_all(found, ["a"])["a"], "a").to_pylist() == ["x", None, "y"] * 3


def test_types_that_do_not_go_together(tmp_path):
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": ["x", "y"]}), tmp_path / "1.parquet")
    with pytest.raises(
        DataError, match=r"1\.parquet: column 'a' holds string, and in the f"
    ):
        open_source(find_files(tmp_path))


def test_columns_that_differ(tmp_path):
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"b": [4], "a": [3]}), tmp_path / "1.parquet")
    assert read_all(open_source(find_files(tmp_path)), ["b"])["b"].to_pylist() == [2, 4]
    pq.write_table(pa.table({"b": [4], "c": [3]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"2\.parquet: its columns are not .* a, c"):
        open_source(find_files(tmp_path))


def cut_short(path):
    os.truncate(path, path.stat().st_size // 2)


def replace(path):
    pq.write_table(make_rows(seed=1), path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "cannot be read: .*No such file"),
        (cut_short, "the file has changed since the run began; start the run anew"),
        (replace, "the file has changed since the run began; start the run anew"),
        (os.utime, "the file has changed since the run began; start the run anew"),
    ],
    ids=["gone", "cut", "replaced", "touched"],
)
def test_files_that_change(tmp_path, spoil, message):
    found = opened_parts(tmp_path)
    spoil(tmp_path / "part-1.parquet")
    with pytest.raises(DataError, match=rf"^{tmp_path}/part-1\.parquet: {message}"):
        read_all(found)


@pytest.mark.parametrize("spoil", [cut_short, replace])
def test_files_that_change_while_they_are_read(tmp_path, spoil):
    """Bytes that are gone are an error, not rows that are made up, or fewer rows."""
    # More than the buffer of 1 MB, so that a part is read when the file has changed.
    table = pa.table({"x": np.random.default_rng(0).normal(size=500_000)})
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    found = open_source([path])
    slices = read_slices(found, found.groups[0], table.column_names)
    next(slices)
    spoil(path)
    with pytest.raises(
        DataError, match=r"t\.parquet(: the file has changed|, row group 0)"
    ):
        for _ in slices:
            pass


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},  # it has a checksum of its own
        {"compression": "none", "write_page_checksum": True},
    ],
    ids=["gzip", "checksums"],
)
def test_a_corrupt_row_group_is_named(tmp_path, options, place):
    path = tmp_path / "t.parquet"
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.integers(100, size=4000)})
    pq.write_table(table, path, row_group_size=2000, use_dictionary=False, **options)
    chunk = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = chunk.data_page_offset + int(place * chunk.total_compressed_size)
    content[start : start + 40] = bytes(byte ^ 0x5A for byte in content[start : start + 40])
    path.write_bytes(content)
    found = open_source([path])
    with pytest.raises(
        DataError, match=rf"^{path}, row group 1: cannot be read: "
    ) as raised:
        read_all(found, ["a"])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1" + bytes(100), b"PAR1" + b"\xff" * 20 + b"PAR1", b"a,b\n1,2\n"],
)
def test_what_is_no_parquet_file(tmp_path, content):
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{path}: not a readable Parquet file: "):
        open_source([path])


def test_an_interrupted_download(tmp_path):
    write_parts(tmp_path, make_rows(), [1000])
    cut_short(tmp_path / "part-0.parquet")
    with pytest.raises(DataError, match=r"part-0\.parquet: not a readable Parquet file"):
        open_source(find_files(tmp_path))
