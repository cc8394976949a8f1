import json

import numpy as np
import pyarrow as pa
import pytest

from jaxmlp.data.tables import read_table, write_table
from jaxmlp.interfaces.model import load_model
from tests.interfaces.conftest import make_table


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_predictions_in_row_order(cli, model, data, tmp_path, name):
    finished = cli("predict", model, data, "--out", tmp_path / name)
    assert finished.code == 0
    written = read_table(tmp_path / name)
    assert written.column_names == ["probability", "predicted"]
    probs, labels = load_model(model).predict(read_table(data))
    np.testing.assert_allclose(written["probability"].to_numpy(), probs, rtol=1e-6)
    assert written["predicted"].to_pylist() == labels
    order = np.random.default_rng(0).permutation(len(probs))
    write_table(read_table(data).take(pa.array(order)), tmp_path / "shuffled.csv")
    cli("predict", model, tmp_path / "shuffled.csv", "--out", tmp_path / name)
    shuffled = read_table(tmp_path / name)["probability"].to_numpy()
    np.testing.assert_allclose(shuffled, probs[order], rtol=1e-5)


def test_without_out_predictions_go_to_standard_output(cli, model, data, tmp_path):
    cli("predict", model, data, "--out", tmp_path / "p.csv")
    finished = cli("predict", model, data)
    assert finished.out == (tmp_path / "p.csv").read_text()


def test_json(cli, model, data, tmp_path):
    printed = json.loads(cli("predict", model, data, "--json").out)
    assert (
        printed["rows"] == len(printed["probability"]) == len(printed["predicted"]) == 120
    )
    out = tmp_path / "p.csv"
    printed = json.loads(cli("predict", model, data, "--json", "--out", out).out)
    assert printed == {"rows": 120, "out": str(out)}
    assert cli("predict", model, data, "--quiet", "--out", out)[:] == (0, "", "")


def test_unseen_category_new_missing_value_and_no_target(cli, model, tmp_path):
    table = make_table(6).drop_columns(["bought"])
    table = table.set_column(1, "job", pa.array(["astronaut"] * 6))
    table = table.set_column(2, "flag", pa.nulls(6))
    write_table(table, tmp_path / "new.csv")
    finished = cli("predict", model, tmp_path / "new.csv")
    assert finished.code == 0
    assert finished.out.count("\n") == 7


def test_more_rows_than_a_block(cli, model, tmp_path):
    write_table(make_table(5000), tmp_path / "many.parquet")
    cli("predict", model, tmp_path / "many.parquet", "--out", tmp_path / "p.parquet")
    probs = read_table(tmp_path / "p.parquet")["probability"].to_numpy()
    last = load_model(model).predict(read_table(tmp_path / "many.parquet").slice(4500))[0]
    np.testing.assert_allclose(probs[4500:], last, rtol=1e-5)


@pytest.mark.parametrize(
    ("command", "change", "message"),
    [
        ("predict", lambda t: t.drop_columns(["x"]), "1 column that the model needs: x"),
        (
            "predict",
            lambda t: t.set_column(0, "x", pa.array(["a"] * 120)),
            "column 'x', row 0",
        ),
        ("evaluate", lambda t: t.drop_columns(["bought"]), "no target column 'bought'"),
        (
            "evaluate",
            lambda t: t.set_column(3, "bought", pa.array(["maybe"] * 120)),
            "row 0: the label 'maybe' is neither 'no' nor 'yes'",
        ),
        (
            "evaluate",
            lambda t: t.set_column(3, "bought", pa.array([None] + ["yes"] * 119)),
            "row 0: the label is missing",
        ),
    ],
)
def test_unfit_tables_end_in_one_line(cli, model, tmp_path, command, change, message):
    write_table(change(make_table()), tmp_path / "unfit.csv")
    flags = ("--out", tmp_path / "p.csv") if command == "predict" else ()
    finished = cli(command, model, tmp_path / "unfit.csv", *flags)
    assert (finished.code, finished.out) == (2, "")
    assert message in finished.err
    assert finished.err.count("\n") == 1
    assert not (tmp_path / "p.csv").exists()


def test_bad_out_is_found_before_any_work(cli, tmp_path):
    finished = cli("predict", "absent-model", "absent.csv", "--out", tmp_path / "p.txt")
    assert finished.code == 2
    assert "must end in .csv or .parquet" in finished.err


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_wrong_model_folder(cli, data, tmp_path, command):
    for folder, message in [("absent", "no such folder"), (".", "it has no model.json")]:
        finished = cli(command, tmp_path / folder, data)
        assert finished.code == 2
        assert f"not a model written by jaxmlp train: {message}" in finished.err


def test_evaluate_shows_metrics(cli, model, data):
    shown = cli("evaluate", model, data)
    assert "ROC AUC" in shown.out
    printed = json.loads(cli("evaluate", model, data, "--json").out)
    assert printed.keys() == {
        "rows",
        "positive",
        "log_loss",
        "roc_auc",
        "accuracy",
        "brier",
    }
    y = np.array(read_table(data)["bought"].to_pylist()) == "yes"
    probs, _ = load_model(model).predict(read_table(data))
    p = probs.astype(float)
    expected = -np.mean(np.where(y, np.log(p), np.log(1 - p)))
    assert printed["log_loss"] == pytest.approx(expected, rel=1e-5)
    assert printed["accuracy"] == pytest.approx(np.mean((p >= 0.5) == y))
    assert printed["brier"] == pytest.approx(np.mean((p - y) ** 2), rel=1e-5)
    pairs = p[y][:, None] - p[~y][None, :]
    auc = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    assert printed["roc_auc"] == pytest.approx(auc)


def test_evaluate_with_one_class_has_no_auc(cli, model, tmp_path):
    table = make_table()
    yes = table.filter(pa.compute.equal(table["bought"], "yes"))
    write_table(yes, tmp_path / "yes.csv")
    finished = cli("evaluate", model, tmp_path / "yes.csv", "--json")
    assert json.loads(finished.out)["roc_auc"] is None


def test_the_table_itself_is_not_overwritten(cli, model, data):
    before = data.read_bytes()
    finished = cli("predict", model, data, "--out", data)
    assert finished.code == 2
    assert "DATA itself" in finished.err
    assert data.read_bytes() == before
