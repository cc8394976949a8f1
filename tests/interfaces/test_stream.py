import json
import os
import signal
import tempfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxmlp.data.labels import Classes
from jaxmlp.data.stream import blocks, source
from jaxmlp.data.tables import read_table, write_table
from jaxmlp.interfaces.commands import stream
from jaxmlp.interfaces.model import load_model
from tests.interfaces.conftest import make_table


@pytest.fixture(autouse=True)
def small_slices(monkeypatch, tmp_path):
    """Slices, blocks and groups to write, no multiples of the rows predicted at once."""
    monkeypatch.setattr(source, "SLICE_ROWS", 1000)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2**14)
    monkeypatch.setattr(stream, "WRITE_ROWS", 3000)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield
    assert not list(tmp_path.rglob(".jaxmlp-*"))
    assert not list(tmp_path.rglob("*.unfinished"))


@pytest.fixture(params=["csv", "parquet"])
def long(request, tmp_path):
    """9,000 rows as one file; returns its path."""
    path = tmp_path / f"long.{request.param}"
    if request.param == "csv":
        write_table(make_table(9000), path)
    else:
        pq.write_table(make_table(9000), path, row_group_size=2600)
    return path


@pytest.fixture
def parts(tmp_path):
    """The same rows as three files, in a folder."""
    table = make_table(9000)
    (tmp_path / "parts").mkdir()
    for number, (start, end) in {2: (0, 200), 10: (200, 6000), 11: (6000, 9000)}.items():
        rows = table.slice(start, end - start)
        write_table(rows, tmp_path / "parts" / f"part-{number}.csv")
    return tmp_path / "parts"


def test_predictions_are_the_same_bytes(cli, model, long, tmp_path):
    for flags in ([], ["--stream"]):
        out = tmp_path / f"p{len(flags)}.csv"
        assert cli("predict", model, long, *flags, "--out", out)[:1] == (0,)
    assert (tmp_path / "p0.csv").read_bytes() == (tmp_path / "p1.csv").read_bytes()
    printed = cli("predict", model, long, "--stream")
    assert (printed.code, printed.out) == (0, (tmp_path / "p0.csv").read_text())


def test_parquet_out(cli, model, long, tmp_path, monkeypatch):
    cli("predict", model, long, "--out", tmp_path / "p0.parquet")
    cli("predict", model, long, "--stream", "--out", tmp_path / "p1.parquet")
    expected = read_table(tmp_path / "p0.parquet")
    assert read_table(tmp_path / "p1.parquet").equals(expected)
    monkeypatch.undo()  # as many rows a group as pyarrow takes: the same file
    cli("predict", model, long, "--stream", "--out", tmp_path / "p1.parquet")
    same = [(tmp_path / f"p{i}.parquet").read_bytes() for i in range(2)]
    assert same[0] == same[1]


@pytest.mark.parametrize("n", [1, 256, 257])
def test_few_rows(cli, model, tmp_path, n):
    write_table(make_table(n), tmp_path / "few.csv")
    expected = cli("predict", model, tmp_path / "few.csv")
    assert cli("predict", model, tmp_path / "few.csv", "--stream") == expected


@pytest.mark.parametrize("pattern", ["", "part-*.csv"])
def test_many_files_are_one_table(cli, model, parts, tmp_path, pattern):
    write_table(make_table(9000), tmp_path / "whole.csv")
    expected = cli("predict", model, tmp_path / "whole.csv")
    assert cli("predict", model, parts / pattern, "--stream") == expected
    out = tmp_path / "p.csv"
    finished = cli("predict", model, parts, "--stream", "--json", "--out", out)
    assert json.loads(finished.out) == {"rows": 9000, "out": str(out)}
    assert out.read_text() == expected.out


def test_evaluation_is_that_of_the_table_in_memory(cli, model, long, parts):
    expected = json.loads(cli("evaluate", model, long, "--json").out)
    for data in (long, parts):
        found = json.loads(cli("evaluate", model, data, "--stream", "--json").out)
        error = found.pop("roc_auc_error")
        assert found.keys() == expected.keys()
        assert found["roc_auc"] == pytest.approx(expected["roc_auc"], abs=error + 1e-12)
        assert [found["rows"], found["positive"]] == [9000, "yes"]
        for name in ("log_loss", "accuracy", "brier"):
            # Sums of float64 in another order.
            assert found[name] == pytest.approx(expected[name], rel=1e-12)
    shown = cli("evaluate", model, parts, "--stream")
    assert "9000 rows; ROC AUC to within" in shown.out
    assert cli("evaluate", model, parts, "--stream", "--quiet").out == ""


