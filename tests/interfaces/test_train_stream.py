"""`jaxmlp train --stream`, from the files to the model's folder."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from jaxmlp.data.stream import rows as stream_rows
from jaxmlp.data.stream import source, store
from jaxmlp.data.stream.parts import TEST
from jaxmlp.data.stream.reading import read_group
from jaxmlp.data.stream.source import find_files, open_source
from jaxmlp.data.stream.survey import survey
from jaxmlp.data.tables import write_table
from jaxmlp.interfaces.commands import signals, train
from jaxmlp.interfaces.model import load_model
from jaxmlp.interfaces.recipes import stream
from jaxmlp.training import search_stream
from tests.interfaces.conftest import make_table, run_command

N = 600
FLAGS = (
    "--target", "bought", "--stream", "--hidden", "4", "--epochs", "3", "--batch-size",
    "32", "--optimizer", "sgd", "--schedule", "constant", "--learning-rate", "0.1",
)  # fmt: skip
"""Flags of a run that takes no time; sgd, since optax's adam mixes types."""


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """The same rows in many forms; groups are as those of spooled CSV files."""
    folder, table = tmp_path_factory.mktemp("rows"), make_table(N)
    for name in ("one", "three", "other", "csv", "gz"):
        (folder / name).mkdir()
    pq.write_table(table, folder / "one" / "t.parquet", row_group_size=100)
    pq.write_table(table, folder / "other" / "t.parquet", row_group_size=170)
    for number, start in {2: 0, 10: 200, 11: 400}.items():
        path = folder / "three" / f"part-{number}.parquet"
        pq.write_table(table.slice(start, 200), path, row_group_size=100)
    write_table(table, folder / "csv" / "t.csv")
    with pa.output_stream(str(folder / "gz" / "t.csv.gz"), compression="gzip") as file:
        file.write((folder / "csv" / "t.csv").read_bytes())
    return folder


@contextmanager
def small_pieces():
    """Slices of 100 rows, and windows of 64: seven an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "SLICE_ROWS", 100)
        patch.setitem(search_stream.__kwdefaults__, "window_size", 64)
        yield


@pytest.fixture(autouse=True)
def _small_pieces(tmp_path):
    with small_pieces():
        yield
    assert not list(tmp_path.rglob(".jaxmlp-*"))
    assert not list(tmp_path.rglob("*.unfinished"))


@pytest.fixture
def bare(monkeypatch):
    """Without what the report's page shows, which takes most of the time."""
    monkeypatch.setattr(train, "evaluate", lambda *_: {})
    monkeypatch.setattr(train, "render_report", lambda _: "")


@pytest.fixture(scope="session")
def whole(rows, tmp_path_factory):
    """A model of all that the command does."""
    out = tmp_path_factory.mktemp("whole") / "model"
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(False), small_pieces():
        assert run_command(patch, "train", rows / "three", *FLAGS, "--out", out) == 0
    return out


def weights(out):
    return (out / "model.safetensors").read_bytes()


def report_of(out):
    return json.loads((out / "report.json").read_text())


def test_the_report_says_what_was_read(whole, rows):
    report, files = report_of(whole), list((rows / "three").iterdir())
    assert report["rows"] == sum(report["split"].values()) == N
    assert report["settings"]["recipe"] == "lecture"
    found = report["stream"]
    assert (found["files"], found["bytes"]) == (3, sum(p.stat().st_size for p in files))
    assert list(found["sample"].values()) == list(report["split"].values())
    yes = np.array(make_table(N)["bought"]) == "yes"
    assert sum(found["positives"]) == yes.sum()
    assert len(report["histories"][0]["train_loss"]) == 3
    assert "random rows" not in "".join(report["notes"])
    assert load_model(whole).origin is None
    names = {path.name for path in whole.iterdir()}
    assert names == {"model.safetensors", "model.json", "report.json", "report.html"}


