"""A model as an ONNX file, with the preprocessing inside.

The nodes work on blocks of columns, so that their number does not grow with the table;
only categories take a node each. The blocks are put side by side as they come, and the
rows of the first layer's weights brought into that order.
"""

import itertools
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxmlp.core import Params
from jaxmlp.data.errors import DataError
from jaxmlp.data.rules import SMOOTH_CLIP, CategoricalRule, NumericRule, Rule
from jaxmlp.interfaces.exports.onnx_graph import Graph
from jaxmlp.interfaces.model import Model

MISSING = ""
"""What stands for a missing category: ONNX strings have no null."""

_OUTPUTS = ("label", "probabilities")
_MOST_BYTES = 2**31 - 2**24  # protobuf ends at 2 GiB; the rest is room for all but weights


class _Block(NamedTuple):
    """Some columns of the networks' input.

    Attributes:
      tensor: Its name, float32 `[N, len(places)]`.
      places: Which of the input's columns they are.
    """

    tensor: str
    places: list[int]


def to_onnx(model: Model, *, is_raw: bool = True) -> bytes:
    """Makes an ONNX file that predicts what the model does.

    Args:
      model: The model.
      is_raw: Whether it takes the table's columns: all in one input `X`, float64
        `[N, n_columns]`, where none is a category, else an input `[N, 1]` for each, float64
        or strings. If not, `encoded`, float32 `[N, len(input_names)]`: `Model.features`.

    Returns:
      The file's bytes. Its outputs are `label`, `[N]`, of the model's two values, and
      `probabilities`, float32 `[N, 2]`, of the negative and the positive one.

    Raises:
      DataError: The model is too large for ONNX, or takes raw columns of which one has the
        empty text among its categories.

    Guarantees:
      The same model gives the same bytes.
    """
    if sum(array.nbytes for layer in model.networks for array in layer) > _MOST_BYTES:
        raise DataError("the model is too large for ONNX: its files end at 2 GiB")
    graph, rules = Graph(), model.preprocessor.rules
    names = model.preprocessor.input_names
    metadata = {
        "target": model.target,
        "classes": json.dumps(model.classes),
        "threshold": repr(model.threshold),
    }
    if is_raw:
        text = _TAKES_COLUMNS
        metadata["columns"] = json.dumps(describe_columns(rules))
        blocks = _encode(graph, rules)
    else:
        text = _TAKES_ENCODED
        metadata["input_names"] = json.dumps(names)
        tensor = graph.input("encoded", np.float32, len(names))
        blocks = [_Block(tensor, list(range(len(names))))]
    logits = _add_networks(graph, blocks, model.networks)
    _add_outputs(graph, logits, model)
    return graph.to_bytes(f"Predicts {model.target}. {text}", metadata)


_TAKES_COLUMNS = (
    "Takes the columns of a table: NaN for a missing number, an empty text for a missing "
    "category, days since 1970-01-01 for a date."
)
_TAKES_ENCODED = "Takes what the preprocessing of jaxmlp makes of a table."


def describe_columns(rules: Sequence[Rule]) -> list[dict[str, str]]:
    """Says under which input a graph of raw columns takes each column, in their order.

    Returns:
      `name` and `kind` of each column, and its `input`: `X` if all are numbers; else the
      column's name, changed if ONNX cannot have it.
    """
    is_mixed = any(isinstance(rule, CategoricalRule) for rule in rules)
    taken = set(_OUTPUTS)
    columns = []
    for rule in rules:
        name = rule.name if is_mixed else "X"
        # The empty name means no input, and slashes begin the names of what is inside.
        while is_mixed and (name in taken or not name or name.startswith("/")):
            name = f"column {name}"
        taken.add(name)
        columns.append({"name": rule.name, "kind": rule.kind, "input": name})
    return columns


def _encode(graph: Graph, rules: Sequence[Rule]) -> list[_Block]:
    """Adds the inputs and the preprocessing."""
    starts = [0, *itertools.accumulate(len(rule.input_names) for rule in rules)]
    numbers: list[tuple[NumericRule, int]] = []
    texts: list[tuple[CategoricalRule, int]] = []
    for rule, start in zip(rules, starts[:-1], strict=True):
        if isinstance(rule, NumericRule):
            numbers.append((rule, start))
        else:
            texts.append((rule, start))
    if not texts:
        return _encode_numbers(graph, graph.input("X", np.float64, len(rules)), numbers)
    inputs = {
        column["name"]: graph.input(
            column["input"], object if column["kind"] == "categorical" else np.float64, 1
        )
        for column in describe_columns(rules)
    }
    blocks = [_encode_texts(graph, inputs, texts)]
    if numbers:
        X = graph.add("Concat", *(inputs[rule.name] for rule, _ in numbers), axis=1)
        blocks += _encode_numbers(graph, X, numbers)
    return blocks


def _encode_numbers(
    graph: Graph, X: str, numbers: Sequence[tuple[NumericRule, int]]
) -> list[_Block]:
    """Adds what `NumericRule.encode` does, in float64 as there, for all columns at once."""
    rules = [rule for rule, _ in numbers]
    is_missing = graph.add("IsNaN", X)
    imputed = graph.add("Where", is_missing, np.array([r.median for r in rules]), X)
    scaled = _scale(graph, imputed, rules)
    blocks = [_Block(scaled, [start for _, start in numbers])]
    marked = [j for j, rule in enumerate(rules) if rule.marks_missing]
    if marked:
        marks = graph.add("Gather", is_missing, np.array(marked), axis=1)
        blocks.append(_Block(marks, [numbers[j][1] + 1 for j in marked]))
    if any(rule.knots for rule in rules):
        blocks.append(_encode_knots(graph, imputed, numbers))
    return [_Block(graph.cast(block.tensor, np.float32), block.places) for block in blocks]


