"""`jaxmlp gradients`, against autodiff of the model's loss, row by row."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp import Layer, ensemble_logits
from jaxmlp.data.columns import decode
from jaxmlp.data.labels import encode_labels
from jaxmlp.data.tables import read_table
from jaxmlp.gradients import noise_scale_of
from jaxmlp.interfaces.inspection.gradients import _of_block
from jaxmlp.interfaces.model import load_model
from tests.interfaces.conftest import SMALL


def loss_of_row(networks, x, y_i):
    """Of the averaged probability, written apart from the package's own."""
    z = ensemble_logits(networks, x[None, :])[0]
    return jax.nn.softplus(jnp.where(y_i > 0, -z, z))


@pytest.mark.parametrize("ensemble", [(), ("--seeds", "3", "--ensemble", "3")])
def test_columns_and_noise_scale(cli, data, tmp_path, ensemble):
    model, out = tmp_path / "m", tmp_path / "g.csv"
    cli("train", data, "--target", "bought", "--out", model, *SMALL, *ensemble)
    finished = cli("gradients", model, data, "--out", out, "--json")
    assert (finished.code, finished.err) == (0, "")
    summary = json.loads(finished.out)

    loaded, table = load_model(model), read_table(data)
    X = loaded.preprocessor.encode(decode(table, loaded.preprocessor.kinds))
    y = encode_labels(table["bought"], "bought", loaded.classes)
    grads = jax.vmap(jax.grad(loss_of_row), (None, 0, 0))(loaded.networks, X, y)
    by_layer = [
        np.concatenate([np.asarray(a, float).reshape(len(y), -1) for a in layer], axis=1)
        for layer in grads
    ]
    matrix = np.concatenate(by_layer, axis=1)
    norms = np.linalg.norm(matrix, axis=1)
    found = read_table(out)
    assert found.column_names == [
        "row",
        "norm",
        "loss",
        "el2n",
        "grand",
        "norm_layer_1",
        "norm_layer_2",
    ]
    np.testing.assert_array_equal(found["row"], np.arange(len(y)))
    np.testing.assert_allclose(found["norm"], norms, rtol=1e-4)
    for i, part in enumerate(by_layer):
        wanted = np.linalg.norm(part, axis=1)
        np.testing.assert_allclose(found[f"norm_layer_{i + 1}"], wanted, rtol=1e-4)
    losses = jax.vmap(loss_of_row, (None, 0, 0))(loaded.networks, X, y)
    np.testing.assert_allclose(found["loss"], losses, rtol=1e-4, atol=1e-6)

    n_networks = loaded.networks[0].b.shape[0]
    errors, lengths = np.zeros(len(y)), np.zeros(len(y))
    for k in range(n_networks):
        member = jax.tree.map(lambda a, k=k: a[k : k + 1], loaded.networks)
        probs = np.asarray(jax.nn.sigmoid(ensemble_logits(member, X)))
        errors += np.abs(probs - y) / n_networks
        alone = jax.vmap(jax.grad(loss_of_row), (None, 0, 0))(member, X, y)
        squares = [np.square(a).reshape(len(y), -1).sum(1) for a in jax.tree.leaves(alone)]
        lengths += np.sqrt(sum(squares)) / n_networks
    np.testing.assert_allclose(found["el2n"], errors, rtol=1e-4)
    np.testing.assert_allclose(found["grand"], lengths, rtol=1e-4)

    mean = matrix.mean(axis=0)
    wanted = noise_scale_of((norms**2).mean(), mean @ mean, len(y))
    for name, value in wanted._asdict().items():
        assert summary[name] == pytest.approx(float(value), rel=1e-3)
    for q, value in summary["norm_quantiles"].items():
        assert value == pytest.approx(np.quantile(norms, float(q)), rel=1e-4)
    for label, value in summary["median_norm_by_class"].items():
        rows = y == (label == "yes")
        assert value == pytest.approx(np.median(norms[rows]), rel=1e-4)


def test_screen_picture_and_parquet(cli, model, data, tmp_path):
    for name in ("norms.svg", "norms.png", "norms.pdf"):
        finished = cli("gradients", model, data, "--plot", tmp_path / name)
        assert (finished.code, finished.err) == (0, "")
        assert re.search(r"gradient noise scale: [\d.e+]+ rows", finished.out)
        assert "median norm of class yes" in finished.out
    picture = (tmp_path / "norms.svg").read_bytes()
    assert picture.startswith(b"<?xml")
    assert (tmp_path / "norms.png").read_bytes().startswith(b"\x89PNG")
    cli("gradients", model, data, "--plot", tmp_path / "again.svg", "--quiet")
    assert (tmp_path / "again.svg").read_bytes() == picture
    finished = cli("gradients", model, data, "--out", tmp_path / "g.parquet", "--quiet")
    assert finished == (0, "", "")
    assert read_table(tmp_path / "g.parquet").num_rows == 120


def test_a_picture_that_cannot_be_written(cli, model, data, tmp_path, monkeypatch):
    def replace(self, target):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", replace)
    finished = cli("gradients", model, data, "--plot", tmp_path / "d.svg")
    assert finished.code == 2
    assert "d.svg: cannot be written: no space left" in finished.err
    assert not list(tmp_path.glob("*d.svg*"))


def test_confident_rows_keep_their_digits():
    params = (Layer(jnp.ones((1, 1, 1)), jnp.zeros((1, 1))),)
    found = _of_block(params, np.array([[60.0]], np.float32), np.array([1]))
    for name in ("norm", "grand"):
        np.testing.assert_allclose(found[name], 60.008 * np.exp(-60.0), rtol=1e-4)
    np.testing.assert_allclose(found["el2n"], np.exp(-60.0), rtol=1e-4)


def test_a_single_row_and_a_single_class(cli, model, data, tmp_path):
    lines = data.read_text().splitlines()
    one = tmp_path / "one.csv"
    one.write_text("\n".join(lines[:2]) + "\n")
    finished = cli("gradients", model, one, "--json", "--plot", tmp_path / "one.png")
    summary = json.loads(finished.out)
    assert (summary["rows"], summary["noise_scale"]) == (1, None)
    assert None in summary["median_norm_by_class"].values()
    assert "needs at least 2 rows" in cli("gradients", model, one).out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--out", "g.txt"), "the name must end in .csv or .parquet"),
        (("--plot", "g.txt"), "the name must end in .svg, .png or .pdf"),
        (("--plot", "nowhere/g.svg"), "the folder nowhere does not exist"),
        (("--plot", "folder.svg"), "folder.svg: is a folder; give the name of a file"),
        (("--out", "folder.csv"), "folder.csv: is a folder; give the name of a file"),
        (("--out", "DATA"), "value for --out: it is DATA itself"),
    ],
)
def test_places_that_cannot_be(cli, model, data, flags, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("folder.svg", "folder.csv"):
        (tmp_path / name).mkdir()
    before = data.read_bytes()
    flags = [data if flag == "DATA" else flag for flag in flags]
    finished = cli("gradients", model, data, *flags)
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.count("\n") == 1
    assert data.read_bytes() == before


def test_rows_without_a_known_label(cli, model, data, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text(data.read_text().replace(',"yes"', ',"maybe"', 1))
    finished = cli("gradients", model, bad, "--out", tmp_path / "g.csv")
    assert finished.code == 2
    assert "'maybe'" in finished.err
    assert not (tmp_path / "g.csv").exists()
