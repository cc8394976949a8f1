import dataclasses
import json

import jax
import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest

from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError
from jaxmlp.interfaces.exports import onnx as export_onnx
from jaxmlp.interfaces.exports.onnx import describe_columns, to_onnx
from tests.interfaces.exports.models import HUGE, make_model, mixed_table, number_table

# The networks' sums run in another order than XLA's: some 1e-7 of the greatest term.
TOLERANCE = 1e-5

ENSEMBLE = ((), (16,), (8, 4))
"""Hidden widths of networks without, with one and with two hidden layers."""


def feed(model, table):
    """The inputs of a graph of raw columns, for a table."""
    values = decode(table, model.preprocessor.kinds)
    columns = describe_columns(model.preprocessor.rules)
    if columns[0]["input"] == "X":
        return {"X": np.column_stack([values[column["name"]] for column in columns])}
    feeds = {}
    for column in columns:
        value = values[column["name"]]
        if isinstance(value, pa.Array):
            value = np.array([text or "" for text in value.to_pylist()], object)
        feeds[column["input"]] = value[:, None]
    return feeds


def run(content, feeds):
    onnx.checker.check_model(content, full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    assert outputs == ["label", "probabilities"]
    return session.run(None, feeds)


def assert_agree(model, table):
    probs, labels = model.predict(table)
    for is_raw in (True, False):
        feeds = feed(model, table) if is_raw else {"encoded": model.features(table)}
        label, probabilities = run(to_onnx(model, is_raw=is_raw), feeds)
        assert probabilities.shape == (len(table), 2)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities[:, 1], probs, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=0, atol=1e-6)
        is_clear = np.abs(probs / model.threshold - 1) > TOLERANCE
        assert is_clear.mean() > 0.9
        assert label[is_clear].tolist() == np.array(labels)[is_clear].tolist()


@pytest.mark.parametrize("n_knots", [0, 9])
@pytest.mark.parametrize("hidden", [((),), ((16,),), ENSEMBLE])
@pytest.mark.parametrize("make_table", [number_table, mixed_table])
def test_agrees_with_the_model(make_table, hidden, n_knots):
    table = make_table()
    model = make_model(table, hidden, n_knots=n_knots)
    assert_agree(model, table)
    assert_agree(model, table.slice(0, 1))


@pytest.mark.parametrize("name", number_table(4).column_names)
def test_each_kind_of_number_alone(name):
    table = number_table().select([name])
    assert_agree(make_model(table), table)


def test_categories_alone():
    table = mixed_table().select(["job", "label"])
    model = make_model(table)
    new = pa.table(
        {"job": ["cook", "astronaut", None, "π"], "label": ["b", "zz", None, "a"]}
    )
    assert_agree(model, table)
    assert_agree(model, new)


def test_numbers_far_out():
    table = number_table()
    model = make_model(table)
    far = [HUGE, -HUGE, 1e30, -1e30, 0.0, 5e-324, None]
    new = {name: pa.array(far) for name in table.column_names}
    new["day"] = pa.array(
        [-(2**55), 2**55, 0, 1, None, 10**15, -(10**15)], pa.timestamp("us")
    )
    new["flag"] = pa.array([True, False, None] * 2 + [True])
    assert_agree(model, pa.table(new))


def test_an_infinite_number_counts_as_a_huge_one():
    table = number_table()
    content = to_onnx(make_model(table))
    signs = np.ones((2, table.num_columns)) * [[1], [-1]]
    infinite = run(content, {"X": signs * np.inf})[1]
    np.testing.assert_array_equal(infinite, run(content, {"X": signs * HUGE})[1])
    assert np.isfinite(infinite).all()


@pytest.mark.parametrize("hidden", [((16,),), ENSEMBLE])
def test_a_model_of_64_bits(hidden):
    with jax.enable_x64(True):
        table = mixed_table()
        model = make_model(table, hidden, dtype=np.float64, scale=20.0)
        assert_agree(model, table)
        content = to_onnx(model)
    # Made and read without 64 bits in JAX too.
    assert to_onnx(model) == content


@pytest.mark.parametrize("make_table", [number_table, mixed_table])
def test_no_row(make_table):
    table = make_table()
    model = make_model(table, ENSEMBLE)
    label, probabilities = run(to_onnx(model), feed(model, table.slice(0, 0)))
    assert label.shape == (0,)
    assert probabilities.shape == (0, 2)


