import dataclasses
import importlib.util
import json
import re

import jax
import numpy as np
import onnxruntime
import pytest
from jax.export import deserialize
from safetensors import safe_open

from jaxmlp.data.errors import DataError
from jaxmlp.interfaces.exports.export import (
    describe,
    export_model,
    to_json,
    to_safetensors,
    to_stablehlo,
)
from jaxmlp.interfaces.model import Origin, load_model, save_model
from tests.interfaces.exports.models import make_model, mixed_table, number_table

ENSEMBLE = ((), (16,), (8, 4))
FORMATS = ("onnx", "stablehlo", "safetensors", "json")

# XLA may order the sums of the exported program otherwise: some 1e-7 of the greatest term.
TOLERANCE = 1e-5


@pytest.fixture
def model(tmp_path):
    """A model's folder, with a record of its training rows."""
    origin = Origin("a fingerprint", np.arange(300)[None] % 3 == 0, (0.25,), None)
    model = dataclasses.replace(make_model(mixed_table()), origin=origin)
    save_model(model, {}, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("hidden", [((),), ((16,),), ENSEMBLE])
@pytest.mark.parametrize("n", [1, 5, 100_000])
def test_stablehlo_agrees_with_the_model(hidden, n):
    table = number_table(n + 100)
    model = make_model(table, hidden)
    program = deserialize(bytearray(to_stablehlo(model)))
    assert program.platforms == ("cpu", "cuda", "tpu")
    probabilities = np.asarray(program.call(model.features(table)[:n]))
    assert probabilities.shape == (n, 2)
    assert probabilities.dtype == np.float32
    expected, _ = model.predict(table)
    np.testing.assert_allclose(probabilities[:, 1], expected[:n], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=0, atol=1e-6)


def test_stablehlo_of_64_bits_is_called_without_them():
    with jax.enable_x64(True):
        table = number_table()
        model = make_model(table, ENSEMBLE, dtype=np.float64, scale=20.0)
        expected, _ = model.predict(table)
    content = to_stablehlo(model)
    assert "f64" in deserialize(bytearray(content)).mlir_module()
    found = deserialize(bytearray(content)).call(model.features(table))
    np.testing.assert_allclose(found[:, 1], expected, rtol=0, atol=1e-7)


def test_stablehlo_asks_for_full_precision_on_every_platform():
    program = deserialize(bytearray(to_stablehlo(make_model(number_table()))))
    products = re.findall("dot_general .*", program.mlir_module())
    assert products
    assert all("[HIGHEST, HIGHEST]" in product for product in products)


def test_stablehlo_holds_no_path_and_leaves_the_settings():
    model = make_model(number_table())
    before = jax.config.jax_traceback_in_locations_limit
    content = to_stablehlo(model)
    assert b".py" not in content
    assert to_stablehlo(model) == content
    assert jax.config.jax_traceback_in_locations_limit == before


def test_safetensors_holds_everything(tmp_path):
    model = make_model(mixed_table(), ENSEMBLE)
    path = tmp_path / "model.safetensors"
    path.write_bytes(to_safetensors(model))
    with safe_open(path, framework="numpy") as file:
        assert sorted(file.keys()) == ["0.b", "0.w", "1.b", "1.w", "2.b", "2.w"]
        for i, layer in enumerate(model.networks):
            assert (file.get_tensor(f"{i}.w") == layer.w).all()
            assert (file.get_tensor(f"{i}.b") == layer.b).all()
        described = json.loads(file.metadata()["jaxmlp"])
    assert described == json.loads(json.dumps(describe(model)))
    assert type(model.preprocessor).from_json(described["columns"]) == model.preprocessor
    assert to_safetensors(model) == path.read_bytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_json_holds_every_bit(dtype):
    with jax.enable_x64(dtype == np.float64):
        model = make_model(mixed_table(), ENSEMBLE, dtype=dtype, threshold=0.3)
    document = json.loads(to_json(model))
    assert document["dtype"] == np.dtype(dtype).name
    for layer, written in zip(model.networks, document["layers"], strict=True):
        for name in ("w", "b"):
            array = np.asarray(written[name], dtype)
            expected = np.asarray(getattr(layer, name))
            assert array.tobytes() == expected.tobytes()
    assert document["input_names"] == model.preprocessor.input_names
    assert document["classes"] == {"negative": "no", "positive": "yes"}
    assert document["threshold"] == 0.3


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_of_the_training_rows_is_written(form, model, tmp_path):
    """Not even which they are."""
    loaded = load_model(model)
    without = dataclasses.replace(loaded, origin=None)
    for name, one in {"with": loaded, "without": without}.items():
        export_model(one, tmp_path / name, form)
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_command(cli, model, tmp_path, form):
    out = tmp_path / "exported"
    finished = cli("export", model, "--format", form, "--out", out, "--json")
    assert finished.code == 0
    source = {"onnx": "raw", "stablehlo": "encoded"}.get(form)
    expected = {"out": str(out), "format": form, "source": source}
    assert json.loads(finished.out) == expected | {"n_bytes": out.stat().st_size}
    before = out.read_bytes()
    assert cli("export", model, "--format", form, "--out", out, "--quiet")[:] == (0, "", "")
    assert out.read_bytes() == before
    shown = cli("export", model, "--format", form, "--out", out).out
    assert form in shown
    assert str(out) in shown


def test_command_with_encoded_input(cli, model, tmp_path):
    out = tmp_path / "model.onnx"
    flags = ("--format", "onnx", "--input", "encoded", "--out", out)
    assert "the networks' input" in cli("export", model, *flags).out
    (put,) = onnxruntime.InferenceSession(out).get_inputs()
    assert put.name == "encoded"


def test_a_model_of_64_bits_keeps_them(cli, tmp_path):
    with jax.enable_x64(True):
        model = make_model(number_table(), dtype=np.float64)
        save_model(model, {}, tmp_path / "model")
    for form in FORMATS:
        flags = ("--format", form, "--out", tmp_path / "whole")
        assert cli("export", tmp_path / "model", *flags).code == 0
        export_model(model, tmp_path / "expected", form)
        assert (tmp_path / "whole").read_bytes() == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--format", "pickle", "--out", "f"), "'pickle' is not one of"),
        (("--format", "json"), "Missing option '--out'"),
        (("--format", "onnx", "--out", "absent/f"), "the folder absent does not exist"),
        (("--format", "onnx", "--out", "folder"), "folder: is a folder"),
        (("--format", "json", "--out", "model/report.json"), "--out: it is inside MODEL"),
        (("--format", "json", "--out", "folder/../model/f"), "--out: it is inside MODEL"),
        (
            ("--format", "stablehlo", "--input", "raw", "--out", "f"),
            "--input raw does not go with stablehlo: it takes encoded",
        ),
        (
            ("--format", "json", "--input", "raw", "--out", "f"),
            "--input raw does not go with json: it holds no program",
        ),
    ],
)
def test_wrong_use(cli, model, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    before = {path: path.read_bytes() for path in model.iterdir()}
    finished = cli("export", "model", *flags)
    assert (finished.code, finished.out) == (2, "")
    assert message in " ".join(finished.err.split())
    assert finished.err.count("\n") == 1
    assert {path: path.read_bytes() for path in model.iterdir()} == before
    assert not (tmp_path / "f").exists()


def test_no_model(cli, tmp_path):
    finished = cli("export", tmp_path / "absent", "--out", tmp_path / "f")
    assert finished.code == 2
    assert "no such folder" in finished.err
    assert not (tmp_path / "f").exists()


def test_a_file_that_cannot_be_written(cli, model, tmp_path):
    finished = cli("export", model, "--out", tmp_path / ("long" * 100))
    assert finished.code == 2
    assert "File name too long" in finished.err
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize(("form", "package"), [("onnx", "onnx"), ("stablehlo", "flatb")])
def test_a_missing_package_is_named(cli, model, tmp_path, monkeypatch, form, package):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    finished = cli("export", model, "--format", form, "--out", tmp_path / "f")
    assert finished.code == 2
    assert f"{form} needs {package}" in finished.err
    assert "install jaxmlp[export]" in finished.err


def test_only_known_inputs(tmp_path):
    with pytest.raises(DataError, match="does not go with"):
        export_model(make_model(number_table()), tmp_path / "f", "safetensors", "encoded")
    assert not (tmp_path / "f").exists()
