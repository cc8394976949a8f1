import json

import jax
import numpy as np
import pyarrow as pa
import pytest

from jaxmlp.data.tables import read_table, write_table
from jaxmlp.interfaces.model import load_model, predict_logits
from jaxmlp.interfaces.recipes import ensemble
from jaxmlp.interfaces.recipes import prepare as prepare_module
from jaxmlp.interfaces.recipes.pipeline import train_on_table
from jaxmlp.interfaces.recipes.prepare import prepare
from jaxmlp.interfaces.recipes.recipe import EnsembleRecipe
from tests.interfaces.conftest import make_table

QUICK = ("--hidden", "0,5", "--epochs", "4", "--ensemble", "3")


# AdamW mixes types itself; the command does not run under strict promotion.
pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


def train(cli, data, out, *flags):
    return cli("train", data, "--target", "bought", "--out", out, *QUICK, *flags)


def test_json_says_everything(cli, data, tmp_path):
    finished = train(cli, data, tmp_path / "m", "--json")
    assert (finished.code, finished.err) == (0, "")
    report = json.loads(finished.out)
    assert report["split"] == {"train": 102, "validation": 0, "test": 18}
    assert report["settings"]["recipe"] == "ensemble"
    # Light dropout with both widths, heavy dropout with the hidden layer; without knots
    # what wins on few rows.
    tried = [(r["features"], r["hidden_sizes"], r["dropout"]) for r in report["search"]]
    assert tried == [
        ("knots", [], 0.0),
        ("knots", [5], 0.1),
        ("knots", [5], 0.3),
        ("plain", [], 0.0),
        ("plain", [5], 0.3),
    ]
    assert {row["folds"] for row in report["search"]} == {3}
    assert report["best"] == min(report["search"], key=lambda row: row["val_loss"])
    assert [member["fold"] for member in report["ensemble"]] == [0, 1, 2]
    mean = np.mean([member["val_loss"] for member in report["ensemble"]])
    assert report["best"]["val_loss"] == pytest.approx(mean)
    assert report["validation"]["log_loss"] == pytest.approx(mean, rel=1e-5)
    assert [len(history["val_loss"]) for history in report["histories"]] == [4, 4, 4]
    assert json.loads((tmp_path / "m" / "report.json").read_text()) == report


def test_test_metrics_are_of_rows_that_trained_nothing(cli, data, tmp_path):
    out = tmp_path / "m"
    report = json.loads(train(cli, data, out, "--json").out)
    table, model = read_table(data), load_model(out)
    is_used = model.origin.is_training
    assert is_used.shape == (3, 120)
    # Every row of the training part trains all networks but one.
    assert set(is_used.sum(axis=0).tolist()) == {0, 2}
    test = np.flatnonzero(~is_used.any(axis=0))
    write_table(table.take(pa.array(test)), tmp_path / "part.csv")
    evaluated = json.loads(cli("evaluate", out, tmp_path / "part.csv", "--json").out)
    for metric, value in report["test"].items():
        assert evaluated[metric] == pytest.approx(value, rel=1e-6)


