"""Every message on the page of errors, brought about."""

import re
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pyarrow as pa
import pytest

from jaxmlp import fit, forward, init_params, loss_and_grads
from jaxmlp.analysis import influence
from jaxmlp.data.tables import write_table
from tests.interfaces.conftest import cli, run_command  # noqa: F401

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
MESSAGES = re.findall(r"^### `(.*)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def columns(n=60):
    rng = np.random.default_rng(0)
    spend = rng.exponential(50, n)
    return {"age": rng.uniform(18, 80, n), "spend": spend, "churned": spend > 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables, each with something wrong, and a model of the one that has nothing."""
    place = tmp_path_factory.mktemp("tables")
    right = columns()
    tables = {
        "churn": right,
        "three": {**right, "churned": np.arange(60) % 3},
        "missing": {**right, "churned": pa.array([None, *right["churned"][1:].tolist()])},
        "lacks": {"spend": right["spend"]},
        "text": {**right, "age": ["old", *map(str, right["age"][1:])]},
        "wide": {**right, "constant": np.full(60, 0.1)},
        "other": {**right, "age": right["age"] + 1},
    }
    for name, table in tables.items():
        write_table(pa.table(table), place / f"{name}.csv")
    (place / "ragged.csv").write_text("age,churned\n1,yes\n2,no,3\n")
    (place / "utf16.csv").write_text("age,churned\n1,yes\n", encoding="utf-16")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run_command(patch, "train", "churn.csv", *TARGET, *QUICK, "--out", "model")
    return place


TARGET = ("--target", "churned")
QUICK = (
    "--recipe", "lecture", "--hidden", "2", "--learning-rate", "0.1", "--epochs", "2",
    "--quiet",
)  # fmt: skip
# By how a message begins or, where names come first, by what stands in it.
COMMANDS = {
    "distinct values": ("train", "three.csv", *TARGET),
    "the label is missing": ("train", "missing.csv", *TARGET),
    "did you mean": ("train", "churn.csv", "--target", "churn"),
    "the table lacks": ("predict", "model", "lacks.csv"),
    "is not a number": ("predict", "model", "text.csv"),
    "not a readable CSV": ("train", "ragged.csv", *TARGET),
    "UTF-16": ("train", "utf16.csv", *TARGET),
    "--positive": ("train", "churn.csv", *TARGET, "--positive", "maybe"),
    "must end in .csv": ("predict", "model", "churn.csv", "--out", "p.xlsx"),
    "--x and --y": ("playground", "wide.csv", *TARGET),
    "are the same": (
        "playground", "wide.csv", *TARGET, "--x", "spend", "--y", "constant",
    ),
    "not a model": ("predict", "nomodel", "churn.csv"),
    "not the table that": ("explain", "model", "--train", "other.csv", "--row", "1"),
    "--dp-epsilon is": (
        "train", "churn.csv", *TARGET, "--dp-epsilon", "3", "--hidden", "2,4",
    ),
    "no configuration": (
        "train", "churn.csv", *TARGET, *QUICK, "--learning-rate", "1e38",
    ),
}  # fmt: skip

X, y = np.ones((5, 3), np.float32), np.array([0, 1, 0, 1, 1])
HOLED = np.where(np.arange(15).reshape(5, 3) == 7, np.nan, X)


def params():
    return init_params(jax.random.key(0), (3, 4, 1))


def train(key=None, X=X, y=y, optimizer=None, **others):
    key = jax.random.key(0) if key is None else key
    optimizer = optimizer or optax.sgd(0.1)
    fit(key, params(), X, y, optimizer=optimizer, n_epochs=1, batch_size=2, **others)


CALLS = {
    "X must have shape": lambda: forward(params(), np.ones((5, 2))),
    "logits and y": lambda: loss_and_grads(params(), X, y[:, None]),
    "layer_sizes": lambda: init_params(jax.random.key(0), (3, 4, 2)),
    "key must be": lambda: train(key=0),
    "y must hold": lambda: train(y=y + 1),
    "X must be finite": lambda: train(X=HOLED),
    "patience": lambda: train(patience=3),
    "optimizer": lambda: train(optimizer=optax.sgd),
    "Gauss-Newton": lambda: influence(params(), X, y, X, l2=1e-30),
}


def of(message, table):
    (found,) = [value for part, value in table.items() if part in message] or [None]
    return found


def pattern(message):
    return ".*".join(map(re.escape, message.split("…")))


@pytest.mark.parametrize("message", MESSAGES)
def test_the_message_is_brought_about(message, cli, folder, tmp_path, monkeypatch):  # noqa: F811
    command, call = of(message, COMMANDS), of(message, CALLS)
    assert (command is None) != (call is None), "no way to it, or two"
    if call is not None:
        with pytest.raises(ValueError, match=f"^{pattern(message)}$"):
            call()
        return
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    finished = cli(*command)
    assert finished.code == 2
    assert re.search(f"{pattern(message)}\n$", finished.err), finished.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_there_are_messages():
    assert len(MESSAGES) == len(COMMANDS) + len(CALLS)
