import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

import jaxmlp
from jaxmlp import ensemble_logits
from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import read_table
from jaxmlp.interfaces import model as model_module
from jaxmlp.interfaces import prediction
from jaxmlp.interfaces.model import load_model, save_model
from tests.interfaces.conftest import SMALL

IN_A_NEW_PROCESS = """
import sys
from jaxmlp.data.tables import read_table
from jaxmlp.interfaces.model import load_model
sys.stdout.buffer.write(load_model(sys.argv[1]).logits(read_table(sys.argv[2])).tobytes())
"""


def test_same_predictions_to_the_bit_in_a_new_process(model, data):
    here = load_model(model).logits(read_table(data))
    arguments = [sys.executable, "-c", IN_A_NEW_PROCESS, str(model), str(data)]
    there = subprocess.run(arguments, capture_output=True, check=True, timeout=120)
    assert there.stdout == here.tobytes()


def test_wide_networks_are_predicted_in_blocks_of_fewer_rows(model, data, monkeypatch):
    loaded, table = load_model(model), read_table(data)
    expected = loaded.logits(table)
    shapes = []

    def watched(networks, X):
        shapes.append(X.shape[0])
        return ensemble_logits(networks, X)

    n_units = sum(layer.b.size for layer in loaded.networks)
    monkeypatch.setattr(prediction, "_MOST_ACTIVATIONS", 50 * n_units)
    monkeypatch.setattr(prediction, "_logits", watched)
    np.testing.assert_allclose(loaded.logits(table), expected, rtol=1e-5)
    assert shapes == [50, 50, 50]  # of 120 rows


@pytest.mark.parametrize("read", [pd.read_csv, pl.read_csv])
def test_tables_of_other_libraries(model, data, read):
    loaded = jaxmlp.load_model(model)
    probs, labels = loaded.predict(read_table(data))
    found_probs, found_labels = loaded.predict(read(data))
    np.testing.assert_array_equal(found_probs, probs)
    assert found_labels == labels
    assert loaded.labels(read(data)).tolist() == loaded.labels(read_table(data)).tolist()


def test_a_table_without_rows(model, data):
    loaded = jaxmlp.load_model(model)
    probs, labels = loaded.predict(pd.read_csv(data).iloc[:0])
    assert probs.shape == (0,)
    assert labels == []


def test_saved_again_it_is_the_same(model, tmp_path):
    loaded = load_model(model)
    save_model(loaded, {}, tmp_path / "copy")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (model / name).read_bytes()


def test_failed_save_keeps_the_old_model(model, monkeypatch):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    loaded = load_model(model)

    def fails(path, content):
        raise OSError("No space left on device")

    monkeypatch.setattr(model_module, "_write_through", fails)
    with pytest.raises(DataError, match="No space left on device"):
        save_model(loaded, {}, model)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert not list(model.parent.glob(f".{model.name}.*"))


@pytest.mark.parametrize("dies_at", ["model.safetensors", "model.json", "rename"])
def test_killed_save_leaves_the_old_model_or_none(model, dies_at):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    script = f"""
import os, sys
from pathlib import Path
from jaxmlp.interfaces import model as m
loaded = m.load_model(sys.argv[1])
write = m._write_through
def dying(path, content):
    write(path, content[: len(content) // 2] if path.name == {dies_at!r} else content)
    if path.name == {dies_at!r}:
        os._exit(9)
m._write_through = dying
if {dies_at!r} == "rename":
    Path.rename = lambda *_: os._exit(9)
m.save_model(loaded, {{}}, sys.argv[1])
"""
    arguments = [sys.executable, "-c", script, str(model)]
    assert subprocess.run(arguments, timeout=120, check=False).returncode == 9
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    save_model(load_model(model), {}, model)
    assert not list(model.parent.glob(f".{model.name}.*"))


def change(path, **fields):
    description = json.loads((path / "model.json").read_text())
    (path / "model.json").write_text(json.dumps({**description, **fields}))


ROWS = "training.rows"


def change_tensors(path, function, more=()):
    tensors = load_file(path / "model.safetensors")
    changed = {n: a if n == ROWS else function(a) for n, a in tensors.items()}
    changed |= {f"more.{i}": array for i, array in enumerate(more)}
    save_file(changed, path / "model.safetensors")


def change_rows(path, function):
    tensors = load_file(path / "model.safetensors")
    save_file({**tensors, ROWS: function(tensors[ROWS])}, path / "model.safetensors")


def change_column(path, **fields):
    columns = json.loads((path / "model.json").read_text())["columns"]
    (first,) = [i for i, column in enumerate(columns) if column["name"] == "x"]
    columns[first] |= fields
    change(path, columns=columns)


