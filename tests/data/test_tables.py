import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import read_table, write_table

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "y"], "c": [0.5, None, -1.0]})
TEXT = "a,b,c\n1,x,0.5\n2,,\n3,y,-1\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", TEXT.encode()),
        ("t.txt", TEXT.replace(",", ";").encode()),
        ("t.tsv", TEXT.replace(",", "\t").encode()),
        ("t.csv", TEXT.replace(",", "|").replace("\n", "\r\n").encode()),
        ("t.csv", b"\xef\xbb\xbf" + TEXT.encode()),
        ("t.csv.gz", gzip.compress(TEXT.encode(), mtime=0)),
        ("t.csv", TEXT.replace("2,,", "2,NA,?").encode()),
        ("t.csv", TEXT.replace("a,b,c", '"a","b","c"').encode()),
        ("t.csv", TEXT.replace("a,b,c", "a, b ,c").encode()),
        ("t.csv", b"\n" + TEXT.replace(",", ";").encode()),
    ],
)
def test_csv_in_its_many_forms(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_table(tmp_path / name).equals(TABLE)


@pytest.mark.parametrize("name", ["t.parquet", "t.pq", "table"])
def test_parquet_by_content(tmp_path, name):
    pq.write_table(TABLE, tmp_path / name)
    assert read_table(tmp_path / name).equals(TABLE)


def test_type_is_inferred_from_all_rows(tmp_path):
    # The first text stands far behind the block that pyarrow would look at.
    rows = ["1"] * 600_000 + ["late"]
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{v},0\n" for v in rows))
    assert read_table(tmp_path / "t.csv")["a"].type == pa.string()


def test_text_columns_keep_their_zeros(tmp_path):
    (tmp_path / "t.csv").write_text("zip,n\n00123,1\n04567,2\n")
    table = read_table(tmp_path / "t.csv", text_columns=["zip", "absent"])
    assert table["zip"].to_pylist() == ["00123", "04567"]
    (tmp_path / "t.csv").write_text("n, zip\n1,00123\n")
    assert read_table(tmp_path / "t.csv", text_columns=["zip"])["zip"][0].as_py() == "00123"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "no such file"),
        ("empty.csv", b"", "the file is empty"),
        ("header.csv", b"a,b\n", "the table has no rows"),
        ("newlines.csv", b"\n\n\n", "not a readable CSV file"),
        ("utf16.csv", TEXT.encode("utf-16"), "the file is UTF-16"),
        ("zeros.csv", bytes(100), "not a readable CSV file"),
        ("twice.csv", b"a,a\n1,2\n", "two columns are named 'a'"),
        ("ragged.csv", b"a,b\n1,2\n3\n", "not a readable CSV file: .*got 1: 3"),
        ("latin.csv", "a,b\n1,é\n".encode("latin-1"), "not a .* column 'b' is not UTF-8"),
        ("header.csv", "é,b\n1,2\n".encode("latin-1"), "not a readable CSV file"),
        ("broken.parquet", b"PAR1 and then nothing", "not a readable Parquet file"),
        ("text.parquet", b"a,b\n1,2\n", "not a readable Parquet file"),
        ("cut.csv.gz", gzip.compress(TEXT.encode(), mtime=0)[:-9], "cannot be read"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: {message}") as raised:
        read_table(path)
    assert "\n" not in str(raised.value)


def test_folder_is_no_table(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_written_tables_are_read_back(tmp_path, name):
    write_table(TABLE, tmp_path / name)
    assert read_table(tmp_path / name).equals(TABLE)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["out.xlsx", "out", "absent/out.csv"])
def test_bad_names_to_write(tmp_path, name):
    with pytest.raises(DataError, match=r"must end in|does not exist"):
        write_table(TABLE, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    write_table(TABLE, path)
    before = path.read_bytes()

    def fails(table, where):
        where.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("pyarrow.csv.write_csv", fails)
    with pytest.raises(DataError, match="No space left"):
        write_table(pa.table({"a": np.arange(5)}), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