def test_a_sample_is_said_to_be_one(rows, cli, tmp_path, monkeypatch, bare):
    monkeypatch.setattr(sys.modules[survey.__module__], "SAMPLE_ROWS", 40)
    out = tmp_path / "model"
    assert cli("train", rows / "one", *FLAGS, "--out", out, "--quiet").code == 0
    notes = "".join(report_of(out)["notes"])
    assert "random rows: 40 of the validation part, 40 of the test part" in notes
    # All of both parts, if not of the training part.
    monkeypatch.setattr(sys.modules[survey.__module__], "SAMPLE_ROWS", 150)
    assert cli("train", rows / "one", *FLAGS, "--out", out, "--quiet").code == 0
    assert "random rows" not in "".join(report_of(out)["notes"])


def test_the_page_says_that_no_single_row_is_kept(whole, cli, tmp_path):
    page = (whole / "report.html").read_text()
    assert "Parts, by a hash of each row" in page
    assert "the rows were read as a stream" in page
    finished = cli("report", whole, "--out", tmp_path / "page.html")
    assert (finished.code, finished.err) == (0, "")
    assert (tmp_path / "page.html").read_text() == page


def test_test_metrics_are_those_of_the_rows_that_were_never_trained_on(
    whole, rows, cli, tmp_path
):
    found = survey(open_source(find_files(rows / "three")), "bought")
    slices = [each for g in found.reading.source.groups for each in
              read_group(found.reading, g)]  # fmt: skip
    parts = np.concatenate([each.parts for each in slices])
    part = make_table(N).filter(pa.array(parts == TEST))
    write_table(part, tmp_path / "test.parquet")
    report = report_of(whole)["test"]
    evaluated = json.loads(cli("evaluate", whole, tmp_path / "test.parquet", "--json").out)
    assert evaluated["rows"] == part.num_rows
    for name in ("log_loss", "accuracy", "brier"):
        assert report[name] == pytest.approx(evaluated[name], rel=1e-12)  # sums' order
    # Counted in bins of logits 2^-14 of themselves wide.
    assert report["roc_auc"] == pytest.approx(evaluated["roc_auc"], abs=1e-3)
    predicted = cli("predict", whole, tmp_path / "test.parquet", "--stream").out
    assert predicted == cli("predict", whole, tmp_path / "test.parquet").out


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        ("three", ("--readers", "1")),
        ("three", ("--readers", "4")),
        ("three/part-*.parquet", ()),
        ("one/t.parquet", ()),  # the same groups, in one file
        ("csv/t.csv", ("--readers", "3")),
        ("gz", ()),
    ],
)
@pytest.mark.usefixtures("bare")
def test_readers_and_forms_of_the_files_change_no_bit(
    whole, rows, cli, tmp_path, data, flags
):
    """As long as the row groups are the same, whose order is drawn."""
    out = tmp_path / "model"
    finished = cli("train", rows / data, *FLAGS, *flags, "--out", out, "--quiet")
    assert finished == (0, "", "")
    assert weights(out) == weights(whole)
    assert (out / "model.json").read_bytes() == (whole / "model.json").read_bytes()


@pytest.mark.parametrize("n_kept", [6, 2, 0])
@pytest.mark.usefixtures("bare")
def test_each_row_is_prepared_once_where_there_is_room(
    whole, rows, cli, tmp_path, monkeypatch, n_kept
):
    """There are six groups, of about 70 training rows each."""
    read, n_bytes = [], 4 * (report_of(whole)["inputs"] + 1)
    room = round((n_kept + 0.5) * 70 * n_bytes)
    monkeypatch.setattr(store, "available_memory", lambda: 2 * room)
    monkeypatch.setattr(
        stream_rows, "read_group", lambda *group: read.append(1) or read_group(*group)
    )
    out = tmp_path / "model"
    assert cli("train", rows / "three", *FLAGS, "--out", out).code == 0
    epochs, test = [6, 6 - n_kept, 6 - n_kept], 6
    assert len(read) == sum(epochs) + test
    assert weights(out) == weights(whole)