def test_one_class_has_no_auc(cli, model, tmp_path):
    table = make_table(1500)
    yes = table.filter(pa.compute.equal(table["bought"], "yes"))
    write_table(yes, tmp_path / "yes.csv")
    found = json.loads(
        cli("evaluate", model, tmp_path / "yes.csv", "--stream", "--json").out
    )
    assert found["roc_auc"] is found["roc_auc_error"] is None


@pytest.mark.parametrize(
    ("command", "column", "row", "value", "message"),
    [
        ("predict", "x", 4321, "inf", "column 'x', row 4121: the value is infinite"),
        ("predict", "x", 4321, "a", "column 'x', row 4121: 'a' is not a number"),
        ("evaluate", "bought", 8999, "maybe", "row 2999: the label 'maybe' is neither"),
        ("evaluate", "bought", 300, None, "row 100: the label is missing"),
    ],
)
def test_bad_values_are_named(
    cli, model, parts, tmp_path, command, column, row, value, message
):
    texts = make_table(9000)[column].cast(pa.string()).to_pylist()
    texts[row] = value
    name, start, end = ("10", 200, 6000) if row < 6000 else ("11", 6000, 9000)
    path = parts / f"part-{name}.csv"
    table = make_table(9000)
    place = table.column_names.index(column)
    table = table.set_column(place, column, pa.array(texts))
    write_table(table.slice(start, end - start), path)
    flags = ("--out", tmp_path / "p.csv") if command == "predict" else ()
    finished = cli(command, model, parts, "--stream", *flags)
    assert (finished.code, finished.out) == (2, "")
    assert f"{path}: " in finished.err
    assert message in finished.err
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("command", "column", "message"),
    [
        ("predict", "x", "1 column that the model needs: x"),
        ("evaluate", "bought", "no target column 'bought'"),
    ],
)
def test_missing_columns(cli, model, tmp_path, command, column, message):
    write_table(make_table().drop_columns([column]), tmp_path / "t.csv")
    finished = cli(command, model, tmp_path / "t.csv", "--stream")
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith(f"jaxmlp: error: {tmp_path / 't.csv'}: ")
    assert message in finished.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--std", "--train", "t.csv"], "--std: it does not go with --stream"),
        (["--train", "t.csv"], "--train: it does not go with --stream"),
        (["--l2", "1"], "--l2: it does not go with --stream"),
        (["--json"], "--json: with --stream it needs --out"),
    ],
)
def test_flags_that_do_not_go_together(cli, model, data, flags, message):
    finished = cli("predict", model, data, "--stream", *flags)
    assert finished.code == 2
    assert message in finished.err


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_several_files_need_the_flag(cli, model, parts, command):
    for name, what in {"": "is a folder", "*.csv": "is a pattern"}.items():
        finished = cli(command, model, parts / name)
        assert finished.code == 2
        assert f"{parts / name}: {what}" in finished.err
        assert "--stream" in finished.err
    finished = cli(command, model, parts / "*.parquet", "--stream")
    assert "no file matches" in finished.err


def test_no_file_of_the_data_is_overwritten(cli, model, parts):
    before = (parts / "part-2.csv").read_bytes()
    finished = cli("predict", model, parts, "--stream", "--out", parts / "part-2.csv")
    assert finished.code == 2
    assert "it is one of DATA's files" in finished.err
    assert (parts / "part-2.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_predictions_that_are_told_to_end_leave_nothing(
    cli, model, parts, tmp_path, monkeypatch, number, code, word
):
    make, tables = stream._table, []

    def interrupted(*arguments):
        tables.append(make(*arguments))
        if len(tables) == 3:  # the first has no rows
            os.kill(os.getpid(), number)
        return tables[-1]

    monkeypatch.setattr(stream, "_table", interrupted)
    finished = cli("predict", model, parts, "--stream", "--out", tmp_path / "p.csv")
    assert (finished.code, finished.err) == (code, f"jaxmlp: {word}; nothing was written\n")
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("classes", [(0, 1), (False, True), (1.5, 2.5), ("b", "a")])
def test_labels_of_any_type(model, classes):
    loaded = replace(load_model(model), classes=Classes(*classes))
    table = stream._table(loaded, np.float32([-1, 0, 2]))
    expected = pa.array([classes[0], classes[1], classes[1]])
    assert table["predicted"].combine_chunks().equals(expected)


def test_float32_columns_and_nothing_read_but_what_is_needed(cli, model, tmp_path):
    table = make_table(2500)
    table = table.set_column(0, "x", table["x"].cast(pa.float32()))
    unread = pa.array(np.zeros((2500, 2)).tolist())
    pq.write_table(table.append_column("list", unread), tmp_path / "t.parquet")
    expected = cli("predict", model, tmp_path / "t.parquet")
    assert cli("predict", model, tmp_path / "t.parquet", "--stream") == expected
