"""`jaxmlp train --dp-epsilon`."""

import json
import sys

import jax
import numpy as np
import pytest

from jaxmlp.data.preprocess import Preprocessor
from jaxmlp.data.tables import write_table
from jaxmlp.interfaces.model import load_model
from jaxmlp.privacy import epsilon
from tests.interfaces.conftest import make_table

# One budget and number of rows for all: the noise is calibrated once.
BUDGET = ("--dp-epsilon", "4", "--dp-delta", "5e-4", "--dp-clip", "0.8")


@pytest.fixture
def many(tmp_path):
    """More rows, so that little noise is needed."""
    write_table(make_table(1500), tmp_path / "many.csv")
    return tmp_path / "many.csv"


@jax.numpy_dtype_promotion("standard")  # optax's Adam mixes types
def test_the_report_states_the_guarantee(cli, many, tmp_path):
    out = tmp_path / "m"
    common = ("train", many, "--target", "bought", "--out", out)
    finished = cli(*common, *BUDGET, "--json")
    assert (finished.code, finished.err) == (0, "")
    report = json.loads(finished.out)
    privacy = report["privacy"]
    assert 4 - 1e-3 <= privacy["epsilon"] <= 4
    assert (privacy["delta"], privacy["max_grad_norm"]) == (5e-4, 0.8)
    # 1,050 training rows, 3% of them (32) a step, 33 steps an epoch, 20 epochs.
    assert privacy["n_steps"] == 20 * 33
    assert privacy["sampling_rate"] == pytest.approx(32 / 1050)
    again = {k: privacy[k] for k in ("sampling_rate", "noise_multiplier", "n_steps")}
    assert epsilon(**again, delta=5e-4) == privacy["epsilon"]
    assert "added or removed" in privacy["adjacency"]
    assert "Poisson" in privacy["sampling"]
    text = " ".join(privacy["not_covered"])
    assert "hyper-parameter search" in text
    assert "statistics of the rows" in text
    assert "the drawing of the parts" in text
    # Nothing that was measured on the training rows without noise is written.
    assert [history.keys() for history in report["histories"]] == [{"val_loss"}]
    assert report["best"]["train_loss"] is None
    assert "clipped_fraction" not in json.dumps(report)
    assert report["settings"]["batch_size"] == 32
    assert report["settings"]["hidden_sizes"] == [[]]
    assert report["test"]["roc_auc"] > 0.85
    assert json.loads((out / "report.json").read_text()) == report
    # Nobody can repeat the noise: the seed rules the split and the starting weights alone.
    first = load_model(out).networks[0].w
    again = json.loads(cli(*common, *BUDGET, "--json").out)
    assert again["split"] == report["split"]
    assert np.abs(load_model(out).networks[0].w - first).max() > 1e-3


def test_the_screen_says_it_too(cli, many, tmp_path):
    finished = cli(
        "train", many, "--target", "bought", "--out", tmp_path / "m", *BUDGET,
        "--hidden", "4", "--learning-rate", "0.02", "--optimizer", "sgd", "--patience", "0",
    )  # fmt: skip
    assert finished.code == 0
    words = " ".join(finished.out.split())
    assert "differential privacy: ε = 4" in words or "ε = 3.999" in words
    assert "not covered:" in words
    assert "660 steps" in words
    assert load_model(tmp_path / "m").networks[0].w.shape[-1] == 4


@jax.numpy_dtype_promotion("standard")
def test_bounds_make_the_preprocessing(cli, many, tmp_path):
    bounds = {"x": [-3, 5], "job": ["clerk", "cook", "baker"]}
    path = tmp_path / "bounds.json"
    path.write_text(json.dumps(bounds))
    finished = cli(
        "train", many, "--target", "bought", "--out", tmp_path / "m", *BUDGET,
        "--dp-bounds", path, "--json",
    )  # fmt: skip
    assert finished.code == 0
    report = json.loads(finished.out)
    text = " ".join(report["privacy"]["not_covered"])
    assert "hyper-parameter search" in text
    assert "statistics of the rows" not in text
    assert report["privacy"]["bounds"] == str(path)
    assert report["notes"] == [f"column 'flag' is not used: {path} has no bounds for it"]
    preprocessor = load_model(tmp_path / "m").preprocessor
    assert preprocessor.input_names == [
        "x",
        "x is missing",
        "job = clerk",
        "job = cook",
        "job = baker",
        "job is another value",
        "job is missing",
    ]
    rule = preprocessor.rules[0]
    values = np.array([-3.0, 1.0, 5.0, np.nan, 1e300])
    found = Preprocessor((rule,)).encode({rule.name: values})
    bent = 1 / np.sqrt(1 + 1 / 9)
    np.testing.assert_allclose(found[:, 0], [-bent, 0, bent, 0, 3], rtol=1e-6)
    assert found[:, 1].tolist() == [0, 0, 0, 1, 0]


