import json
import subprocess
import sys

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import log_loss

import jaxmlp
from jaxmlp.data.tables import read_table, write_table
from jaxmlp.interfaces.model import load_model
from jaxmlp.interfaces.recipes.prepare import prepare
from jaxmlp.interfaces.recipes.recipe import LectureRecipe
from jaxmlp.training import Configuration, SearchProgress
from tests.interfaces.conftest import SMALL, make_table


def test_json_says_everything(cli, data, tmp_path):
    out = tmp_path / "model"
    finished = cli("train", data, "--target", "bought", "--out", out, "--json",
                   "--recipe", "lecture", "--learning-rate", "0.03,0.3",
                   "--hidden", "0,3,4x2", "--epochs", "6")  # fmt: skip
    assert (finished.code, finished.err) == (0, "")
    report = json.loads(finished.out)
    assert report["rows"] == 120
    assert report["features"] == 3
    assert report["split"] == {"train": 84, "validation": 18, "test": 18}
    assert (report["positive"], report["negative"]) == ("yes", "no")
    rows = [(row["learning_rate"], row["hidden_sizes"]) for row in report["search"]]
    widths = ([], [3], [4, 2])
    assert rows == [(rate, width) for width in widths for rate in (0.03, 0.3)]
    best = min(report["search"], key=lambda row: row["val_loss"])
    assert report["best"] == best
    assert report["ensemble"] == [best]
    assert report["validation"]["log_loss"] == pytest.approx(best["val_loss"], rel=1e-5)
    for part in ("validation", "test"):
        assert report[part].keys() == {"log_loss", "roc_auc", "accuracy", "brier"}
    assert report["seconds"].keys() == {"compile", "run", "total"}
    assert all(seconds > 0 for seconds in report["seconds"].values())
    assert report["device"].startswith("cpu")
    assert {"jaxmlp", "jax", "jaxlib", "python"} <= report["versions"].keys()
    assert (report["data"], report["out"]) == (str(data), str(out))
    asked = report["settings"]
    assert (asked["learning_rates"], asked["batch_size"]) == ([0.03, 0.3], 32)
    assert json.loads((out / "report.json").read_text()) == report
    files = {path.name for path in out.iterdir()}
    assert files == {"model.safetensors", "model.json", "report.json", "report.html"}


def test_test_metrics_are_of_the_test_rows(cli, data, tmp_path):
    out = tmp_path / "model"
    finished = cli("train", data, "--target", "bought", "--out", out, "--json", *SMALL)
    report = json.loads(finished.out)
    table = read_table(data)
    split_key, _ = jax.random.split(jax.random.key(0))
    split = prepare(split_key, table, LectureRecipe(target="bought")).split
    for name, rows in (("validation", split.val), ("test", split.test)):
        write_table(table.take(pa.array(rows)), tmp_path / "part.csv")
        evaluated = json.loads(cli("evaluate", out, tmp_path / "part.csv", "--json").out)
        for metric, value in report[name].items():
            assert evaluated[metric] == pytest.approx(value, rel=1e-6)


def test_people_see_table_choice_and_metrics(cli, data, tmp_path):
    finished = cli("train", data, "--target", "bought", "--out", tmp_path / "m", *SMALL)
    assert finished.code == 0
    for words in ("120 rows", "positive class: yes", "training 84", "chosen", "η = 0.1",
                  "q = 4", "ROC AUC", "accuracy", "test"):  # fmt: skip
        assert words in finished.out


def test_quiet_is_silent(cli, data, tmp_path):
    arguments = ("train", data, "--target", "bought", "--out", tmp_path / "m", "--quiet")
    assert cli(*arguments, *SMALL)[:] == (0, "", "")


def test_same_seed_same_model_other_seed_other_model(cli, data, tmp_path):
    def weights(name, seed):
        out = tmp_path / name
        cli("train", data, "--target", "bought", "--out", out, "--seed", seed, *SMALL)
        return (out / "model.safetensors").read_bytes()

    assert weights("a", 1) == weights("b", 1) != weights("c", 2)