def _scale(graph: Graph, imputed: str, rules: Sequence[NumericRule]) -> str:
    scale = np.array([rule.scale for rule in rules])
    shift = np.array([rule.center for rule in rules]) / scale
    scaled = graph.add("Sub", graph.add("Div", imputed, scale), shift)
    # So far only that the square below stays finite.
    scaled = graph.add("Clip", scaled, np.float64(-1e150), np.float64(1e150))
    share = graph.add("Div", scaled, np.float64(SMOOTH_CLIP))
    square = graph.add("Mul", share, share)
    norm = graph.add("Sqrt", graph.add("Add", square, np.float64(1)))
    return graph.add("Div", scaled, norm)


def _encode_knots(
    graph: Graph, imputed: str, numbers: Sequence[tuple[NumericRule, int]]
) -> _Block:
    """Adds a column for each interval between two knots."""
    intervals = [
        (j, start + 1 + rule.marks_missing + i, low, high)
        for j, (rule, start) in enumerate(numbers)
        for i, (low, high) in enumerate(itertools.pairwise(rule.knots))
    ]
    columns, places, lows, highs = zip(*intervals, strict=True)
    low, high = np.array(lows), np.array(highs)
    inside = graph.add("Gather", imputed, np.array(columns), axis=1)
    inside = graph.add("Min", graph.add("Max", inside, low), high)
    # Halved, as the rule does, so that the distance of two huge knots does not overflow.
    passed = graph.add("Sub", graph.add("Div", inside, np.float64(2)), low / 2)
    return _Block(graph.add("Div", passed, high / 2 - low / 2), list(places))


def _encode_texts(
    graph: Graph, inputs: dict[str, str], texts: Sequence[tuple[CategoricalRule, int]]
) -> _Block:
    """Adds what `CategoricalRule.encode` does: a number for each text, then 0 and 1."""
    codes: list[str] = []
    columns: list[int] = []
    wanted: list[int] = []
    places: list[int] = []
    for j, (rule, start) in enumerate(texts):
        if MISSING in rule.levels:
            raise DataError(
                f"column {rule.name!r} has the empty text among its categories, which "
                "stands for a missing one in ONNX; give --input encoded"
            )
        n = len(rule.levels)
        known = {**{level: i for i, level in enumerate(rule.levels)}, MISSING: n + 1}
        code = graph.add(
            "LabelEncoder",
            inputs[rule.name],
            domain="ai.onnx.ml",
            keys_strings=list(known),
            values_int64s=list(known.values()),
            default_int64=n,
        )
        codes.append(code)
        own = [*range(n), *[n] * rule.joins_rare, *[n + 1] * rule.marks_missing]
        columns += [j] * len(own)
        wanted += own
        places += range(start, start + len(own))
    found = graph.add("Concat", *codes, axis=1)
    found = graph.add("Gather", found, np.array(columns), axis=1)
    is_wanted = graph.add("Equal", found, np.array(wanted))
    return _Block(graph.cast(is_wanted, np.float32), places)


def _add_networks(graph: Graph, blocks: Sequence[_Block], networks: Params) -> str:
    """Adds the k networks; returns their logits, `[k, N, 1]`."""
    dtype = networks[0].w.dtype
    h = graph.add("Concat", *(block.tensor for block in blocks), axis=1)
    h = h if dtype == np.float32 else graph.cast(h, dtype)
    order = [place for block in blocks for place in block.places]
    for i, layer in enumerate(networks):
        w, b = np.asarray(layer.w), np.asarray(layer.b)
        if i == 0:
            w = w[:, order]
        else:
            h = graph.add("Relu", h)
        # All networks at once: [N, d_in] or [k, N, d_in] by [k, d_in, d_out].
        h = graph.add("Add", graph.add("MatMul", h, w), b[:, None])
    return h


def _add_outputs(graph: Graph, logits: str, model: Model) -> None:
    """Adds the probabilities, means over the networks, and the labels."""
    is_text = isinstance(model.classes.positive, str)
    labels = np.array(model.classes, object if is_text else None)
    label, probabilities = _OUTPUTS
    graph.output(label, labels.dtype)
    graph.output(probabilities, np.float32, 2)
    dtype = model.networks[0].w.dtype
    # Not by Sigmoid, which in onnxruntime does not fall below 1e-8. Each by itself: 1 - p
    # has no digits left where p, as the threshold may be, is nearly 1.
    both = graph.add("Concat", logits, graph.add("Neg", logits), axis=2)
    both = graph.add("Add", graph.add("Exp", both), dtype.type(1))
    both = graph.add("ReduceMean", graph.add("Reciprocal", both), axes=[0], keepdims=0)
    graph.cast(both, np.float32, output=probabilities)
    sides = np.array([-model.threshold, 1 - model.threshold], dtype)
    lead = graph.add("MatMul", both, sides)
    reaches = graph.add("GreaterOrEqual", lead, dtype.type(0))
    graph.add("Gather", labels, graph.cast(reaches, np.int64), output=label)
