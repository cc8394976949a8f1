import shutil
import sys
from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pytest

from jaxmlp.data.tables import write_table
from jaxmlp.interfaces import cli as command


class Finished(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch, capfd):
    """Runs the command inside this process: `cli("train", ...)`."""

    def run(*arguments):
        capfd.readouterr()
        return Finished(run_command(monkeypatch, *arguments), *capfd.readouterr())

    return run


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(command, "keep_compiled_programs", lambda: None)
    monkeypatch.setattr(sys, "argv", ["jaxmlp", *map(str, arguments)])
    with pytest.raises(SystemExit) as finished:
        command.run()
    jax.config.update("jax_enable_x64", False)  # some commands switch it on
    return finished.value.code or 0


def make_table(n=120, seed=0):
    """Mixed columns with missing values, and a target that depends on two of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    job = rng.choice(["clerk", "cook", "pilot"], n)
    is_yes = x + (job == "cook") + 0.3 * rng.normal(size=n) > 0.3
    return pa.table(
        {
            "x": pa.array(np.where(rng.random(n) < 0.1, np.nan, x), from_pandas=True),
            "job": pa.array([None if rng.random() < 0.1 else str(j) for j in job]),
            "flag": rng.random(n) < 0.5,
            "bought": np.where(is_yes, "yes", "no"),
        }
    )


@pytest.fixture
def data(tmp_path):
    """The table as a CSV file."""
    write_table(make_table(), tmp_path / "data.csv")
    return tmp_path / "data.csv"


SMALL = ("--recipe", "lecture", "--learning-rate", "0.1", "--hidden", "4", "--epochs", "5")
"""Flags of a training run that takes no time."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_table(make_table(), folder / "data.csv")
    flags = ("--target", "bought", "--out", folder / "model", "--quiet", *SMALL)
    # The first test to ask may be one in 64 bits.
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(False):
        assert run_command(patch, "train", folder / "data.csv", *flags) == 0
    return folder / "model"


@pytest.fixture
def model(trained, tmp_path):
    """A model trained on the table."""
    return shutil.copytree(trained, tmp_path / "model")