def test_built_in_table_needs_no_flag(cli, tmp_path):
    finished = cli("train", "--out", tmp_path / "m", "--json", "--hidden", "0",
                   "--recipe", "lecture", "--learning-rate", "0.1",
                   "--epochs", "20")  # fmt: skip
    report = json.loads(finished.out)
    assert (report["rows"], report["features"]) == (569, 30)
    assert report["positive"] == "malignant"
    assert report["test"]["accuracy"] > 0.9


def test_split_without_test_part(cli, data, tmp_path):
    out = tmp_path / "m"
    finished = cli("train", data, "--target", "bought", "--out", out, "--json",
                   "--split", "85/15/0", *SMALL)  # fmt: skip
    report = json.loads(finished.out)
    assert report["split"] == {"train": 102, "validation": 18, "test": 0}
    assert report["test"] is None
    shown = cli("train", data, "--target", "bought", "--out", out,
                "--split", "85/15/0", *SMALL).out  # fmt: skip
    assert "│ validation" in shown
    assert "│ test" not in shown


@pytest.mark.parametrize("positive", ["no", "yes"])
def test_positive_is_chosen_and_reported(cli, data, tmp_path, positive):
    out = tmp_path / "m"
    finished = cli("train", data, "--target", "bought", "--out", out, "--json",
                   "--positive", positive, *SMALL)  # fmt: skip
    assert json.loads(finished.out)["positive"] == positive
    probs, labels = load_model(out).predict(read_table(data))
    assert [label == positive for label in labels] == (probs >= 0.5).tolist()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov"])
@pytest.mark.parametrize("init", ["he", "xavier"])
def test_optimizers_and_inits(cli, data, tmp_path, optimizer, init):
    finished = cli("train", data, "--target", "bought", "--out", tmp_path / "m", "--json",
                   "--recipe", "lecture", "--optimizer", optimizer, "--init", init,
                   "--hidden", "3", "--epochs", "2", "--batch-size", "50",
                   "--patience", "0")  # fmt: skip
    report = json.loads(finished.out)
    assert (report["settings"]["optimizer"], report["settings"]["init"]) == (
        optimizer,
        init,
    )
    assert len(report["search"]) == 4


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@jax.numpy_dtype_promotion("standard")  # optax's Adam mixes types itself
def test_adam(cli, data, tmp_path, optimizer):
    finished = cli("train", data, "--target", "bought", "--out", tmp_path / "m", "--json",
                   "--recipe", "lecture", "--optimizer", optimizer, "--hidden", "3",
                   "--epochs", "2")  # fmt: skip
    assert json.loads(finished.out)["settings"]["optimizer"] == optimizer


def test_useless_columns_are_named_on_standard_error(cli, tmp_path):
    table = make_table().append_column("id", pa.array(np.arange(120)))
    write_table(table, tmp_path / "t.parquet")
    finished = cli("train", tmp_path / "t.parquet", "--target", "bought",
                   "--out", tmp_path / "m", *SMALL)  # fmt: skip
    assert finished.err == "jaxmlp: note: column 'id' is not used: it numbers the rows\n"


def write(path, **columns):
    write_table(pa.table(columns), path)
    return path


X = np.linspace(-1, 1, 40)
Y = np.arange(40) % 2


