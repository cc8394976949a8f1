import bz2
import gzip
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmlp.data.errors import DataError
from jaxmlp.data.stream import blocks, scratch, source, spool
from jaxmlp.data.stream.source import read_slices
from jaxmlp.data.stream.spool import opened, spool_csv
from jaxmlp.data.tables import read_table

TEXT = "a,b,c\n1,x,0.5\n2,,\n3,y,-1\n"


def read_all(found):
    slices = [
        table
        for group in found.groups
        for table in read_slices(found, group, found.schema.names)
    ]
    return pa.concat_tables(slices).combine_chunks()


def spooled(path, folder, text_columns=()):
    with opened(path, folder, text_columns) as found:
        return read_all(found)


# Tokens that types differ on, and some that only look as if they did.
TOKENS = {
    "null": ["", "NA", "?"],
    "int": ["0", "1", "7", "-12", "0x1F", " 5 ", "00501"],
    "bool": ["true", "False", "0", "1"],
    "date": ["2024-02-29", "1999-12-31", "9999-12-31"],
    "time": ["12:00", "23:59:59"],
    "moment": ["2024-02-29 13:05", "2024-02-29T13:05:01.5", "9999-12-31 00:00:00"],
    "zoned": ["2024-02-29T13:05:00Z", "2024-02-29T13:05:00.5+02:00"],
    "real": ["1.10", "1e400", "inf", "-0", "99999999999999999999", ".5"],
    "text": ["x", 'say "hi"', "two\nlines", "a,b;c", '5" pipe', "é", "'", '"'],
}
COLUMNS = st.one_of(
    *(st.just([kind]) for kind in TOKENS),
    st.lists(st.sampled_from(sorted(TOKENS)), min_size=2, max_size=3, unique=True),
).map(lambda kinds: sorted({*(t for k in kinds for t in TOKENS[k]), ""}))


@st.composite
def csv_texts(draw):
    """A CSV file in which columns change their kind now and then."""
    mark = draw(st.sampled_from(",;\t|"))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    columns = draw(st.lists(COLUMNS, min_size=2, max_size=4))
    rows = draw(
        st.lists(st.tuples(*map(st.sampled_from, columns)), min_size=1, max_size=12)
    )
    styles = draw(st.lists(st.booleans(), min_size=1, max_size=7))
    lines = [mark.join(f'"c {i}"' if styles[0] else f" c {i}" for i in range(len(columns)))]
    for n, row in enumerate(rows):
        style = styles[n % len(styles)]
        lines.append(mark.join(field(token, mark, quoted=style) for token in row))
    return end.join(lines) + draw(st.sampled_from(["", end, 2 * end]))


def field(token, mark, *, quoted):
    if quoted or mark in token or "\n" in token or token.startswith('"'):
        return '"' + token.replace('"', '""') + '"'
    return token


def test_types_and_values_are_those_of_the_whole_file(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    monkeypatch.setattr(source, "SLICE_ROWS", 3)

    @settings(max_examples=150, derandomize=True, database=None, deadline=None)
    @given(csv_texts(), st.integers(1, 80), st.sampled_from([(), ("c 0", "absent")]))
    def check(text, block_bytes, text_columns):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        path.write_bytes(text.encode())
        expected = read_table(path, text_columns=text_columns)
        assert spooled(path, tmp_path, text_columns).equals(expected.combine_chunks())

    check()


def write_files(folder, **texts):
    for name, text in texts.items():
        content = text if isinstance(text, bytes) else text.encode()
        (folder / f"{name}.csv").write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", gzip.compress(TEXT.encode(), mtime=0)),
        ("t.csv.bz2", bz2.compress(TEXT.encode())),
        ("t.csv.zst", pa.compress(TEXT.encode(), "zstd", asbytes=True)),
        ("t.csv", b"\xef\xbb\xbf" + TEXT.encode()),
        ("t.csv", b"\n\r\n" + TEXT.replace(",", ";").encode()),
        ("t.csv", TEXT.replace("a,b,c", 'a , b,"c"').encode()),
        ("t.csv", TEXT.replace("a,b,c", '"a\nb",b,c').encode()),
        ("t.csv", b"a,b\n" + 70_000 * b"1,x\n" + b"y,00501\n"),
    ],
)
def test_files_in_their_many_forms(tmp_path, monkeypatch, name, content):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 10 if len(content) < 1000 else 2**16)
    (tmp_path / name).write_bytes(content)
    expected = read_table(tmp_path / name).combine_chunks()
    assert spooled(tmp_path / name, tmp_path).equals(expected)