@pytest.mark.usefixtures("bare")
def test_one_epoch_keeps_nothing(rows, cli, tmp_path, monkeypatch):
    monkeypatch.delattr(stream, "row_store")
    flags = (*FLAGS, "--epochs", "1", "--out", tmp_path / "model", "--quiet")
    assert cli("train", rows / "one", *flags) == (0, "", "")


@pytest.mark.usefixtures("bare")
def test_other_row_groups_change_the_order_alone(whole, rows, cli, tmp_path):
    out = tmp_path / "model"
    assert cli("train", rows / "other", *FLAGS, "--out", out).code == 0
    assert (out / "model.json").read_bytes() == (whole / "model.json").read_bytes()
    first, second = report_of(whole), report_of(out)
    assert (first["split"], first["stream"]["positives"]) == (
        second["split"],
        second["stream"]["positives"],
    )
    assert weights(out) != weights(whole)
    assert second["test"]["log_loss"] == pytest.approx(first["test"]["log_loss"], abs=0.05)


@pytest.mark.usefixtures("bare")
def test_a_search_and_its_ensemble(rows, cli, tmp_path):
    out = tmp_path / "model"
    finished = cli("train", rows / "one", *FLAGS, "--out", out, "--json", "--hidden", "0,3",
                   "--learning-rate", "0.03,0.3", "--ensemble", "3")  # fmt: skip
    report = json.loads(finished.out)
    assert len(report["search"]) == 4
    ranked = sorted(report["search"], key=lambda row: row["val_loss"])
    assert report["ensemble"] == ranked[:3]
    assert load_model(out).networks[0].b.shape[0] == 3