def change_training(path, **fields):
    training = json.loads((path / "model.json").read_text())["training"]
    change(path, training={**training, **fields})


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "model.safetensors").unlink(),
        lambda path: (path / "model.safetensors").write_bytes(b""),
        lambda path: (path / "model.safetensors").write_bytes(b"\xff" * 100),
        lambda path: (path / "model.json").write_text("{"),
        lambda path: (path / "model.json").write_text("[]"),
        lambda path: (path / "model.json").write_bytes(b"\xff\xfe"),
        lambda path: change_tensors(path, lambda array: array * np.float32(np.nan)),
        lambda path: change_tensors(path, lambda array: array.astype(np.int32)),
        lambda path: change_tensors(path, lambda array: array, more=[np.zeros(1)] * 2),
        lambda path: change_tensors(path, lambda array: array[:0, :0]),
        lambda path: change_rows(path, lambda rows: rows[:-1]),
        lambda path: change_rows(path, lambda rows: rows.astype(np.int32)),
        lambda path: change_training(path, rows=10**9),
        lambda path: change_training(path, l2=[-1.0]),
        lambda path: change_training(path, l2=[0.0, 0.0]),
        lambda path: change_training(path, class_weight="all"),
        lambda path: change(path, format=99),
        lambda path: change(path, columns=[]),
        lambda path: change(path, columns=[{"kind": "code"}]),
        lambda path: change(path, columns=None),
        lambda path: change(path, classes={"negative": 0}),
        lambda path: change(path, classes={"negative": "no", "positive": "no"}),
        lambda path: (path / "model.json").write_text("[" * 100_000),
        lambda path: change_column(path, scale=0.0),
        lambda path: change_column(path, center=None),
        lambda path: change_column(path, knots=[1.0, 0.0, 2.0]),
    ],
)
def test_damaged_models_are_refused(cli, model, data, tmp_path, damage):
    path = tmp_path / "damaged"
    shutil.copytree(model, path)
    damage(path)
    finished = cli("predict", path, data)
    assert finished.code == 2
    assert f"{path}: the model cannot be read" in finished.err
    assert finished.err.count("\n") == 1


def test_tensors_of_another_model_are_refused(cli, model, data, tmp_path):
    other = tmp_path / "other"
    cli("train", data, "--target", "bought", "--out", other, *SMALL, "--hidden", "7x3")
    loaded = load_model(other)
    assert [layer.w.shape[2] for layer in loaded.networks] == [7, 3, 1]
    description = json.loads((model / "model.json").read_text())
    description["columns"] = description["columns"][:1]
    (other / "model.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match="weights of shape"):
        load_model(other)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_models_of_earlier_formats_can_be_read(model, data, version):
    table = read_table(data)
    now = load_model(model)
    expected, labels = now.predict(table)
    tensors = load_file(model / "model.safetensors")
    description = json.loads((model / "model.json").read_text())
    del description["threshold"]  # before 4, it was 1/2
    for rule in description["columns"]:
        if rule["kind"] == "numeric":  # knots came with 4, and center was called mean
            del rule["knots"]
            rule["mean"] = rule.pop("center")
    tensors[ROWS] = tensors[ROWS][0]  # one line for all networks
    if version < 3:  # it was not recorded
        del tensors[ROWS], description["training"]
    if version == 1:  # one network, not a stack
        tensors = {name: array[0] for name, array in tensors.items()}
    save_file(tensors, model / "model.safetensors")
    (model / "model.json").write_text(json.dumps({**description, "format": version}))
    loaded = load_model(model)
    assert (loaded.origin is None) == (version < 3)
    if version == 3:
        np.testing.assert_array_equal(loaded.origin.is_training, now.origin.is_training)
    probs, predicted = loaded.predict(table)
    np.testing.assert_array_equal(probs, expected)
    assert predicted == labels


def test_remembers_what_it_was_trained_on(model, data):
    origin = load_model(model).origin
    assert (origin.l2, origin.class_weight) == ((0.0,), None)
    report = json.loads((model / "report.json").read_text())
    assert (origin.is_training.shape, origin.is_training.sum()) == ((1, 120), 84)
    assert report["split"]["train"] == 84


def test_model_without_a_network_is_refused(model):
    tensors = load_file(model / "model.safetensors")
    cut = {name: a if name == ROWS else a[:0] for name, a in tensors.items()}
    save_file(cut, model / "model.safetensors")
    change_training(model, l2=[])
    with pytest.raises(DataError, match="it holds no network"):
        load_model(model)


def test_no_pickle_and_nothing_but_numbers_and_text(model):
    for path in model.iterdir():
        content = path.read_bytes()
        assert b"numpy" not in content[:200]
        if path.suffix == ".json":
            json.loads(content)
    assert np.isfinite(load_model(model).networks[0].w).all()


def test_folder_with_more_than_a_model_is_not_replaced(cli, model, data):
    (model / "notes.txt").write_text("mine")
    finished = cli("train", data, "--target", "bought", "--out", model, *SMALL)
    assert finished.code == 2
    assert "holds other things than a model" in finished.err
    assert (model / "notes.txt").read_text() == "mine"


def test_folder_with_a_model_json_of_another_kind_is_not_replaced(cli, data, tmp_path):
    other = tmp_path / "project"
    other.mkdir()
    (other / "model.json").write_text("{}")
    assert cli("train", data, "--target", "bought", "--out", other, *SMALL).code == 2
    assert (other / "model.json").read_text() == "{}"


def test_linked_folder_stays_a_link(cli, model, data, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(model, target_is_directory=True)
    for _ in range(2):
        finished = cli(
            "train", data, "--target", "bought", "--out", link, "--quiet", *SMALL
        )
        assert finished[:] == (0, "", "")
    assert link.is_symlink()
    load_model(link)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "link", "model"]


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_failed_second_rename_brings_the_old_model_back(model, monkeypatch, error):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    loaded = load_model(model)
    rename = Path.rename

    def fails(path, target):
        if path.name.endswith(".unfinished"):
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises((DataError, KeyboardInterrupt)):
        save_model(loaded, {}, model)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert not list(model.parent.glob(f".{model.name}.*"))


def test_save_after_a_run_killed_between_the_renames(model):
    before = (model / "model.safetensors").read_bytes()
    loaded = load_model(model)
    model.rename(model.with_name(f".{model.name}.replaced"))
    save_model(loaded, {}, model)
    assert (model / "model.safetensors").read_bytes() == before
    assert not list(model.parent.glob(f".{model.name}.*"))
