"""The short run: the corpus, and some mutations of it that are the same each time."""

import pickle
import subprocess
import sys
from random import Random

import hypothesis
import pytest
from hypothesis import strategies as st

from jaxmlp.data.errors import DataError
from tests.fuzz import targets
from tests.fuzz.guard import writes_only_in
from tests.fuzz.targets import CORPUS, TARGETS, check, seeds

RUNS = {"command": 12, "report": 60, "model_json": 60}  # of slow ones; of the others 150


def test_the_corpus_is_small_and_of_the_targets():
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()


@pytest.mark.parametrize(
    ("name", "seed"),
    [pytest.param(name, seed, id=f"{name}-{seed.name}") for name in TARGETS
     for seed in seeds(name)],
)  # fmt: skip
def test_corpus(name, seed):
    check(name, seed.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name):
    corpus = [seed.read_bytes() for seed in seeds(name)]

    @hypothesis.settings(max_examples=RUNS.get(name, 150))
    @hypothesis.given(st.sampled_from(corpus), st.integers(0, 2**32), st.integers(0, 5))
    def run(data, seed, n_mutations):
        rng = Random(seed)
        for _ in range(n_mutations):
            data = TARGETS[name].mutate(data, rng)
        check(name, data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_without_any_form(name):
    @hypothesis.settings(max_examples=25)
    @hypothesis.given(st.binary(max_size=100))
    def run(data):
        check(name, data)

    run()


def test_writing_elsewhere_is_found(tmp_path):
    (tmp_path / "out").mkdir()
    with writes_only_in(tmp_path / "out"):
        (tmp_path / "out" / "file").write_text("inside")
    for harm in (
        lambda: (tmp_path / "file").write_text("outside"),
        lambda: (tmp_path / "out" / "file").rename(tmp_path / "file"),
        lambda: subprocess.run(["true"], check=True),
        lambda: pickle.loads(pickle.dumps(print)),
    ):
        with pytest.raises(AssertionError), writes_only_in(tmp_path / "out"):
            harm()


@pytest.mark.parametrize("error", [KeyError("x"), DataError(""), UserWarning("x")])
def test_what_breaks_the_contract_is_found(monkeypatch, error):
    def fails(path):
        raise error

    monkeypatch.setattr(targets, "read_table", fails)
    with pytest.raises((AssertionError, KeyError, UserWarning)):
        check("csv", b"a,b\n1,2\n")


@pytest.mark.parametrize(
    "harm",
    [
        lambda out: print("\x1b[2J"),
        lambda out: (out.parent / "inputs" / "data.csv").write_text("other"),
        lambda out: 1 / 0,
    ],
)
def test_a_command_that_breaks_the_contract_is_found(monkeypatch, harm):
    kept = (targets.sandbox() / "inputs" / "data.csv").read_bytes()

    def run():
        harm(targets.sandbox() / "out")
        sys.exit(0)

    monkeypatch.setattr(targets.cli, "run", run)
    with pytest.raises((AssertionError, ZeroDivisionError)):
        check("command", b"predict")
    (targets.sandbox() / "inputs" / "data.csv").write_bytes(kept)