def test_types_are_those_of_all_files_together(tmp_path):
    write_files(
        tmp_path,
        part1="n,zip,when,b\n1,00501,2024-01-01,1\n",
        part2="b,n,zip,when\ntrue,2.5,x,2024-01-01 10:00\n",
        part10="n,zip,when,b\n,,,\n",
    )
    found = spooled(tmp_path / "part*.csv", tmp_path)
    assert found.schema.types == [
        pa.float64(),
        pa.string(),
        pa.timestamp("s"),
        pa.bool_(),
    ]
    assert found["n"].to_pylist() == [1, 2.5, None]
    assert found["zip"].to_pylist() == ["00501", "x", None]
    assert found["b"].to_pylist() == [True, True, None]


def test_a_row_group_for_each_slice(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "SLICE_ROWS", 100)
    write_files(tmp_path, t="a,b\n" + 250 * "1,x\n")
    made = spool_csv([tmp_path / "t.csv"], tmp_path)
    metadata = pq.read_metadata(made.paths[0])
    groups = range(metadata.num_row_groups)
    assert [metadata.row_group(i).num_rows for i in groups] == [100, 100, 50]
    monkeypatch.setattr(spool, "_GROUP_BYTES", 0)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 100)  # of long rows, fewer
    made = spool_csv([tmp_path / "t.csv"], tmp_path)
    assert pq.read_metadata(made.paths[0]).num_row_groups > 3


def test_only_a_few_blocks_are_read_twice(tmp_path, monkeypatch):
    """A text at the end of many numbers makes the files be read twice, not more often."""
    n_parsed = []
    parse = spool.parse
    monkeypatch.setattr(spool, "parse", lambda *args: n_parsed.append(1) or parse(*args))
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 40)
    write_files(tmp_path, t="a,b\n" + 1000 * "1,2\n" + "x,2\n")
    spool_csv([tmp_path / "t.csv"], tmp_path)
    assert 200 < len(n_parsed) < 250


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"a,b\n", "the table has no rows"),
        (b"a,b", "the table has no rows"),
        (b"\n\n", "not a readable CSV file"),
        (bytes(100), "not a readable CSV file: its header holds zero bytes"),
        (TEXT.encode("utf-16"), "the file is UTF-16"),
        (b"a, a\n1,2\n", "two columns are named 'a'"),
        ("é,b\n1,2\n".encode("latin-1"), "not a readable CSV file"),
        (
            b"a,b\n" + 50 * b"1,2\n" + "1,é\n".encode("latin-1"),
            "not a readable CSV file: column 'b' is not UTF-8, first in row 50",
        ),
        (
            b"a,b\n" + 50 * b'1,"2\n"\n' + b"\n3\n1,2\n",
            "not a readable CSV file: CSV parse error: Row #52: Expected 2 columns, got 1",
        ),
        (
            b"a,b\n" + 50 * b"1,2\n" + b"\xff3\n",
            "not a readable CSV file: CSV parse error: Row #52: Expected 2 columns, got 1",
        ),
        (b'a,b\n1,"' + 500 * b"x\n", "not a readable CSV file: a row is longer than"),
    ],
)
@pytest.mark.parametrize("text_columns", [(), ("b",)])
def test_bad_files_are_named(tmp_path, monkeypatch, content, message, text_columns):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    monkeypatch.setattr(blocks, "RECORD_BYTES", 256)
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised, opened(path, tmp_path, text_columns):
        pass
    assert str(raised.value).startswith(f"{path}: {message}")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_header(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_HEADER_BYTES", 20)
    write_files(tmp_path, t=f"{'a' * 30},b\n1,2\n")
    with pytest.raises(DataError, match="first line is longer than"):
        blocks.open_csv(tmp_path / "t.csv")


def test_a_cut_archive(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode() * 100, mtime=0)[:-9])
    with pytest.raises(DataError, match="cannot be read"), opened(path, tmp_path):
        pass