@pytest.mark.parametrize(
    ("flags", "check"),
    [
        (("--class-weight", "balanced"), lambda r: r["settings"]["class_weight"]),
        (("--threshold", "f1"), lambda r: r["threshold"] != 0.5),
        (("--cost-fp", "1", "--cost-fn", "9"), lambda r: r["threshold"] < 0.5),
        (("--positive", "no"), lambda r: r["positive"] == "no"),
        (("--column", "job=drop"), lambda r: r["features"] == 2),
        (("--column", "flag=categorical"), lambda r: r["inputs"] > 6),
        (("--split", "80/20/0"), lambda r: r["test"] is None and r["split"]["test"] == 0),
        (("--seed", "3"), lambda r: r["settings"]["seed"] == 3),
        (("--l2", "0.1"), lambda r: r["best"]["l2"] == 0.1),
        (("--dtype", "bfloat16"), lambda r: r["settings"]["dtype"] == "bfloat16"),
        (("--seeds", "2"), lambda r: len(r["search"]) == 2),
        (("--patience", "1"), lambda r: r["settings"]["patience"] == 1),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("bare")
def test_flags_do_what_they_say(whole, rows, cli, tmp_path, flags, check):
    out = tmp_path / "model"
    finished = cli("train", rows / "three", *FLAGS, *flags, "--out", out, "--json")
    assert (finished.code, finished.err) == (0, "")
    report = json.loads(finished.out)
    assert check(report)
    if flags[0] not in ("--threshold", "--cost-fp", "--seeds", "--patience"):
        assert weights(out) != weights(whole)


@pytest.mark.usefixtures("bare")
def test_float64(rows, cli, tmp_path):
    out = tmp_path / "model"
    flags = ("--dtype", "float64", "--out", out, "--quiet")
    assert cli("train", rows / "one", *FLAGS, *flags) == (0, "", "")
    arrays = load_file(out / "model.safetensors").values()
    assert {array.dtype for array in arrays} == {np.dtype("float64")}


@pytest.mark.usefixtures("bare")
@jax.numpy_dtype_promotion("standard")  # optax's adam mixes types itself
def test_without_flags_one_network_trains_with_adam(rows, cli, tmp_path, monkeypatch):
    monkeypatch.setitem(search_stream.__kwdefaults__, "window_size", 256)
    out = tmp_path / "model"
    flags = ("--target", "bought", "--stream", "--hidden", "3", "--json", "--out", out)
    report = json.loads(cli("train", rows / "one", *flags).out)
    settings = report["settings"]
    assert (settings["optimizer"], settings["schedule"]) == ("adam", "cosine")
    assert (settings["n_epochs"], settings["batch_size"]) == (5, 256)
    assert [row["learning_rate"] for row in report["search"]] == [0.001]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--recipe", "ensemble"), "--recipe: streamed training goes by the lecture's"),
        (("--budget", "10"), "--budget: the lecture's recipe has no limit of time"),
        (("--dp-epsilon", "3"), "--stream: private training needs its rows in memory"),
        (("--optimizer", "lbfgs"), "--optimizer: L-BFGS takes the whole training part"),
        (("--readers", "0"), "--readers"),
        (("--resume",), "--resume: needs --checkpoint"),
        (("--checkpoint-every", "5"), "--checkpoint-every: needs --checkpoint"),
        (("--checkpoint", "c", "--checkpoint-every", "-1"), "--checkpoint-every"),
        (("--checkpoint", "m"), "--checkpoint: m: is in --out, which is replaced"),
        (("--checkpoint", "m/c"), "--checkpoint: m/c: is in --out"),
        (("--checkpoint", "file"), "--checkpoint: file: cannot be made"),
        (
            ("--coordinator", "host", "--num-processes", "2", "--process-id", "0"),
            "--coordinator: 'host' is not HOST:PORT",
        ),
        (("--ensemble", "2"), "--ensemble 2: the search has 1 networks"),
        (("--column", "x=date"), "column 'x'"),
        (("--column", "absent=drop"), "column 'absent' is not in the table"),
        (("--target", "absent", "--checkpoint", "new/c"), "no target column 'absent'"),
        (("--target", "absent"), "no target column 'absent'"),
        (("--positive", "maybe"), "--positive 'maybe' is not a value of target column"),
        (("--split", "99.8/0.1/0.1"), "give it a greater share"),
        (("--split", "70/0/30"), "must be greater than 0"),
        (("--batch-size", "300000"), "--batch-size: with --stream at most 262144"),
    ],
)
def test_what_does_not_go_is_told_in_one_line(
    rows, cli, tmp_path, monkeypatch, flags, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    finished = cli("train", rows / "three", *FLAGS, "--out", "m", *flags)
    assert finished.code == 2
    assert finished.err.startswith("jaxmlp: error: ")
    assert finished.err.count("\n") == 1
    assert message in finished.err.replace("Invalid value for ", "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stream",), "--stream: needs DATA"),
        (("three", "--stream"), "--target: needed with DATA"),
        (("absent-*.parquet", "--stream", "--target", "y"), "no file matches"),
        (("three", "--target", "bought"), "is a folder"),
        (("one/t.parquet", "--target", "bought", "--checkpoint", "c"), "needs --stream"),
        (("one/t.parquet", "--target", "bought", "--resume"), "needs --checkpoint"),
    ],
)
def test_what_is_needed(rows, cli, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(rows)
    finished = cli("train", *arguments, "--out", tmp_path / "m")
    assert finished.code == 2
    assert message in finished.err.replace("Invalid value for ", "")
    assert finished.err.count("\n") == 1
    assert not (rows / "c").exists()


DIVERGED = (
    "jaxmlp: note: η = 1e+30, q = {}: the loss became infinite or NaN in epoch 1; the "
    "search went on without it\n"
)


@pytest.mark.usefixtures("bare")
def test_a_step_size_that_diverges_is_told_and_the_search_goes_on(rows, cli, tmp_path):
    out = tmp_path / "model"
    flags = ("--learning-rate", "0.1,1e30", "--hidden", "4,2x2", "--ensemble", "4")
    finished = cli("train", rows / "one", *FLAGS, *flags, "--out", out)
    assert finished.code == 0
    notes = finished.err.splitlines(keepends=True)
    assert notes[:2] == [DIVERGED.format("4"), DIVERGED.format("2x2")]
    assert "the ensemble has 2 networks, not 4" in notes[2]
    assert finished.out.count("diverged") == 2
    report = report_of(out)
    assert [row["diverged"] for row in report["search"]] == [None, 1, None, 1]
    assert "η = 1e+30" in report["notes"][0]


def test_so_it_is_in_memory(rows, cli, tmp_path):
    out = tmp_path / "model"
    memory = [flag for flag in FLAGS if flag != "--stream"]
    finished = cli("train", rows / "one" / "t.parquet", *memory, "--recipe", "lecture",
                   "--learning-rate", "0.1,1e30", "--out", out)  # fmt: skip
    assert (finished.code, finished.err) == (0, DIVERGED.format("4"))
    assert report_of(out)["notes"] == [DIVERGED.format("4")[14:-1]]


def test_where_all_diverge_there_is_no_model(rows, cli, tmp_path):
    flags = ("--learning-rate", "1e30", "--out", tmp_path / "m", "--quiet")
    finished = cli("train", rows / "one", *FLAGS, *flags)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.count("\n") == 1
    assert "even the smallest learning rate, 1e+30" in finished.err
    assert not (tmp_path / "m").exists()


class Run:
    """A run with checkpoints that is stopped by a signal after some windows."""

    def __init__(self, cli, monkeypatch, rows, folder):
        self.cli, self.monkeypatch, self.rows = cli, monkeypatch, rows
        self.folder, self.out = folder / "checkpoints", folder / "model"

    def __call__(self, *flags, data="three", resume=True):
        keeping = ("--checkpoint", self.folder, "--checkpoint-every", "0")
        keeping += ("--resume",) if resume else ()
        return self.cli(
            "train", self.rows / data, *FLAGS, *flags, *keeping, "--out", self.out
        )

    def stop(self, number, n_windows, *flags):
        """Sends itself a signal while a window is in training."""
        seen, ask = [], signals.Stop.__call__

        def asked(stop):
            seen.append(1)
            if len(seen) == n_windows:
                os.kill(os.getpid(), number)
            return ask(stop)

        with self.monkeypatch.context() as patch:
            patch.setattr(signals.Stop, "__call__", asked)
            return self(*flags, "--quiet")

    @property
    def names(self):
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def run(cli, monkeypatch, rows, tmp_path, bare):
    return Run(cli, monkeypatch, rows, tmp_path)


@pytest.fixture(scope="session")
def stopped(rows, tmp_path_factory):
    """Checkpoints of the fourth and the fifth of 21 windows."""
    folder, seen = tmp_path_factory.mktemp("stopped"), []
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(False), small_pieces():
        take = lambda _: seen.append(1) or len(seen) == 5
        patch.setattr(signals.Stop, "__call__", take)
        flags = ("--checkpoint", folder / "checkpoints", "--checkpoint-every", "0")
        flags += ("--out", folder / "model", "--quiet")
        code = run_command(patch, "train", rows / "three", *FLAGS, *flags)
        assert code == signals.TERMINATED  # no signal of its own: another process was told
    return folder / "checkpoints"


@pytest.fixture
def kept(run, stopped):
    """A run that has checkpoints to go on from."""
    shutil.copytree(stopped, run.folder)
    return run


@pytest.mark.parametrize(
    ("number", "code", "word", "n_windows"),
    [(signal.SIGINT, 130, "interrupted", 3), (signal.SIGTERM, 143, "terminated", 8)],
)
def test_a_signal_saves_and_leaves_and_the_same_bits_come_out(
    run, whole, number, code, word, n_windows
):
    stopped = run.stop(number, n_windows)
    epoch = n_windows // 7 + 1
    assert stopped == (
        code,
        "",
        f"jaxmlp: {word}; stopped in epoch {epoch}; a checkpoint is in {run.folder}; the "
        "same command with --resume goes on\n",
    )
    assert not run.out.exists()
    resumed = run()
    assert resumed.code == 0
    assert f"jaxmlp: note: going on from {run.folder / run.names[-1]}"[:50] in resumed.err
    assert f", epoch {epoch}, window {n_windows % 7 + 1}\n" in resumed.err
    assert weights(run.out) == weights(whole)
    again = run("--readers", "5", "--threshold", "f1")  # all is trained; the rest is anew
    assert again.code == 0
    assert weights(run.out) == weights(whole)
    assert report_of(run.out)["threshold"] != 0.5


def test_resume_begins_where_there_is_nothing(run, whole):
    assert run("--quiet") == (0, "", "")
    assert weights(run.out) == weights(whole)
    assert len(run.names) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--learning-rate", "0.2"), "its learning_rates is [0.1], not [0.2]"),
        (("--hidden", "5"), "its hidden_sizes is [[4]], not [[5]]"),
        (("--epochs", "4"), "its n_epochs is 3, not 4"),
        (("--batch-size", "16"), "its batch_size is 32, not 16"),
        (("--seed", "1"), "its seed is 0, not 1"),
        (("--l2", "0.1"), "its l2 is [0.0], not [0.1]"),
        (("--class-weight", "balanced"), "its class_weight is None, not 'balanced'"),
        (("--column", "job=drop"), "its columns is {}, not {'job': 'drop'}"),
        (("--positive", "no"), "its positive is None, not 'no'"),
        (("--dtype", "bfloat16"), "its dtype is 'float32', not 'bfloat16'"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_another_run_s_checkpoint_is_refused(kept, flags, message):
    before = kept.names
    refused = kept("--quiet", *flags)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.count("\n") == 1
    assert "belongs to another run: " in refused.err
    assert message in refused.err
    assert kept.names == before


def test_other_rows_are_refused(kept):
    refused = kept("--quiet", data="other")  # the same rows, in groups of another size
    assert refused.code == 2
    assert "belongs to another run: its data is" in refused.err


def test_a_signal_after_training_says_what_is_kept(run, monkeypatch):
    def evaluate(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(train, "evaluate", evaluate)
    finished = run("--quiet")
    assert (finished.code, finished.err) == (
        143,
        f"jaxmlp: terminated; no model was written; a checkpoint is in {run.folder}; the "
        "same command with --resume goes on\n",
    )
    assert not run.out.exists()


@pytest.mark.parametrize("keeping", [(), ("--checkpoint", "c")])
def test_what_is_done_is_no_failure(rows, cli, tmp_path, monkeypatch, bare, keeping):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(
        train, "end_well", lambda: signals.end_well() or os.kill(os.getpid(), signal.SIGINT)
    )
    finished = cli("train", rows / "one", *FLAGS, *keeping, "--out", "m", "--quiet")
    assert (finished.code, finished.err) == (0, "jaxmlp: interrupted; all was done\n")
    assert (tmp_path / "m" / "model.json").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_folder_of_the_model_need_not_be_there(rows, cli, tmp_path, bare):
    out = tmp_path / "new" / "folder" / "model"
    finished = cli("train", rows / "csv", *FLAGS, "--out", out, "--quiet")
    assert (finished.code, finished.err) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"new"}


def test_checkpoints_are_not_written_over_without_resume(kept):
    refused = kept(resume=False)
    assert refused.code == 2
    assert "holds checkpoints of an earlier run; give another folder, or" in refused.err
    assert refused.err.endswith("go on from them with --resume\n")


def test_a_damaged_checkpoint_is_passed_over_with_a_note(kept, whole):
    last = kept.folder / kept.names[-1]
    os.truncate(last / "checkpoint.json", 100)
    resumed = kept()
    notes = resumed.err.splitlines()
    assert resumed.code == 0
    assert notes[0].startswith(f"jaxmlp: note: {last}: cannot be used: ")
    assert notes[1].startswith("jaxmlp: note: going on from ")
    assert weights(kept.out) == weights(whole)


def test_where_no_checkpoint_is_whole_the_run_does_not_begin_anew(kept):
    for name in kept.names:
        os.truncate(kept.folder / name / "checkpoint.json", 100)
    refused = kept("--quiet")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "no checkpoint can be read" in refused.err


def test_a_full_disk_leaves_the_last_checkpoint(run):
    import resource

    run.stop(signal.SIGTERM, 3, "--hidden", "400")
    before, limit = run.names, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))  # bytes a file
    try:
        failed = run("--quiet", "--hidden", "400")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (failed.code, failed.out) == (2, "")
    assert failed.err.count("\n") == 1
    assert "cannot be written: File too large" in failed.err
    assert run.names == before
    assert run("--quiet", "--hidden", "400").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(run):
    run.folder.mkdir(mode=0o500)
    refused = run()
    assert refused.code == 2
    assert f"{run.folder}: cannot be written" in refused.err