def test_many_rows():
    table = number_table(100_000)
    assert_agree(make_model(table), table)


@pytest.mark.parametrize(
    "classes",
    [("no", "yes"), ("yes", "no"), ("ü", ""), (False, True), (0, 1), (7, -3), (0.5, 1.5)],
)
def test_labels_are_the_models_own(classes):
    table = number_table()
    model = make_model(table, classes=classes)
    assert_agree(model, table)
    labels = run(to_onnx(model), feed(model, table))[0].tolist()
    assert {*labels} == {*classes}
    assert {type(label) for label in labels} == {type(classes[0])}


@pytest.mark.parametrize("hidden", [((16,),), ENSEMBLE])
@pytest.mark.parametrize("shift", [-27, -7, 1, 7, 20])
def test_threshold(shift, hidden):
    """Also where float32 probabilities are no finer than the distance from 1."""
    table = number_table()
    model = make_model(table, hidden)
    *below, output = model.networks
    networks = (*below, output._replace(b=output.b + shift))
    model = dataclasses.replace(model, networks=networks)
    logits = model.logits(table).astype(np.float64)
    threshold = 1 / (1 + np.exp(-np.median(logits)))
    model = dataclasses.replace(model, threshold=float(threshold))
    label, _ = run(to_onnx(model), feed(model, table))
    is_clear = np.abs(logits - model.threshold_logit) > 1e-5 * (1 + np.abs(logits))
    assert is_clear.mean() > 0.95
    expected = np.array(model.predict(table)[1])
    assert label[is_clear].tolist() == expected[is_clear].tolist()
    assert 0.4 < (label == "yes").mean() < 0.6


def test_the_probability_at_the_threshold_is_positive():
    table = number_table()
    model = make_model(table)
    zero = jax.tree.map(np.zeros_like, model.networks)
    model = dataclasses.replace(model, networks=zero)
    label, _ = run(to_onnx(model), feed(model, table))
    assert label.tolist() == model.predict(table)[1] == ["yes"] * 300


def test_same_model_same_bytes():
    model = make_model(mixed_table(), ENSEMBLE)
    assert to_onnx(model) == to_onnx(model)


def test_the_file_describes_itself():
    model = make_model(mixed_table(), classes=(0, 1))
    file = onnx.load_from_string(to_onnx(model))
    props = {prop.key: prop.value for prop in file.metadata_props}
    assert (file.producer_name, file.opset_import[0].version) == ("jaxmlp", 17)
    assert props["target"] == "y"
    assert json.loads(props["classes"]) == [0, 1]
    assert float(props["threshold"]) == 0.5
    columns = json.loads(props["columns"])
    assert [(c["name"], c["input"]) for c in columns] == [
        ("job", "job"),
        ("x", "x"),
        ("label", "column label"),
        ("", "column "),
        ("day", "day"),
        ("column label", "column column label"),
        ("flag", "flag"),
        ("heavy", "heavy"),
    ]
    assert [c["kind"] for c in columns][3:5] == ["categorical", "date"]
    assert [put.name for put in file.graph.input] == [c["input"] for c in columns]
    encoded = onnx.load_from_string(to_onnx(model, is_raw=False))
    props = {prop.key: prop.value for prop in encoded.metadata_props}
    assert json.loads(props["input_names"]) == model.preprocessor.input_names


def test_the_graph_of_a_wide_table_has_few_nodes():
    rng = np.random.default_rng(0)
    table = pa.table({f"x{i}": rng.normal(size=50) for i in range(200)})
    file = onnx.load_from_string(to_onnx(make_model(table)))
    assert len(file.graph.node) < 40


def test_the_empty_text_as_a_category_is_refused():
    table = pa.table({"job": ["", "a"] * 20})
    model = make_model(table)
    with pytest.raises(DataError, match=r"'job' has the empty text.*--input encoded"):
        to_onnx(model)
    label, _ = run(to_onnx(model, is_raw=False), {"encoded": model.features(table)})
    assert label.tolist() == model.predict(table)[1]


def test_too_large_for_the_format(monkeypatch):
    monkeypatch.setattr(export_onnx, "_MOST_BYTES", 100)
    with pytest.raises(DataError, match="2 GiB"):
        to_onnx(make_model(number_table()))
