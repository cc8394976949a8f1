"""Tables made to do harm: they are refused in one line, or read like any other."""

import bz2
import datetime
import faulthandler
import gzip
import io
import itertools
import os
import pickle
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxmlp.data import files, parquet, tables
from jaxmlp.data.bounds import read_bounds
from jaxmlp.data.columns import decode, explain_texts, infer_kinds
from jaxmlp.data.errors import DataError
from jaxmlp.data.fingerprint import fingerprint
from jaxmlp.data.labels import encode_labels, find_classes, find_column
from jaxmlp.data.preprocess import Preprocessor, fit_preprocessor
from jaxmlp.data.rules import CategoricalRule, NumericRule
from jaxmlp.data.tables import read_table, whole_file


@pytest.fixture(autouse=True)
def no_hang():
    """Ends the process with a traceback if a test hangs."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def parquet_bytes(table, **given):
    content = io.BytesIO()
    pq.write_table(table, content, **given)
    return content.getvalue()


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_a_pipe_without_a_writer_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=r"file is empty|device or a pipe"):
        read_table(tmp_path / name)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_devices_are_no_tables(name):
    with pytest.raises(DataError, match="is a device or a pipe"):
        read_table(name)


def test_a_table_from_a_pipe(tmp_path, monkeypatch):
    def piped(content):
        ours, theirs = os.pipe()
        os.write(theirs, content)
        os.close(theirs)
        try:
            return read_table(f"/dev/fd/{ours}")
        finally:
            os.close(ours)

    assert piped(b"a,b\n1,2\n").to_pydict() == {"a": [1], "b": [2]}
    monkeypatch.setattr(files, "available_memory", lambda: 1000)
    with pytest.raises(DataError, match="needs more memory"):
        piped(b"a,b\n" + b"1,2\n" * 1000)


def test_a_file_of_bytes_that_are_no_text(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_bytes(b"a,b\n1,2\n")
    assert read_table(path).num_rows == 1
    path.write_bytes(b"a,b\n")
    with pytest.raises(DataError, match=r"caf\\udce9.csv: the table has no rows"):
        read_table(path)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_larger_than_memory_is_not_read(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"a,b\n" + b"1,2\n" * 1000)
    monkeypatch.setattr(files, "available_memory", lambda: 5000)
    monkeypatch.setattr(files, "read_all", None)
    with pytest.raises(DataError, match=f"{name}: needs .* GiB of memory"):
        read_table(tmp_path / name)


def test_a_header_of_very_many_columns_is_counted_first(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    names = ",".join(f"c{i}" for i in range(20_000))
    path.write_text(f"{names}\n{',' * 19_999}\n")
    assert read_table(path).num_columns == 20_000
    monkeypatch.setattr(files, "available_memory", lambda: 10**8)
    monkeypatch.setattr(tables.pyarrow.csv, "read_csv", None)
    with pytest.raises(DataError, match=r"t.csv: the table: needs 0.18\d GiB of memory"):
        read_table(path)


def test_a_header_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_LONGEST_HEADER", 2**16)
    (tmp_path / "t.csv").write_text("a" * (2**16 + 1))
    with pytest.raises(DataError, match="the first line does not end"):
        read_table(tmp_path / "t.csv")


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


BOMBS = [("gz", gzip.compress), ("bz2", bz2.compress), ("zst", zstd)]


@pytest.mark.parametrize(("ending", "compress"), BOMBS)
def test_decompression_bombs(tmp_path, monkeypatch, ending, compress):
    path = tmp_path / f"t.csv.{ending}"
    path.write_bytes(compress(b"a,b\n" + b"1,2\n" * 500_000))
    assert read_table(path).num_rows == 500_000  # below 64 MiB, no ratio is a bomb's
    monkeypatch.setattr(files, "_ALWAYS_EXPANDED", 2**20)
    monkeypatch.setattr(files, "_MOST_RATIO", 100)
    monkeypatch.setattr(files, "_CHUNK", 2**16)
    with pytest.raises(DataError, match=f"t.csv.{ending}: its content is more than 1,000"):
        read_table(path)


@pytest.mark.parametrize(("ending", "compress"), BOMBS)
def test_damaged_files_leave_no_memory_behind(tmp_path, ending, compress):
    path = tmp_path / f"t.csv.{ending}"
    path.write_bytes(compress(os.urandom(10_000))[:-20])
    tracemalloc.start()
    for _ in range(3):
        with pytest.raises(DataError, match="cannot be read"):
            read_table(path)
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 2**20


def test_what_expands_beyond_memory(tmp_path, monkeypatch):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(os.urandom(10_000)))
    monkeypatch.setattr(files, "available_memory", lambda: 10_000)
    with pytest.raises(DataError, match="more than half of the memory"):
        read_table(path)


def test_parquet_that_declares_too_many_rows(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    table = pa.table({"a": np.zeros(1_000_000)})
    path.write_bytes(parquet_bytes(table))
    assert path.stat().st_size < 10_000
    assert read_table(path).equals(table)
    monkeypatch.setattr(files, "_ALWAYS_EXPANDED", 2**20)
    monkeypatch.setattr(pq.ParquetFile, "read", None)
    with pytest.raises(DataError, match=r"t.parquet: its content is more than 1,000"):
        read_table(path)


def test_parquet_with_one_long_text_in_very_many_rows(tmp_path):
    # 8 KiB stand for 100 GB.
    rows = pa.array(np.zeros(1_000_000, np.int32))
    texts = pa.DictionaryArray.from_arrays(rows, ["x" * 100_000])
    table = pa.table({"a": texts})
    for stored in (table, table.cast(pa.schema({"a": texts.type}))):
        (tmp_path / "t.parquet").write_bytes(parquet_bytes(stored, compression="zstd"))
        with pytest.raises(DataError, match=r"t.parquet: its content is more than 1,000"):
            read_table(tmp_path / "t.parquet")


def test_parquet_lists_are_not_read(tmp_path):
    kind = pa.list_(pa.field("element", pa.float64()))
    bomb = pa.array([np.zeros(10_000_000), None], kind)
    table = pa.table({"bomb": bomb, "a": ["x", "y"], "both": pa.array([{"f": 1}, None])})
    (tmp_path / "t.parquet").write_bytes(parquet_bytes(table))
    before = pa.total_allocated_bytes()
    found = read_table(tmp_path / "t.parquet")
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert found.column_names == ["bomb", "a", "both"]
    assert found["a"].equals(table["a"])
    assert found["bomb"].type == bomb.type
    assert found["bomb"].null_count == found["both"].null_count == 2
    reason = infer_kinds(found, "a").dropped["bomb"]
    assert reason == "values of type list<element: double> are not supported"


def test_parquet_columns_that_cannot_be_told_apart(tmp_path):
    table = pa.table({"a.b": [1, 2], "a": pa.array([{"b": 1}, {"b": 2}]), "c": [1, 2]})
    (tmp_path / "t.parquet").write_bytes(parquet_bytes(table))
    with pytest.raises(DataError, match="does not tell the names of two columns apart"):
        read_table(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(parquet_bytes(table.drop_columns("a")))
    assert read_table(tmp_path / "t.parquet")["a.b"].to_pylist() == [1, 2]


def test_parquet_texts_that_are_not_utf8(tmp_path):
    content = parquet_bytes(pa.table({"a": ["caf\xe9", "b"]}), compression="none")
    assert "caf\xe9".encode() in content
    damaged = content.replace("caf\xe9".encode(), b"caf\xe9\xe9")
    (tmp_path / "t.parquet").write_bytes(damaged)
    with pytest.raises(DataError, match=r"not a readable Parquet file: .*UTF8"):
        read_table(tmp_path / "t.parquet")


class Harm:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_no_pickle_in_parquet_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Harm()),
    }
    schema = pa.schema([pa.field("a", pa.int64(), metadata=metadata)])
    table = pa.Table.from_arrays([pa.array([1, 2])], schema=schema)
    (tmp_path / "t.parquet").write_bytes(parquet_bytes(table, store_schema=True))
    assert read_table("t.parquet")["a"].to_pylist() == [1, 2]
    assert not (tmp_path / "harmed").exists()


def test_messages_show_names_and_obey_none(tmp_path):
    name = "\x1b]0;owned\x07\u202e" + "x" * 1_000_000
    for names in ([name, name], [name, "b"]):
        (tmp_path / "t.csv").write_text(",".join(f'"{n}"' for n in names) + "\n1,2\n")
        with pytest.raises(DataError, match=r"x1b]0;owned\\x07\\u202ex+ … ") as raised:
            find_column(read_table(tmp_path / "t.csv"), "absent", "target")
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 1100


def integers(kind, values):
    """An array of a type that holds whole numbers inside, whatever they mean."""
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.Array.from_buffers(kind, len(values), pa.array(values, width).buffers())


def arrays_of_every_type():
    for kind in (pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.decimal256(50, 2)):
        yield pa.array([0, 1, None], kind)
    yield pa.array([2**64 - 1, 1, 2**64 - 1], pa.uint64())
    yield pa.array([True, None, False])
    yield pa.nulls(3)
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        yield pa.array(["0001-01-01T00:00+14:00", "b", None], kind)
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(1)):
        yield pa.array([b"\xff", b"b", None], kind)
    zones = (None, "UTC", "Europe/Rome", "No/Where", "+99:99")
    stamps = itertools.starmap(pa.timestamp, itertools.product(("s", "us", "ns"), zones))
    times = (pa.time32("s"), pa.time64("ns"), pa.duration("s"), pa.date32(), pa.date64())
    for kind in (*stamps, *times):
        far = 2**30 if kind.bit_width == 32 else 2**62
        yield from (integers(kind, values) for values in ([0, far, None], [0, -far, 1]))
    yield pa.array([None, None, (1, 2, 3)], pa.month_day_nano_interval())
    yield pa.RunEndEncodedArray.from_arrays([1, 3], ["a", "b"])
    for values in (["a", "b", None], [1, 2, None], [b"\xff", b"b", None]):
        yield pa.array(values).dictionary_encode()
    yield pa.array([datetime.datetime(2024, 2, 29)] * 2 + [None]).dictionary_encode()
    yield pa.array([[1], [2], None])
    yield pa.array([{"f": 1}, None, None])
    yield pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [pa.array([1, 2, 3])])
    yield pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None], pa.int8()))
    tensors = pa.array([[1, 2], [1, 2], None], pa.list_(pa.int32(), 2))
    yield pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int32(), [2]), tensors)


ARRAYS = [pytest.param(array, id=str(array.type)) for array in arrays_of_every_type()]


@contextmanager
def may_refuse(start):
    try:
        yield
    except DataError as error:
        if not str(error).startswith(start):
            raise


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("wish", [None, "numeric", "categorical", "date"])
def test_columns_of_every_type(array, wish):
    table = pa.table({"c": array, "y": ["a", "b", "a"]})
    with may_refuse("column 'c'"):
        used = infer_kinds(table, "y", {"c": wish} if wish else None).used
        columns = decode(table, used)
        explain_texts(columns)
        rules = fit_preprocessor(columns, np.arange(3), used)[0]
        assert not rules.rules or np.isfinite(rules.encode(columns)).all()


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("n", [2, 3])
def test_targets_of_every_type(array, n):
    column = pa.table({"y": array})["y"].slice(0, n)
    with may_refuse("target column 'y'"):
        classes = find_classes(column, "y", None)
        assert sorted(set(encode_labels(column, "y", classes))) == [0, 1]
        assert len(pa.array(classes)) == 2  # as a column of predictions


def test_numbers_that_halving_would_make_equal():
    least = 5e-324
    columns = {"x": np.array([0.0, least, 2 * least, 1.0] * 3)}
    rules, _ = fit_preprocessor(columns, np.arange(12), n_knots=8)
    assert np.isfinite(rules.encode(columns)).all()


def test_signalling_nans_warn_nowhere():
    bits = np.array([0x7FF0_0000_0000_0001, 0, 0x3FF0_0000_0000_0000], np.uint64)
    column = pa.array(bits).view(pa.float64())
    table = pa.table({"x": column})
    assert decode(table, {"x": "categorical"})["x"].to_pylist() == [None, "0", "1"]
    columns = decode(table, {"x": "numeric"})
    assert fingerprint(columns, np.zeros(3, np.int32))
    assert np.isfinite(fit_preprocessor(columns, np.arange(3))[0].encode(columns)).all()


def test_a_network_input_larger_than_memory(monkeypatch):
    rule = CategoricalRule("c", tuple(map(str, range(1000))), False, False)
    columns = {"c": pa.array(["1"] * 1000)}
    assert Preprocessor((rule,)).encode(columns).shape == (1000, 1000)
    monkeypatch.setattr(files, "available_memory", lambda: 3_999_999)
    with pytest.raises(DataError, match="the network's input, 1000 rows: needs"):
        Preprocessor((rule,)).encode(columns)


@pytest.mark.parametrize(
    "rule",
    [
        NumericRule("x", 0.0, 0.0, 1.0, True, (0.0, 1.0, 2.0)),
        NumericRule("x", 0.0, 0.0, 1.0, False),
        CategoricalRule("x", ("a", "b"), True, False),
    ],
)
def test_inputs_are_counted_without_their_names(rule):
    assert rule.n_inputs == len(rule.input_names)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"x": ' + b"[" * 100_000, "cannot be read as JSON"),
        (b'{"x": ' + b"[" * 900 + b"]" * 900 + b"}", "column 'x': .* is neither"),
        (b'{"x": [0, 1e999]}', "column 'x': .* is neither"),
        (b'{"x": [0, %s]}' % (b"9" * 1000), "column 'x': .* is neither"),
        (b'{"x": [0, %s]}' % (b"9" * 10_000), "cannot be read as JSON"),
        (b'{"x": ["\\ud800"]}', "surrogates not allowed"),
        (b'{"\\ud800": [0, 1]}', "surrogates not allowed"),
        (b"\xff", "cannot be read as JSON"),
        (b"{%s}" % b",".join(b'"%d": [0, 1]' % (i % 99_999) for i in range(100_000)),
         "column '0' is given twice"),
    ],
)  # fmt: skip
def test_hostile_bounds(tmp_path, content, message):
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read_bounds(tmp_path / "b.json")
    assert str(raised.value).startswith(f"{tmp_path}/b.json: ")
    assert str(raised.value).isprintable()


def test_bounds_from_a_pipe_or_larger_than_memory(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a device or a pipe"):
        read_bounds(tmp_path / "pipe")
    (tmp_path / "b.json").write_text('{"x": [0, 1]}')
    monkeypatch.setattr(files, "available_memory", lambda: 100)
    with pytest.raises(DataError, match=r"b.json: needs .* GiB of memory"):
        read_bounds(tmp_path / "b.json")


def test_a_link_with_the_name_of_the_unfinished_file_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".out.csv.unfinished").symlink_to(victim)
    (tmp_path / "out.csv").symlink_to(victim)
    with whole_file(tmp_path / "out.csv") as unfinished:
        unfinished.write_text("new")
    assert victim.read_text() == "mine"
    assert (tmp_path / "out.csv").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "victim"]


def test_memory_is_what_the_system_and_the_container_leave(monkeypatch):
    assert 2**20 < files.available_memory() <= os.sysconf("SC_PHYS_PAGES") * 2**16

    texts = {"/proc/meminfo": "MemAvailable:  5 kB\n", "/sys/fs/cgroup/memory.max": "max\n"}
    monkeypatch.setattr(files.Path, "read_text", lambda path: texts[str(path)])
    assert files.available_memory() == 5120
    texts["/sys/fs/cgroup/memory.max"] = "4096\n"
    assert files.available_memory() == 4096


def test_sizes_are_of_the_types():
    assert parquet._width(pa.float64()) == 64
    assert parquet._width(pa.string()) == 32