def test_files_that_are_not_one_table(tmp_path):
    write_files(tmp_path, a="x,y\n1,2\n", b="x,z\n1,2\n")
    with (
        pytest.raises(DataError, match=r"b\.csv: its columns are not .*a\.csv: .* y, z"),
        opened(tmp_path / "*.csv", tmp_path),
    ):
        pass
    pq.write_table(pa.table({"x": [1], "y": [2]}), tmp_path / "b.csv")
    with (
        pytest.raises(DataError, match=r"CSV files, such as .*a\.csv, and Parquet files"),
        opened(tmp_path / "*.csv", tmp_path),
    ):
        pass


def test_parquet_is_read_where_it_is(tmp_path):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "t.parquet")
    with opened(tmp_path, Path("/absent")) as found:
        assert [file.path for file in found.files] == [tmp_path / "t.parquet"]


def test_messages_name_the_csv_file(tmp_path):
    write_files(tmp_path, t=TEXT)
    with opened(tmp_path / "t.csv", tmp_path) as found:
        (file,) = found.files
        assert file.origin == tmp_path / "t.csv"
        file.path.unlink()
        with pytest.raises(DataError, match=rf"^{file.origin}: cannot be read"):
            read_all(found)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, None])
def test_nothing_stays(tmp_path, error):
    write_files(tmp_path, t=TEXT)
    try:
        with opened(tmp_path / "t.csv", tmp_path):
            assert len(list(tmp_path.glob(".jaxmlp-spool-*/*.parquet"))) == 1
            if error:
                raise error
    except (KeyboardInterrupt, ValueError):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_full_disk(tmp_path, monkeypatch):
    write_files(tmp_path, t=TEXT)

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", fails)
    with (
        pytest.raises(DataError, match=rf"^{tmp_path}/\.jaxmlp.*No space left"),
        opened(tmp_path / "t.csv", tmp_path),
    ):
        pass
    with pytest.raises(DataError, match=rf"^{tmp_path}: .*No space left"):
        spool_csv([tmp_path / "t.csv"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    with (
        pytest.raises(DataError, match="absent: cannot be written to"),
        opened(tmp_path / "t.csv", tmp_path / "absent"),
    ):
        pass


HOLD = """
import sys
from pathlib import Path
from jaxmlp.data.stream.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_leftovers_of_killed_runs_are_removed_and_no_others(tmp_path):
    write_files(tmp_path, t=TEXT)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    folders = [Path(run.stdout.readline().strip()) for run in runs]
    (tmp_path / ".jaxmlp-spool-empty").mkdir()  # of one killed before it had locked it
    runs[0].kill()
    runs[0].wait()
    with opened(tmp_path / "t.csv", tmp_path):
        pass
    assert [folder.exists() for folder in folders] == [False, True]
    assert not (tmp_path / ".jaxmlp-spool-empty").exists()
    for run in runs:
        run.communicate()
    assert not folders[1].exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_folder_taken_for_abandoned_before_it_is_locked_is_made_anew(
    tmp_path, monkeypatch, when
):
    lock, taken = scratch._lock, []

    def late(folder):
        opened = None if when == "before" or taken else lock(folder)
        if not taken:
            taken.append(folder)
            folder.rmdir()
        return lock(folder) if opened is None else opened

    monkeypatch.setattr(scratch, "_lock", late)
    with scratch.scratch_folder(tmp_path) as folder:
        assert folder.exists()
        assert folder != taken[0]
        with pytest.raises(BlockingIOError):
            lock(folder)
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nothing_of_others_is_removed(tmp_path, monkeypatch):
    (tmp_path / ".jaxmlp-spool-other").mkdir()
    monkeypatch.setattr(scratch, "_lock", lambda _: None)
    with scratch.scratch_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".jaxmlp-spool-other"]