@pytest.mark.parametrize("change", ["replaced", "gone"])
def test_a_file_that_changes_mid_run(run, rows, tmp_path, monkeypatch, change):
    run.rows = tmp_path
    shutil.copytree(rows / "three", tmp_path / "three")
    path = tmp_path / "three" / "part-10.parquet"

    def spoil(now):
        if change == "gone":
            path.unlink()
        else:
            pq.write_table(make_table(200, seed=1), path)

    def spoiled(*arguments, callback, **options):
        return search_stream(*arguments, callback=spoil, **options)

    with monkeypatch.context() as patch:
        patch.setattr(stream, "search_stream", spoiled)
        failed = run("--quiet")
    assert (failed.code, failed.out, failed.err.count("\n")) == (2, "", 1)
    assert failed.err.startswith(f"jaxmlp: error: {path}: ")
    assert ("has changed since the run began" in failed.err) == (change == "replaced")
    before = run.names
    assert len(before) == 2
    assert run("--quiet").code == 2  # other rows now, or none
    assert run.names == before
    shutil.copy(rows / "three" / path.name, path)
    assert run("--quiet") == (0, "", "")


def start(folder, *flags):
    """The command in a process of its own, with windows that hold an epoch."""
    command = [sys.executable, "-m", "jaxmlp", "train", *map(str, flags)]
    environment = os.environ | {
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    }
    with (folder / "out.txt").open("wb") as out:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )


