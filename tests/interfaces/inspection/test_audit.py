"""`jaxmlp audit`: suspected labels of a table, and what it says of bad input."""

import json
import re

import jax
import numpy as np
import pyarrow as pa
import pytest

from jaxmlp import forward
from jaxmlp.analysis import label_errors_from_logits
from jaxmlp.data.tables import read_table, write_table
from jaxmlp.interfaces.inspection.audit import audit_table
from jaxmlp.interfaces.model import load_model
from tests.interfaces.conftest import SMALL, make_table


@pytest.fixture
def flipped(tmp_path):
    """A table with ten wrong labels, and two rows alike but for the label."""
    table = make_table(300)
    labels = table["bought"].to_pylist()
    x = np.nan_to_num(table["x"].to_numpy(zero_copy_only=False).astype(float))
    sure = np.flatnonzero(np.abs(x) > 1)[::8][:10]
    for row in sure:
        labels[row] = "no" if labels[row] == "yes" else "yes"
    table = table.set_column(3, "bought", pa.array(labels))
    twin = table.slice(17, 1).set_column(
        3, "bought", pa.array(["no" if labels[17] == "yes" else "yes"])
    )
    table = pa.concat_tables([table, twin])
    write_table(table, tmp_path / "flipped.csv")
    return tmp_path / "flipped.csv", set(sure.tolist())


def test_finds_wrong_labels(cli, flipped, tmp_path):
    data, wrong = flipped
    out = tmp_path / "suspects.csv"
    finished = cli("audit", data, "--target", "bought", "--out", out, "--json")
    assert (finished.code, finished.err) == (0, "")
    summary = json.loads(finished.out)
    assert summary["rows"] == 301
    assert summary["conflicting_duplicates"] >= 2
    assert summary["out"] == str(out)
    found = read_table(out)
    names = ["row", "given", "suggested", "probability_wrong", "reason"]
    assert found.column_names == names
    chance = found["probability_wrong"].to_numpy()
    assert (np.diff(chance) <= 0).all()
    assert len(wrong & set(found["row"].to_pylist()[:10])) >= 6
    labels = read_table(data)["bought"].to_pylist()
    for row in found.to_pylist():
        assert row["given"] == labels[row["row"]]
        is_more_probable = row["probability_wrong"] > 0.5
        assert (row["suggested"] != row["given"]) == is_more_probable
        assert is_more_probable or "; same features as row" in row["reason"]
    reasons = dict(zip(found["row"].to_pylist(), found["reason"].to_pylist(), strict=True))
    other = read_table(data)["bought"][300].as_py()
    assert re.search(rf"; same features as rows? [\d, ]*300, labelled {other}", reasons[17])
    assert re.search(r"; same features as rows? [\d, ]*17, [\d, ]*labelled", reasons[300])


def test_all_rows_as_parquet_and_the_same_again(cli, flipped, tmp_path):
    data, _ = flipped
    tables = []
    for name in ("a.parquet", "b.parquet"):
        finished = cli(
            "audit", data, "--target", "bought", "--all", "--out", tmp_path / name
        )
        assert finished.code == 0
        tables.append(read_table(tmp_path / name))
    assert tables[0].equals(tables[1])
    assert sorted(tables[0]["row"].to_pylist()) == list(range(301))


def test_with_a_model(cli, flipped, tmp_path):
    """Leave-one-out logits of an ensemble find the wrong labels too."""
    data, wrong = flipped
    model = tmp_path / "model"
    options = ("--seeds", "2", "--ensemble", "2", *SMALL)
    assert cli("train", data, "--target", "bought", "--out", model, *options).code == 0
    finished = cli("audit", data, "--model", model, "--all", "--json")
    assert (finished.code, finished.err) == (0, "")
    rows = [found["row"] for found in json.loads(finished.out)["labels"]]
    assert len(rows) == 301
    assert len(wrong & set(rows[:20])) >= 6
    # So strong a penalty that no row is missed: the plain logits judge.
    options = ("--model", model, "--all", "--json")
    damped = json.loads(cli("audit", data, *options, "--l2", "1e9").out)["labels"]
    loaded, table = load_model(model), read_table(data)
    X = loaded.features(table)
    logits = jax.vmap(forward, (0, None))(loaded.networks, X)
    judged = label_errors_from_logits(logits.mean(axis=0), loaded.labels(table))
    assert [found["row"] for found in damped[:5]] == judged.order[:5].tolist()
    other = tmp_path / "other.csv"
    write_table(read_table(data).slice(1), other)
    finished = cli("audit", other, "--model", model)
    assert finished.code == 2
    assert f"{other}: not the table that the model was trained on" in finished.err


def test_keeps_the_labels_type(tmp_path):
    table = make_table(200)
    y = np.array(table["bought"].to_pylist()) == "yes"
    table = table.set_column(3, "bought", pa.array(np.where(y, 7, 3)))
    found = audit_table(table, "bought", 0).table
    assert set(found["given"].to_pylist()) <= {3, 7}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give the target column, or --model"),
        (("--target", "bought", "--l2", "1"), "it goes with --model"),
        (("--target", "bougt"), "no target column 'bougt'; did you mean 'bought'?"),
        (("--target", "job"), "target column 'job'"),
        (("--target", "bought", "--out", "x.txt"), "must end in .csv or .parquet"),
        (("--model", "nowhere"), "nowhere: not a model written by jaxmlp train"),
    ],
)
def test_bad_usage(cli, data, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = cli("audit", data, *arguments)
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.count("\n") == 1


def test_too_few_rows_of_a_label(cli, tmp_path):
    table = make_table(40)
    labels = ["yes"] * 3 + ["no"] * 37
    write_table(table.set_column(3, "bought", pa.array(labels)), tmp_path / "few.csv")
    finished = cli("audit", tmp_path / "few.csv", "--target", "bought")
    assert finished.code == 2
    assert (
        "at least 5 rows of each label are needed, not 37 of no and 3 of yes"
        in finished.err
    )


def test_out_is_not_data(cli, data):
    finished = cli("audit", data, "--target", "bought", "--out", data)
    assert finished.code == 2
    assert "it is DATA itself" in finished.err


def test_shown_on_the_screen(cli, flipped):
    finished = cli("audit", flipped[0], "--target", "bought")
    assert finished.code == 0
    assert "more probably wrong than right" in finished.out
    assert "same features" in finished.out
