"""Models and names made to do harm: they are refused in one line, or do as any other."""

import faulthandler
import io
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from jaxmlp.data import files
from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import read_table, write_table
from jaxmlp.interfaces.commands.pictures import draw_norms
from jaxmlp.interfaces.model import load_model, save_model
from jaxmlp.interfaces.report import render_report
from tests.interfaces.conftest import SMALL, make_table, run_command
from tests.interfaces.report.page import Page
from tests.interfaces.test_model import ROWS, change, change_column, change_training

FILES = ("model.json", "model.safetensors", "report.json")
EVIL = "\x1b]0;owned\x07\n<b>[red]\u202e"


@pytest.fixture(autouse=True)
def no_hang():
    """Ends the process with a traceback if a test hangs."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def use(cli, model, name):
    """Runs a command that reads this file of the model."""
    data = model.parent / "data.csv"
    finished = (
        cli("report", model) if name == "report.json" else cli("predict", model, data)
    )
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.count("\n") == 1
    assert finished.err[:-1].isprintable()
    return finished.err


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "replace",
    [
        os.mkfifo,
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to(path.parent.parent / "elsewhere"),
    ],
    ids=["pipe", "folder", "device", "loop", "elsewhere"],
)
def test_files_that_are_none(cli, model, data, name, replace):
    shutil.copy(model / name, model.parent / "elsewhere")
    (model / name).unlink()
    replace(model / name)
    assert str(model) in use(cli, model, name)


@pytest.mark.parametrize("name", FILES)
def test_links_do_not_lead_out_of_the_folder(cli, model, data, name):
    (model / name).rename(model.parent / name)
    (model / name).symlink_to(model.parent / name)
    assert f"{name}: is a link that leads out of its folder" in use(cli, model, name)


def test_links_within_the_folder_and_to_it(model):
    (model / "model.json").rename(model / "other.json")
    (model / "model.json").symlink_to("other.json")
    (model.parent / "link").symlink_to(model)
    assert load_model(model.parent / "link").target == "bought"


@pytest.mark.parametrize("name", FILES)
def test_files_larger_than_memory(cli, model, data, name):
    os.truncate(model / name, 2**42)  # without so much on the disk
    assert "GiB of memory" in use(cli, model, name)


def test_report_does_not_write_through_links(cli, model, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (model / "report.html").unlink()
    for name in ("report.html", ".report.html.unfinished"):
        (model / name).symlink_to(victim)
    assert cli("report", model).code == 0
    assert victim.read_text() == "mine"
    assert not (model / "report.html").is_symlink()


def test_model_does_not_write_through_links(model, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    for name in (".new.unfinished", ".new.replaced"):
        (tmp_path / name).symlink_to(kept)
    with pytest.raises(DataError, match="cannot be written"):
        save_model(load_model(model), {}, tmp_path / "new")
    assert [path.name for path in kept.iterdir()] == ["file"]


HEADERS = {
    "no JSON": b"{",
    "deep": b"[" * 100_000,
    "bfloat16": b'{"0.w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}',
    "overlap": b'{"0.w":{"dtype":"F32","shape":[1,1,1],"data_offsets":[0,4]},'
    b'"0.b":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}',
    "beyond": b'{"0.w":{"dtype":"F32","shape":[4611686018427387904],'
    b'"data_offsets":[0,18446744073709551615]}}',
    "overflow": b'{"0.w":{"dtype":"F32","shape":[4294967296,4294967296,4],'
    b'"data_offsets":[0,0]}}',
    "empty": b'{"0.w":{"dtype":"F32","shape":[0,4611686018427387903,4],'
    b'"data_offsets":[0,0]},"0.b":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]}}',
    "no numbers": b'{"0.w":{"dtype":"F32","shape":[],"data_offsets":[0,4]},'
    b'"0.b":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}',
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers_of_parameters(cli, model, data, header):
    content = len(header).to_bytes(8, "little") + header + bytes(8)
    (model / "model.safetensors").write_bytes(content)
    assert "the model cannot be read" in use(cli, model, "model.safetensors")


@pytest.mark.parametrize("size", [0, 10**9, 2**63, 2**64 - 1])
def test_length_of_the_header_beyond_the_file(cli, model, data, size):
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(size.to_bytes(8, "little") + content[8:])
    assert "the model cannot be read" in use(cli, model, "model.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: change(path, target=3),
        lambda path: change(path, target="\ud800"),
        lambda path: change(path, classes={"negative": 0, "positive": "yes"}),
        lambda path: change(path, classes={"negative": 0, "positive": True}),
        lambda path: change(path, classes={"negative": [0], "positive": [1]}),
        lambda path: change(path, classes={"negative": 1, "positive": 10**400}),
        lambda path: change(path, classes={"negative": 1.0, "positive": float("nan")}),
        lambda path: change(path, classes={"negative": "no", "positive": "\ud800"}),
        lambda path: change(path, classes={"negative": "no", "positive": "yes", "x": 1}),
        lambda path: change(path, threshold=10**400),
        lambda path: change(path, threshold=float("inf")),
        lambda path: change_column(path, marks_missing=10**12),
        lambda path: change_column(path, marks_missing=-1),
        lambda path: change_column(path, marks_missing=1.0),
        lambda path: change_column(path, name=3),
        lambda path: change_column(path, name="\ud800"),
        lambda path: change_column(path, name="job"),
        lambda path: change_column(path, median=10**400),
        lambda path: change_column(path, center=1e308, scale=1e-308),
        lambda path: change_column(path, scale=float("inf")),
        lambda path: change_column(path, knots=[0.0, 5e-324]),
        lambda path: change_column(path, knots="01"),
        lambda path: change_column(path, code="import os"),
        lambda path: change_category(path, levels=["cook", "cook", "pilot"]),
        lambda path: change_category(path, levels=[1, 2, 3]),
        lambda path: change_category(path, levels=["\ud800", "cook", "pilot"]),
        lambda path: change_category(path, levels=7),
        lambda path: change_category(path, joins_rare="yes"),
        lambda path: change_training(path, l2=[10**400]),
        lambda path: change_training(path, rows=-3),
        lambda path: change_training(path, rows=120.0),
        lambda path: (path / "model.json").write_text("9" * 5000),
        lambda path: change_weights(path, lambda w: w.astype(np.float64) * 1e300),
        lambda path: change_weights(path, lambda w: w[:, :, :0]),
    ],
)
def test_values_that_no_model_has(cli, model, data, damage):
    damage(model)
    assert "the model cannot be read" in use(cli, model, "model.json")


def change_category(path, **fields):
    columns = json.loads((path / "model.json").read_text())["columns"]
    (category,) = [column for column in columns if column["name"] == "job"]
    category |= fields
    change(path, columns=columns)


def change_weights(path, function):
    """Changes the weights, and cuts the biases to the shape that goes with them."""
    tensors = load_file(path / "model.safetensors")
    tensors["0.w"] = function(tensors["0.w"])
    tensors["0.b"] = tensors["0.b"][:, : tensors["0.w"].shape[2]]
    tensors["1.w"] = tensors["1.w"][:, : tensors["0.w"].shape[2]]
    save_file(tensors, path / "model.safetensors")


def test_names_that_would_fill_memory_are_not_written_out(cli, model, data, monkeypatch):
    # Each of the 100,000 inputs would have a name of a million characters.
    change_category(model, name="x" * 1_000_000, levels=[str(i) for i in range(100_000)])
    monkeypatch.setattr(files, "available_memory", lambda: 2**33)
    assert "the names of its inputs: needs" in use(cli, model, "model.json")


@pytest.mark.parametrize("name", ["predict", "evaluate", "gradients"])
def test_parameters_too_large_for_float32(cli, model, data, name):
    tensors = load_file(model / "model.safetensors")
    larger = {n: a if n == ROWS else a * np.float32(1e25) for n, a in tensors.items()}
    save_file(larger, model / "model.safetensors")
    finished = cli(name, model, data)
    assert (finished.code, finished.out) == (2, "")
    assert "the model's parameters are too large for its" in finished.err


@pytest.fixture
def evil(model):
    """A table whose names and labels are made to rule terminals, and a model of it."""
    table = make_table()
    change(model, target=f"bought{EVIL}")
    change(model, classes={"negative": f"no{EVIL}", "positive": f"yes{EVIL}"})
    change_column(model, name=f"x{EVIL}")
    labels = pa.array([f"{label}{EVIL}" for label in table["bought"].to_pylist()])
    table = table.set_column(3, f"bought{EVIL}", labels)
    path = model.parent / "evil.csv"
    write_table(table.rename_columns([f"x{EVIL}", *table.column_names[1:]]), path)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("gradients", "MODEL", "DATA"),
        ("gradients", "MODEL", "DATA", "--json"),
        ("evaluate", "MODEL", "DATA", "--json"),
        ("audit", "DATA", "--target", f"bought{EVIL}"),
        ("audit", "DATA", "--target", f"bought{EVIL}", "--json"),
        ("audit", "DATA", "--target", f"{EVIL}"),
        ("train", "DATA", "--target", f"bought{EVIL}", "--out", "NEW", *SMALL),
        ("train", "DATA", "--target", "flag", "--out", "NEW", *SMALL),
        ("train", f"{EVIL}.csv", "--target", "x", "--out", "NEW"),
        (EVIL,),
    ],
)
def test_terminals_are_not_ruled(cli, model, evil, arguments):
    places = {"MODEL": model, "DATA": evil, "NEW": model.parent / "new"}
    finished = cli(*(places.get(argument, argument) for argument in arguments))
    assert finished.code in (0, 2)
    shown = finished.out + finished.err
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "owned" in shown


def test_predicted_labels_are_escaped_on_a_terminal_alone(cli, model, evil, monkeypatch):
    assert "\x1b]0;owned" in cli("predict", model, evil).out

    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    with Terminal(io.BytesIO(), encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        assert run_command(monkeypatch, "predict", model, evil) == 0
        terminal.flush()
        shown = terminal.buffer.getvalue().decode()
    assert "\\x1b]0;owned\\x07\\n<b>[red]\\u202e" in shown
    assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize("arguments", [("x" * 100_000,), ("predict", "m", "x" * 5000)])
def test_messages_have_an_end(cli, arguments):
    finished = cli(*arguments)
    assert (finished.code, finished.out) == (2, "")
    assert len(finished.err) < 1100


def test_a_data_file_whose_name_is_no_text(cli, data, tmp_path):
    path = data.rename(tmp_path / os.fsdecode(b"caf\xe9.csv"))
    out = tmp_path / "new"
    finished = cli("train", path, "--target", "bought", "--out", out, "--quiet", *SMALL)
    assert finished[:] == (0, "", "")
    assert r"caf\udce9.csv" in (out / "report.html").read_text("utf-8")
    predicted = tmp_path / os.fsdecode(b"\xe9.csv")
    assert cli("predict", out, path, "--out", predicted, "--quiet").code == 0
    assert read_table(predicted).num_rows == 120


def test_dates_that_no_calendar_has(cli, tmp_path, monkeypatch):
    table = make_table().append_column("day", pa.array([10**9 + i**2 for i in range(120)]))
    day = table["day"].cast(pa.int32()).cast(pa.date32())
    write_table(table.set_column(4, "day", day), tmp_path / "far.parquet")
    flags = ("--target", "bought", "--out", tmp_path / "new", *SMALL)
    finished = cli("train", tmp_path / "far.parquet", *flags)
    assert (finished.code, finished.err) == (0, "")
    model, data = tmp_path / "new", tmp_path / "far.parquet"
    finished = cli("explain", model, "--train", data, "--row", 3, "--json")
    assert json.loads(finished.out)["features"]["day"] == 10**9 + 9


def test_labels_beyond_64_bits_are_texts(cli, tmp_path):
    labels = [
        2**64 - 1 if label == "yes" else 5 for label in make_table()["bought"].to_pylist()
    ]
    table = make_table().set_column(3, "bought", pa.array(labels, pa.uint64()))
    write_table(table, tmp_path / "t.parquet")
    flags = ("--target", "bought", "--out", tmp_path / "new", "--quiet", *SMALL)
    assert cli("train", tmp_path / "t.parquet", *flags)[:] == (0, "", "")
    finished = cli("predict", tmp_path / "new", tmp_path / "t.parquet", "--json")
    assert set(json.loads(finished.out)["predicted"]) == {"5", str(2**64 - 1)}
    assert cli("evaluate", tmp_path / "new", tmp_path / "t.parquet").code == 0


@pytest.mark.parametrize("name", ["$x^{$", r"\frac{$", "a$b", EVIL])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_of_classes_are_no_formulas(tmp_path, name):
    norms, y = np.array([0.1, 0.2, 0.3]), np.array([0, 1, 1], np.int32)
    draw_norms(norms, y, (name, "other"), tmp_path / "norms.svg")
    assert (tmp_path / "norms.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: report.clear() or report.update(evaluation={}),
        lambda report: report.update(evaluation=3),
        lambda report: report.update(rows="many"),
        lambda report: report["evaluation"].update(rows=0),
        lambda report: report["evaluation"]["metrics"].update(roc_auc="</p><script>"),
        lambda report: report["evaluation"].update(roc=[["</svg>", "<script>"]]),
    ],
)
def test_reports_of_other_things(cli, model, data, damage):
    report = json.loads((model / "report.json").read_text())
    damage(report)
    (model / "report.json").write_text(json.dumps(report))
    before = (model / "report.html").read_bytes()
    error = use(cli, model, "report.json")
    assert f"{model}/report.json: not what jaxmlp train writes" in error
    assert (model / "report.html").read_bytes() == before


def test_a_search_of_very_many_networks(model):
    report = json.loads((model / "report.json").read_text())
    report["settings"]["recipe"] = "ensemble"
    like = {"dropout": 0.1, "input_dropout": 0.0, "learning_rate": 0.1, "val_loss": 1.0}
    report["search"] = [
        {**like, "features": f"f{i}", "hidden_sizes": [i]} for i in range(1, 30_000)
    ]
    report["best"] = report["search"][0]
    page = Page(render_report(report))
    assert "29,999 networks tried, too many to draw." in page.text