def wait_for(is_there, process):
    end = time.monotonic() + 120
    while not is_there() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    assert is_there(), process.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_signals_from_outside(rows, tmp_path):
    flags = (rows / "three", *FLAGS, "--epochs", "30", "--split", "60/40/0")
    keeping = ("--checkpoint", "c", "--checkpoint-every", "0", "--resume")
    running = start(tmp_path, *flags, *keeping, "--out", "m")
    wait_for(lambda: list(tmp_path.glob("c/[0-9]*")), running)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate()
    assert running.returncode == 143
    assert said.startswith("jaxmlp: terminated; stopped in epoch ")
    assert said.endswith("a checkpoint is in c; the same command with --resume goes on\n")
    assert not (tmp_path / "m").exists()

    resumed = start(tmp_path, *flags, *keeping, "--out", "m")
    plain = start(tmp_path, *flags, "--out", "plain")
    wait_for(lambda: "read as" in (tmp_path / "out.txt").read_text(), plain)
    for process in (resumed, plain):
        process.communicate()
        assert process.returncode == 0
    assert weights(tmp_path / "m") == weights(tmp_path / "plain")

    interrupted = start(tmp_path, *flags, "--epochs", "100000", "--out", "never")
    wait_for(lambda: "read as" in (tmp_path / "out.txt").read_text(), interrupted)
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.communicate()[1] == "jaxmlp: interrupted; nothing was written\n"
    assert interrupted.returncode == 130
    assert not (tmp_path / "never").exists()


def test_the_command_is_kept(whole):
    words = shlex.split(report_of(whole)["command"])
    assert words[:2] == ["jaxmlp", "train"]
    assert "--stream" in words