def test_types_that_bounds_turn_and_a_weak_delta_are_noted(cli, many, tmp_path):
    path = tmp_path / "bounds.json"
    path.write_text(json.dumps({"x": ["1", "2"]}))
    finished = cli(
        "train", many, "--target", "bought", "--out", tmp_path / "m", *BUDGET,
        "--optimizer", "sgd", "--dp-bounds", path,
    )  # fmt: skip
    assert finished.code == 0
    assert (
        f"note: column 'x' holds numbers; {path} makes categories of them" in finished.err
    )
    assert "does not cover" not in finished.err
    finished = cli(
        "train", many, "--target", "bought", "--out", tmp_path / "n", "--dp-epsilon", "0.5",
        "--dp-delta", "0.002", "--optimizer", "sgd",
    )  # fmt: skip
    assert "note: --dp-delta 0.002 does not cover the publishing of a row" in finished.err


def test_no_value_of_a_row_is_written(cli, tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{rng.normal()},{'Smith' if i == 5 else i % 9},{i % 2}" for i in range(1500)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    finished = cli(
        "train", tmp_path / "t.csv", "--target", "y", "--out", tmp_path / "m", *BUDGET,
        "--optimizer", "sgd",
    )  # fmt: skip
    assert finished.code == 0
    for text in (finished.out, finished.err, (tmp_path / "m/report.json").read_text()):
        assert "Smith" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        (
            '{"x": [0, 1], "x": [0, 2]}',
            "error: bounds.json: cannot be read as JSON: column ",
        ),
        ("[1]", "must hold bounds by column"),
        ("{}", "must hold bounds by column"),
        ('{"x": [2, 2]}', "column 'x': [2, 2] is neither a least and a greater number"),
        ('{"x": [0, NaN]}', "column 'x': [0, NaN] is neither"),
        ('{"x": []}', "column 'x': [] is neither"),
        ('{"x": [0, 1' + 400 * "0" + "]}", "is neither a least and a greater number"),
        ('{"x": 3}', "column 'x': 3 is neither"),
        ('{"xx": [0, 1]}', "no feature (of bounds.json) column 'xx'"),
        ('{"x": [0, 1], "bought": ["no"]}', "'bought' is the target, not a feature"),
    ],
)
def test_bad_bounds(cli, data, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bounds.json").write_text(content)
    finished = cli(
        "train", data, "--target", "bought", "--out", "m", *BUDGET,
        "--dp-bounds", "bounds.json",
    )  # fmt: skip
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.count("\n") == 1
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--dp-epsilon", "0"), "'0' is not a positive number"),
        (("--dp-epsilon", "1", "--dp-clip", "-1"), "'-1' is not a positive number"),
        (("--dp-epsilon", "1", "--dp-delta", "0"), "--dp-delta must be between 0 and 1"),
        (("--dp-epsilon", "1", "--dp-delta", "1"), "--dp-delta must be between 0 and 1"),
        (("--dp-delta", "1e-5"), "--dp-delta: needs --dp-epsilon, the budget"),
        (("--dp-clip", "1"), "--dp-clip: needs --dp-epsilon, the budget"),
        (
            ("--dp-epsilon", "1e-9", "--dp-delta", "1e-12"),
            "--dp-epsilon: target_epsilon of 1e-09",
        ),
        (("--dp-epsilon", "1", "--hidden", "2,4"), "not of a search among 2"),
        (("--dp-epsilon", "1", "--ensemble", "3"), "--ensemble does not go with"),
        (("--dp-epsilon", "1", "--dp-bounds", "no.json"), "error: no.json: no such file"),
        (("--dp-epsilon", "1", "--dp-bounds", "."), "error: .: is a folder"),
        (("--dp-epsilon", "1", "--seeds", "3"), "not of a search among 3"),
        (("--dp-epsilon", "1", "--class-weight", "balanced"), "--class-weight balanced"),
        (("--dp-epsilon", "1", "--clip-norm", "1"), "--clip-norm (--dp-clip clips each"),
        (("--dp-epsilon", "1", "--optimizer", "lbfgs"), "--optimizer lbfgs does not go"),
        (("--dp-epsilon", "1", "--dtype", "bfloat16"), "--dtype bfloat16 does not go"),
        (
            ("--dp-epsilon", "1", "--batch-size", "500"),
            "--batch-size 500: the training part",
        ),
    ],
)
def test_budgets_that_cannot_be(cli, data, tmp_path, flags, message):
    finished = cli("train", data, "--target", "bought", "--out", tmp_path / "m", *flags)
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_without_the_ledger_the_extra_is_named(cli, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    finished = cli("train", data, "--target", "bought", "--out", tmp_path / "m", *BUDGET)
    assert finished.code == 2
    assert "install jaxmlp[privacy]" in finished.err