def bad_files(tmp_path):
    """Arguments of `train` that cannot be met, and what the error says."""
    (tmp_path / "empty.csv").touch()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    infinite = np.where(np.arange(40) == 7, np.inf, X)
    missing = pa.array([None, *Y[1:].tolist()])
    pq.write_table(pa.table({"x": infinite, "y": Y}), tmp_path / "inf.parquet")
    good = write(tmp_path / "good.csv", x=X, y=Y)
    return {
        "missing file": (("absent.csv", "--target", "y"), "absent.csv: no such file"),
        "empty file": ((tmp_path / "empty.csv", "--target", "y"), "the file is empty"),
        "unreadable": (
            (tmp_path / "broken.parquet", "--target", "y"),
            "not a readable Parquet file",
        ),
        "no such target": (
            (good, "--target", "yy"),
            "did you mean 'y'? (the columns are: x, y)",
        ),
        "no target given": ((good,), "--target"),
        "one value": (
            (write(tmp_path / "one.csv", x=X, y=np.ones(40, int)), "--target", "y"),
            "has 1 distinct value (1); two are needed",
        ),
        "three values": (
            (write(tmp_path / "three.csv", x=X, y=np.arange(40) % 3), "--target", "y"),
            "has 3 distinct values (0, 1, 2); two are needed",
        ),
        "labels missing": (
            (write(tmp_path / "null.csv", x=X, y=missing), "--target", "y"),
            "row 0: the label is missing",
        ),
        "one class in a part": (
            (write(tmp_path / "rare.csv", x=X, y=np.arange(40) < 2), "--target", "y"),
            "both classes (38 rows of 'False', 2 rows of 'True')",
        ),
        "too rare to split": (
            (write(tmp_path / "single.csv", x=X, y=np.arange(40) < 1), "--target", "y"),
            "label True has 1 of 40 rows",
        ),
        "infinite": (
            (tmp_path / "inf.parquet", "--target", "y"),
            "column 'x', row 7: the value is infinite",
        ),
        "no usable feature": (
            (write(tmp_path / "useless.csv", x=np.ones(40), y=Y), "--target", "y"),
            "no usable feature column: column 'x' is not used: it is constant",
        ),
        "only the target": (
            (write(tmp_path / "bare.csv", y=Y), "--target", "y"),
            "no usable feature column",
        ),
        "bad positive": (
            (good, "--target", "y", "--positive", "maybe"),
            "--positive 'maybe' is not a value",
        ),
        "all diverge": (
            (
                good,
                "--target",
                "y",
                "--recipe",
                "lecture",
                "--learning-rate",
                "1e38",
                "--hidden",
                "4",
            ),
            "give a smaller --learning-rate",
        ),
    }


BAD_FILES = [
    "missing file",
    "empty file",
    "unreadable",
    "no such target",
    "no target given",
    "one value",
    "three values",
    "labels missing",
    "one class in a part",
    "too rare to split",
    "infinite",
    "no usable feature",
    "only the target",
    "bad positive",
    "all diverge",
]


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_tables_end_in_one_line_and_write_nothing(cli, tmp_path, name):
    arguments, message = bad_files(tmp_path)[name]
    before = sorted(tmp_path.rglob("*"))
    finished = cli("train", *arguments, "--out", tmp_path / "model")
    assert finished.code == 2
    # Only a table that can be read gets as far as to be shown.
    assert ("read as" in finished.out) == (name == "all diverge")
    assert finished.err.startswith("jaxmlp: error: ")
    assert finished.err.count("\n") == 1
    assert message in finished.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--split", "70/30"), "three shares"),
        (("--split", "a/b/c"), "three shares"),
        (("--split", "70/20/20"), "that sum to 100"),
        (("--split", "0.7/0.15/0.15"), "not per cent"),
        (("--split", "70/0/30"), "must be greater than 0"),
        (("--split", "nan/15/15"), "that sum to 100"),
        (
            ("--recipe", "lecture", "--learning-rate", "fast"),
            "positive numbers such as 0.01,0.1",
        ),
        (("--recipe", "lecture", "--learning-rate", "0.1,-1"), "positive numbers"),
        (("--recipe", "lecture", "--learning-rate", "inf"), "positive numbers"),
        (("--hidden", "four"), "widths such as 16,64"),
        (("--hidden", "-3"), "widths such as 16,64"),
        (("--hidden", "3x0"), "widths such as 16,64"),
        (("--epochs", "0"), "--epochs"),
        (("--epochs", "many"), "--epochs"),
        (("--epochs", str(10**14)), "--epochs"),
        (("--patience", str(3 * 10**9)), "--patience"),
        (("--hidden", str(10**22)), "widths such as 16,64"),
        (("--out", "m" * 300), "File name too long"),
        (("--batch-size", "0"), "--batch-size"),
        (("--optimizer", "adamax"), "--optimizer"),
        (("--init", "zero"), "--init"),
        (("--seed", "-1"), "--seed"),
        (("--seed", str(2**70)), "--seed"),
        (("--patience", "-1"), "--patience"),
        (("--rate", "0.1"), "No such option"),
    ],
)
def test_bad_flags_end_in_one_line(cli, data, tmp_path, flags, message):
    out = () if "--out" in flags else ("--out", tmp_path / "m")
    finished = cli("train", data, "--target", "bought", *out, *flags)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("jaxmlp: error: ")
    assert finished.err.count("\n") == 1
    assert message in finished.err
    assert not (tmp_path / "m").exists()


