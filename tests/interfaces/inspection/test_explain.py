"""`jaxmlp explain` and `predict --std`, against the library's own functions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxmlp import forward
from jaxmlp.analysis import curvature, evidence, influence, laplace
from jaxmlp.data.fingerprint import fingerprint
from jaxmlp.data.tables import read_table, write_table
from jaxmlp.interfaces.inspection import explain
from jaxmlp.interfaces.model import load_model
from tests.interfaces.conftest import SMALL, make_table


@pytest.fixture
def ensemble(cli, data, tmp_path):
    out = tmp_path / "ensemble"
    options = ("--seeds", "2", "--ensemble", "2", "--l2", "0.02", *SMALL)
    balanced = ("--class-weight", "balanced")
    finished = cli("train", data, "--target", "bought", "--out", out, *options, *balanced)
    assert finished.code == 0
    return out


def training_part(model, data):
    loaded, table = load_model(model), read_table(data)
    rows = np.flatnonzero(loaded.origin.is_training)
    X, y = loaded.features(table).astype(float), loaded.labels(table)
    return loaded, X, X[rows], y[rows], rows


def members(loaded):
    for k in range(loaded.networks[0].b.shape[0]):
        yield jax.tree.map(lambda a, k=k: jnp.asarray(a[k], jnp.float64), loaded.networks)


def test_pushes_are_mean_influences(cli, ensemble, data, x64):
    finished = cli("explain", ensemble, "--train", data, "--row", 5, "--json", "--top", 3)
    assert (finished.code, finished.err) == (0, "")
    found = json.loads(finished.out)
    loaded, X, X_train, y_train, rows = training_part(ensemble, data)
    weight = (len(y_train) / (2 * np.bincount(y_train)))[y_train]
    pushes, logits = [], []
    for params in members(loaded):
        pushes.append(
            -influence(params, X_train, y_train, X[5:6], l2=0.02, sample_weight=weight)[0]
        )
        logits.append(float(forward(params, X[5:6])[0]))
    push = np.mean(pushes, axis=0)
    assert found["logit"] == pytest.approx(np.mean(logits), rel=1e-9)
    assert found["l2"] == [0.02, 0.02]
    assert not found["l2_is_chosen"]
    assert found["training_rows"] == len(rows)
    table = read_table(data)
    for side, order in (("up", np.argsort(-push)), ("down", np.argsort(push))):
        assert [other["row"] for other in found[side]] == rows[order[:3]].tolist()
        for other, i in zip(found[side], order, strict=False):
            assert other["logit_push"] == pytest.approx(push[i], rel=1e-6)
            assert other["label"] == table["bought"][other["row"]].as_py()
            assert other["features"]["job"] == table["job"][other["row"]].as_py()


def test_penalty_is_chosen_where_there_was_none(cli, model, data, tmp_path, x64):
    queries = tmp_path / "queries.csv"
    write_table(make_table(4, seed=1).drop_columns(["bought"]), queries)
    arguments = ("explain", model, "--train", data, "--row", 2, "--query", queries)
    finished = cli(*arguments, "--json")
    assert (finished.code, finished.err) == (0, "")
    found = json.loads(finished.out)
    loaded, _, X_train, y_train, _ = training_part(model, data)
    wanted = float(evidence(next(members(loaded)), X_train, y_train).l2)
    assert found["l2"] == [pytest.approx(wanted, rel=1e-6)]
    assert found["l2_is_chosen"]
    assert not found["is_training_row"]
    assert found["features"]["job"] == read_table(queries)["job"][2].as_py()
    shown = cli(*arguments)
    assert "chosen by marginal likelihood" in shown.out
    assert "row 2: predicted" in shown.out
    given = json.loads(cli(*arguments, "--json", "--l2", "0.5").out)
    assert given["l2"] == [0.5]


def test_shows_a_table_for_each_direction(cli, model, data, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    finished = cli("explain", model, "--train", data, "--row", 5)
    assert (finished.code, finished.err) == (0, "")
    up, down = finished.out.split("pushed down")
    assert "pushed up" in up
    found = json.loads(cli("explain", model, "--train", data, "--row", 5, "--json").out)
    for part, direction in ((up, "up"), (down, "down")):
        for row in found[direction]:
            assert f"{row['logit_push']:+.4f}" in part
            assert f"{row['probability_push']:+.4f}" in part
        assert all(name in part for name in ("x", "job", "flag"))
    assert max(map(len, finished.out.splitlines())) <= 80
    assert "…" not in finished.out


def test_std_is_that_of_the_mixture(cli, ensemble, data, x64):
    finished = cli("predict", ensemble, data, "--std", "--train", data, "--json")
    assert (finished.code, finished.err) == (0, "")
    found = json.loads(finished.out)
    loaded, X, X_train, y_train, _ = training_part(ensemble, data)
    weight = (len(y_train) / (2 * np.bincount(y_train)))[y_train]
    parts = [
        laplace(params, X_train, y_train, X, l2=0.02, sample_weight=weight)
        for params in members(loaded)
    ]
    means = np.stack([part.mean for part in parts])
    variance = np.mean([part.variance for part in parts], axis=0) + means.var(axis=0)
    np.testing.assert_allclose(found["std"], np.sqrt(variance), rtol=1e-6)
    averaged = np.mean([part.probs for part in parts], axis=0)
    np.testing.assert_allclose(found["averaged"], averaged, rtol=1e-6)
    plain = json.loads(cli("predict", ensemble, data, "--json").out)
    np.testing.assert_allclose(found["probability"], plain["probability"], rtol=1e-5)


def test_std_at_another_strength(cli, model, data, x64):
    flags = ("--std", "--train", data, "--l2", "0.5", "--json")
    found = json.loads(cli("predict", model, data, *flags).out)
    loaded, X, X_train, y_train, _ = training_part(model, data)
    (params,) = members(loaded)
    wanted = laplace(params, X_train, y_train, X, l2=0.5)
    np.testing.assert_allclose(found["std"], np.sqrt(wanted.variance), rtol=1e-6)


def other_tables(data, folder):
    table = read_table(data)
    values = table["x"].to_pylist()
    values[3] = 0.123
    labels = table["bought"].to_pylist()
    labels[0] = "yes" if labels[0] == "no" else "no"
    names = table.column_names
    changed = {
        "rows.csv": table.slice(1),
        "value.csv": table.set_column(names.index("x"), "x", [values]),
        "label.csv": table.set_column(names.index("bought"), "bought", [labels]),
        "order.csv": table.take(list(range(len(labels)))[::-1]),
        "column.csv": table.drop_columns(["job"]),
    }
    for name, other in changed.items():
        write_table(other, folder / name)
    return changed


def test_other_training_data_is_refused(cli, model, data, tmp_path):
    for name in other_tables(data, tmp_path):
        finished = cli("explain", model, "--train", tmp_path / name, "--row", 0)
        assert finished.code == 2
        assert finished.err.startswith(f"jaxmlp: error: {tmp_path / name}: ")
        lacks = name == "column.csv"
        message = "lacks 1 column" if lacks else "not the table that the model was trained"
        assert message in finished.err
        assert finished.err.count("\n") == 1


def test_the_same_table_as_parquet_is_taken(cli, model, data, tmp_path):
    table = read_table(data)
    names = table.column_names
    write_table(table.select(names[::-1]), tmp_path / "data.parquet")
    finished = cli("explain", model, "--train", tmp_path / "data.parquet", "--row", 0)
    assert finished.code == 0


def test_models_without_a_record(cli, model, data):
    description = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**description, "training": None}))
    finished = cli("explain", model, "--train", data, "--row", 0)
    assert finished.code == 2
    assert "keeps no record of its training rows" in finished.err


def test_dead_network_without_penalty_is_refused(cli, model, data):
    """The evidence of weights that are all 0 grows with the penalty without end."""
    tensors = load_file(model / "model.safetensors")
    rows = tensors.pop("training.rows")
    dead = {name: 0 * array for name, array in tensors.items()}
    save_file({**dead, "training.rows": rows}, model / "model.safetensors")
    finished = cli("explain", model, "--train", data, "--row", 0)
    assert finished.code == 2
    assert "params are all 0" in finished.err
    assert "train it with --l2" in finished.err
    assert finished.err.count("\n") == 1
    assert cli("explain", model, "--train", data, "--row", 0, "--l2", "0.1").code == 0


def test_first_order_where_no_matrix_fits(cli, ensemble, data, monkeypatch):
    arguments = ("explain", ensemble, "--train", data, "--row", 5, "--json", "--top", 1)
    newton = json.loads(cli(*arguments).out)
    monkeypatch.setattr(explain, "choose_solver", lambda *_: "cg")
    first = json.loads(cli(*arguments).out)
    assert (newton["newton"], first["newton"]) == (True, False)
    assert "first order" in " ".join(cli(*arguments[:6]).out.split())
    assert first["up"][0]["row"] == newton["up"][0]["row"]
    assert 0 < first["up"][0]["logit_push"] < newton["up"][0]["logit_push"]


@pytest.mark.parametrize("command", ["predict", "audit"])
def test_model_too_large_for_any_solver(cli, model, data, command, monkeypatch):
    choose = curvature.choose_solver
    monkeypatch.setattr(curvature, "_MOST_SOLUTIONS", 10)
    monkeypatch.setattr(
        curvature, "choose_solver", lambda *given: choose(*given[:4], 1, given[5])
    )
    more = ("--std", "--train", data) if command == "predict" else ("--model", model)
    arguments = (model, data) if command == "predict" else (data,)
    finished = cli(command, *arguments, *more)
    assert finished.code == 2
    assert "too many rows" in finished.err
    assert "train it with a smaller --hidden, or on fewer rows" in finished.err
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "{model}", "--train", "{data}", "--row", "3"),
        ("predict", "{model}", "{data}", "--std", "--train", "{data}"),
        ("audit", "{data}", "--model", "{model}"),
    ],
)
def test_penalty_too_small_for_the_matrix(cli, model, data, arguments):
    given = [a.format(model=model, data=data) for a in arguments]
    finished = cli(*given, "--l2", "1e-300")
    assert finished.code == 2
    assert "the model cannot be analysed: " in finished.err
    assert "give a greater l2" in finished.err
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "--row", "120"), "there is no row 120: the table has 120 rows"),
        (("explain", "--row", "-1"), "--row"),
        (("explain", "--row", "0", "--l2", "0"), "'0' is not a positive number"),
        (("explain", "--row", "0", "--query", "none.csv"), "none.csv: no such file"),
    ],
)
def test_bad_usage(cli, model, data, arguments, message):
    name, *rest = arguments
    finished = cli(name, model, "--train", data, *rest)
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.count("\n") == 1


def test_the_training_table_is_not_overwritten(cli, model, data):
    before = data.read_bytes()
    finished = cli("predict", model, data, "--std", "--train", data, "--out", data)
    assert finished.code == 2
    other = data.with_name("new.csv")
    other.write_bytes(before)
    finished = cli("predict", model, other, "--std", "--train", data, "--out", data)
    assert finished.code == 2
    assert "it is the table of --train itself" in finished.err
    assert data.read_bytes() == before


def test_std_needs_the_training_table(cli, model, data):
    for flags in (["--std"], ["--train", data]):
        finished = cli("predict", model, data, *flags)
        assert finished.code == 2
        assert "--std and --train go together" in finished.err
    finished = cli("predict", model, data, "--l2", "0.1")
    assert finished.code == 2
    assert "it goes with --std" in finished.err


def test_fingerprint_tells_missing_from_text():
    import pyarrow as pa

    y = np.array([0, 1])
    texts = [["ab", ""], ["a", "b"], ["-", None], [None, "-"], ["ab", None]]
    marks = {fingerprint({"c": pa.array(text)}, y) for text in texts}
    assert len(marks) == len(texts)
    numbers = [[1.0, np.nan], [np.nan, 1.0], [0.0, 1.0], [-0.0, 1.0], [0.1, 1.0]]
    marks = [fingerprint({"c": np.array(values)}, y) for values in numbers]
    assert len(set(marks)) == 4  # 0 and -0 are one
    single = np.float32(0.1).astype(float)
    assert fingerprint({"c": np.array([single, 1.0])}, y) == marks[-1]