def test_left_out_rows_are_judged_by_the_networks_that_left_them_out(cli, data, tmp_path):
    out = tmp_path / "m"
    report = json.loads(train(cli, data, out, "--json").out)
    table, model = read_table(data), load_model(out)
    X, y = model.features(table), model.labels(table)
    losses = []
    for k, is_used in enumerate(model.origin.is_training):
        rows = np.flatnonzero(model.origin.is_training.any(axis=0) & ~is_used)
        alone = jax.tree.map(lambda a, k=k: a[k : k + 1], model.networks)
        z = predict_logits(alone, X[rows])
        losses += (np.logaddexp(0, z) - y[rows] * z).tolist()
    assert report["validation"]["log_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_people_see_columns_before_and_the_choice_after(cli, data, tmp_path):
    finished = train(cli, data, tmp_path / "m")
    assert finished.code == 0
    assert finished.out.index("read as") < finished.out.index("left-out rows")
    for words in ("'clerk'", "--column NAME=KIND", "cross-validated", "◀ chosen",
                  "of the 3 networks", "test"):  # fmt: skip
        assert words in " ".join(finished.out.split())


def test_same_seed_same_model_other_seed_other_model(cli, data, tmp_path):
    def weights(name, seed):
        train(cli, data, tmp_path / name, "--seed", seed, "--quiet")
        return (tmp_path / name / "model.safetensors").read_bytes()

    assert weights("a", 1) == weights("b", 1) != weights("c", 2)


def test_many_rows_race_and_few_members(monkeypatch):
    monkeypatch.setattr(ensemble, "RACE_FROM", 100)
    monkeypatch.setattr(ensemble, "MANY_ROWS", 100)
    recipe = EnsembleRecipe("bought", hidden_sizes=((), (5,)), n_epochs=2)
    report = train_on_table(make_table(), recipe).report
    tried = [row["features"] for row in report["search"]]
    assert tried == ["knots", "knots", "knots"]
    assert sorted(row["folds"] for row in report["search"]) == [1, 2, 5]
    assert len(report["ensemble"]) == 5


def test_wide_tables_have_no_knots(monkeypatch):
    key = jax.random.key(0)
    recipe = EnsembleRecipe("bought")
    with_knots = prepare(key, make_table(), recipe, n_knots=33)
    assert any(rule.knots for rule in with_knots.preprocessor.rules if rule.name == "x")
    monkeypatch.setattr(prepare_module, "MOST_INPUTS", 20)
    without = prepare(key, make_table(), recipe, n_knots=33)
    assert without.preprocessor == with_knots.preprocessor.plain()
    assert without.X.shape[1] == len(without.preprocessor.input_names) < 20


def test_spent_budget_gives_the_networks_so_far(cli, data, tmp_path):
    finished = train(cli, data, tmp_path / "m", "--hidden", "0", "--budget", "0.001")
    assert finished.code == 0
    assert "the ensemble has 1 of 3 networks: the budget of time was spent" in (
        finished.err
    )
    probs, _ = load_model(tmp_path / "m").predict(read_table(data))
    assert np.isfinite(probs).all()


def test_epochs_go_by_the_number_of_steps():
    assert ensemble._n_epochs(2) == 600
    assert ensemble._n_epochs(100) == 30
    assert ensemble._n_epochs(1000) == 20
    assert ensemble._n_epochs(100_000) == 5


def test_rare_labels_make_fewer_folds(cli, tmp_path):
    table = make_table()
    labels = ["yes"] * 5 + ["no"] * 115
    table = table.set_column(3, "bought", pa.array(labels))
    write_table(table, tmp_path / "rare.csv")
    finished = cli("train", tmp_path / "rare.csv", "--target", "bought", "--out",
                   tmp_path / "m", "--json", "--hidden", "0", "--epochs", "2")  # fmt: skip
    assert len(json.loads(finished.out)["ensemble"]) == 4  # one of five is in the test part
    table = table.set_column(3, "bought", pa.array(["yes"] * 2 + ["no"] * 118))
    write_table(table, tmp_path / "rarer.csv")
    finished = cli(
        "train", tmp_path / "rarer.csv", "--target", "bought", "--out", tmp_path / "n",
        "--hidden", "0", "--epochs", "2",
    )  # fmt: skip
    assert finished.code == 2
    assert finished.err.count("\n") == 1


def test_columns_are_read_as_told(cli, data, tmp_path):
    finished = train(cli, data, tmp_path / "m", "--json", "--hidden", "0",
                     "--column", "flag=categorical", "--column", "x=drop")  # fmt: skip
    report = json.loads(finished.out)
    assert report["settings"]["columns"] == {"flag": "categorical", "x": "drop"}
    assert report["notes"] == ["column 'x' is not used: you said so"]
    model = load_model(tmp_path / "m")
    assert model.preprocessor.kinds == {"job": "categorical", "flag": "categorical"}
    without = read_table(data).drop(["x"])
    assert np.isfinite(model.predict(without)[0]).all()


def test_threshold_is_chosen_stored_and_used(cli, data, tmp_path):
    out = tmp_path / "m"
    report = json.loads(
        train(
            cli, data, out, "--json", "--hidden", "0", "--cost-fp", "1", "--cost-fn", "3"
        ).out
    )
    assert 0 < report["threshold"] < 0.5
    model = load_model(out)
    assert model.threshold == report["threshold"]
    probs, labels = model.predict(read_table(data))
    assert [label == "yes" for label in labels] == (probs >= model.threshold).tolist()
    fixed = json.loads(
        train(cli, data, out, "--json", "--hidden", "0", "--threshold", "0.9").out
    )
    assert fixed["threshold"] == 0.9
    y = prepare(
        jax.random.split(jax.random.key(0))[0], read_table(data), EnsembleRecipe("bought")
    ).y
    all_rows = json.loads(cli("evaluate", out, data, "--json").out)
    probs, _ = load_model(out).predict(read_table(data))
    assert all_rows["accuracy"] == pytest.approx(((probs >= 0.9) == y).mean())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--l2", "0.1"), "value for --l2: it is for the lecture's recipe: add --recipe"),
        (("--learning-rate", "0.1"), "value for --learning-rate: it is for the lecture"),
        (("--clip-norm", "1"), "--clip-norm"),
        (("--patience", "3"), "--patience"),
        (("--ensemble", "1"), "2 networks at least"),
        (("--recipe", "lecture", "--budget", "3"), "--budget"),
        (("--recipe", "ensemble", "--dp-epsilon", "3"), "--recipe"),
        (("--recipe", "magic"), "--recipe"),
        (("--budget", "-1"), "--budget"),
        (("--column", "x"), "'x' is not NAME=KIND"),
        (("--column", "x=text"), "'x=text' is not NAME=KIND"),
        (("--column", "x=drop", "--column", "x=numeric"), "given twice"),
        (("--column", "nope=drop"), "column 'nope' is not in the table"),
        (("--column", "job=numeric"), "column 'job', row "),
        (("--column", "job=date"), "is not a date such as"),
        (("--threshold", "2"), "'2' is neither a probability"),
        (("--threshold", "f2"), "one of accuracy, balanced-accuracy, f1"),
        (("--cost-fp", "1"), "--cost-fp and --cost-fn go together"),
        (("--cost-fp", "1", "--cost-fn", "1", "--threshold", "f1"), "the costs choose it"),
        (("--cost-fp", "0", "--cost-fn", "1"), "--cost-fp"),
    ],
)
def test_flags_that_cannot_be(cli, data, tmp_path, flags, message):
    finished = cli(
        "train", data, "--target", "bought", "--out", tmp_path / "m", "--epochs", "2",
        "--hidden", "3", *flags,
    )  # fmt: skip
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_analysis_of_an_ensemble(cli, data, tmp_path):
    out = tmp_path / "m"
    train(cli, data, out, "--hidden", "0", "--quiet")
    found = json.loads(cli("explain", out, "--train", data, "--row", "3", "--json").out)
    assert found["training_rows"] == 102
    assert len(found["l2"]) == 3
    assert found["up"]
    audited = json.loads(cli("audit", data, "--model", out, "--json").out)
    assert audited["rows"] == 120
    predicted = json.loads(
        cli("predict", out, data, "--std", "--train", data, "--json").out
    )
    assert min(predicted["std"]) > 0