def test_folders_of_others_are_not_touched(cli, data, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    for out, message in [
        (tmp_path / "photos", "holds other things than a model"),
        (data, "is a file"),
        (data / "model", "cannot be written"),
        (".", "is the working folder"),
    ]:
        finished = cli("train", data, "--target", "bought", "--out", out, *SMALL)
        assert finished.code == 2
        assert message in finished.err
    assert (tmp_path / "photos" / "cat.png").read_bytes() == b"cat"


def test_help_shows_every_command_with_an_example(cli):
    assert cli("--help").code == 0
    for command in ("train", "predict", "evaluate"):
        finished = cli(command, "--help")
        assert finished.code == 0
        assert f"Example: jaxmlp {command}" in finished.out


def test_unknown_command(cli):
    finished = cli("trian")
    assert finished.code == 2
    assert finished.err == "jaxmlp: error: No such command 'trian'. Did you mean 'train'?\n"


def test_without_arguments_the_help_is_shown(cli):
    finished = cli()
    assert (finished.code, finished.err) == (0, "")
    assert "train" in finished.out


def test_version(cli):
    assert cli("--version")[:] == (0, f"jaxmlp {jaxmlp.__version__}\n", "")


def test_markup_in_names_is_shown_as_it_is(cli, tmp_path):
    table = make_table()
    labels = ["[b]yes" if label == "yes" else "no" for label in table["bought"].to_pylist()]
    write_table(table.set_column(3, "bought", pa.array(labels)), tmp_path / "t.csv")
    finished = cli("train", tmp_path / "t.csv", "--target", "bought",
                   "--positive", "[b]yes", "--out", tmp_path / "m[x]", *SMALL)  # fmt: skip
    assert finished.code == 0
    assert "positive class: [b]yes" in finished.out
    assert "m[x]" in finished.out


def test_file_is_named_before_what_is_wrong_with_it(cli, tmp_path):
    path = write(tmp_path / "one.csv", x=X, y=np.ones(40, int))
    finished = cli("train", path, "--target", "y", "--out", tmp_path / "m")
    assert finished.err.startswith(f"jaxmlp: error: {path}: target column 'y' has 1")


def test_progress_shows_the_lowest_validation_loss(monkeypatch, capsys):
    from rich.console import Console

    from jaxmlp.interfaces.commands import console

    monkeypatch.setattr(
        console, "Console", lambda **options: Console(force_terminal=True, **options)
    )
    row = Configuration(0.1, (8,), 0.0, 0, 5, 0.2, 0.25)
    table = [row, row._replace(val_loss=0.7)]
    with console.progress(quiet=False) as callback:
        callback(SearchProgress(4, 40, []))
        callback(SearchProgress(20, 40, table))
    shown = capsys.readouterr().err
    assert "validation loss 0.2500" in shown
    assert "epoch 20/40" in shown
    with console.progress(quiet=True) as callback:
        assert callback is None


def test_ensemble_of_seeds_and_penalties(cli, data, tmp_path):
    out = tmp_path / "model"
    finished = cli("train", data, "--target", "bought", "--out", out, "--json",
                   "--hidden", "0,3", "--recipe", "lecture", "--learning-rate", "0.1",
                   "--epochs", "5", "--l2", "0,0.01", "--seeds", "3",
                   "--ensemble", "4")  # fmt: skip
    assert (finished.code, finished.err) == (0, "")
    report = json.loads(finished.out)
    assert len(report["search"]) == 12
    ranked = sorted(report["search"], key=lambda row: row["val_loss"])
    assert report["ensemble"] == ranked[:4]
    assert report["best"] == ranked[0]
    networks = load_model(out).networks
    assert [layer.w.shape[0] for layer in networks] == [4] * len(networks)
    predicted = json.loads(cli("predict", out, data, "--json").out)
    assert len(predicted["probability"]) == 120
    evaluated = json.loads(cli("evaluate", out, data, "--json").out)
    y = np.array(read_table(data)["bought"].to_pylist()) == "yes"
    p = np.array(predicted["probability"])
    assert evaluated["log_loss"] == pytest.approx(log_loss(y, p), rel=1e-5)


def test_diverged_networks_are_left_out_of_the_ensemble(cli, data, tmp_path):
    out = tmp_path / "model"
    finished = cli("train", data, "--target", "bought", "--out", out, "--hidden", "3",
                   "--recipe", "lecture", "--learning-rate", "0.1,1e30", "--epochs", "2",
                   "--ensemble", "2")  # fmt: skip
    assert finished.code == 0
    assert "the ensemble has 1 networks, not 2" in finished.err
    report = json.loads((out / "report.json").read_text())
    assert [row["learning_rate"] for row in report["ensemble"]] == [0.1]
    assert {layer.w.shape[0] for layer in load_model(out).networks} == {1}


def test_screen_shows_the_penalties_and_the_ensemble(cli, data, tmp_path):
    finished = cli("train", data, "--target", "bought", "--out", tmp_path / "m",
                   "--hidden", "3", "--recipe", "lecture", "--learning-rate", "0.1",
                   "--epochs", "2", "--l2", "0,0.01", "--seeds", "15",
                   "--ensemble", "2")  # fmt: skip
    assert finished.code == 0
    assert "λ" in finished.out
    assert "the best 24 of 30 networks" in finished.out
    assert "probabilities of the 2 networks" in finished.out


@pytest.mark.parametrize(
    "flags",
    [
        ("--schedule", "cosine"),
        ("--clip-norm", "0.1"),
        ("--class-weight", "balanced"),
        ("--dtype", "bfloat16"),
        ("--l2", "0.1"),
        ("--batch-size", "7"),
        ("--optimizer", "nesterov"),
    ],
)
@jax.numpy_dtype_promotion("standard")  # optax mixes types itself
def test_flags_change_what_is_learned(cli, data, tmp_path, flags):
    out = tmp_path / "model"
    common = ("--target", "bought", "--out", out, "--json", "--hidden", "3",
              "--recipe", "lecture", "--learning-rate", "0.1", "--epochs", "3")  # fmt: skip
    plain, changed = (
        json.loads(cli("train", data, *common, *extra).out) for extra in ((), flags)
    )
    assert changed["best"]["val_loss"] != plain["best"]["val_loss"]
    assert abs(changed["best"]["val_loss"] - plain["best"]["val_loss"]) < 0.3
    assert changed["settings"][flags[0].removeprefix("--").replace("-", "_")] is not None


def test_float64_and_lbfgs(tmp_path):
    # In a process of its own, because the command switches 64 bits on for all of it.
    command = [sys.executable, "-m", "jaxmlp", "train", "--out", "m", "--json",
               "--recipe", "lecture", "--optimizer", "lbfgs", "--dtype", "float64",
               "--hidden", "0", "--l2", "0.01", "--epochs", "20"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["test"]["roc_auc"] > 0.98
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    del tensors["training.rows"]
    assert {array.dtype for array in tensors.values()} == {np.dtype("float64")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--ensemble", "9"), "--ensemble 9: the search has 2 networks"),
        (
            ("--ensemble", "2", "--recipe", "lecture", "--learning-rate", "1,1"),
            "error: --ensemble 2: the search",
        ),
        (("--ensemble", "0"), "--ensemble"),
        (("--seeds", "0"), "--seeds"),
        (("--l2", "-1"), "'-1' is not numbers from 0"),
        (("--l2", "a"), "'a' is not numbers from 0"),
        (("--clip-norm", "0"), "'0' is not a positive number"),
        (("--clip-norm", "x"), "'x' is not a positive number"),
        (("--optimizer", "lbfgs", "--batch-size", "8"), "--batch-size: L-BFGS takes"),
        (("--device", "abacus"), "--device"),
        (("--device", "tpu"), "value for --device: device 'tpu' is not to be had; JAX"),
        (("--dtype", "float8"), "--dtype"),
    ],
)
def test_flags_that_cannot_be(cli, data, tmp_path, flags, message):
    out = tmp_path / "model"
    finished = cli("train", data, "--target", "bought", "--out", out, "--hidden", "3",
                   "--recipe", "lecture", "--learning-rate", "0.1,0.2", *flags)  # fmt: skip
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.count("\n") == 1
    assert not out.exists()


def test_numbers_read_as_text_are_noted_and_blanks_are_missing(cli, tmp_path):
    lines = [f"{i / 7},{'twelve' if i == 5 else i % 9},{i % 2}" for i in range(60)]
    lines[3] = " ,4,1"
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    finished = cli(
        "train", tmp_path / "t.csv", "--target", "y", "--out", tmp_path / "m", *SMALL
    )
    assert finished.err == (
        "jaxmlp: note: column 'b': it is read as text, not as numbers, "
        "because row 5 holds 'twelve'\n"
    )
    rules = {rule.name: rule for rule in load_model(tmp_path / "m").preprocessor.rules}
    assert (rules["a"].kind, rules["b"].kind) == ("numeric", "categorical")


@pytest.mark.parametrize(
    "levels",
    [
        ("00005", "00015", "00014"),
        ("7.0", "7.50", "8.0"),
        ("True", "False", "True"),
        ("2011-02-09T00:00:00", "2011-02-10T00:00:00", "x"),
    ],
    ids=str,
)
def test_categories_are_the_texts_of_the_file(cli, tmp_path, levels):
    rng = np.random.default_rng(0)
    code = rng.integers(3, size=300)
    is_yes = rng.random(300) < np.array([0.1, 0.9, 0.5])[code]
    lines = [f"{levels[c]},{x:.3f},{int(y)}" for c, x, y in
             zip(code, rng.normal(size=300), is_yes, strict=True)]  # fmt: skip
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["zip,x,bought", *lines]) + "\n")
    flags = ("--target", "bought", "--column", "zip=categorical", *SMALL)
    report = json.loads(cli("train", table, *flags, "--out", tmp_path / "m", "--json").out)
    columns = json.loads((tmp_path / "m" / "model.json").read_text())["columns"]
    assert set(columns[0]["levels"]) == set(levels)
    # The same rows, read again.
    whole = json.loads(cli("evaluate", tmp_path / "m", table, "--json").out)
    assert whole["roc_auc"] > 0.62
    assert abs(whole["roc_auc"] - report["validation"]["roc_auc"]) < 0.15
    explained = cli("explain", tmp_path / "m", "--train", table, "--row", "3", "--json")
    assert explained.code == 0


def test_a_choice_that_is_none_is_said_plainly(cli, data):
    failed = cli("train", data, "--target", "bought", "--dtype", "foo")
    assert failed.code == 2
    assert failed.err == (
        "jaxmlp: error: Invalid value for '--dtype': 'foo' is not one of 'float32', "
        "'bfloat16', 'float64'.\n"
    )
