"""Single rows worth a look: extremes, long gradients, suspected labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.analysis.label_errors import label_errors_from_logits
from jaxmlp.data.columns import python_values
from jaxmlp.data.labels import Classes, Label
from jaxmlp.interfaces.inspection.gradients import RowGradients
from jaxmlp.interfaces.report.curves import by_class

N_SUSPECTS = 15
N_EXTREMES = 5
MOST_VALUES = 8
"""Columns shown of a row."""

_BLOCK = 4096  # of `row_gradients`: whole ones are compiled once
_MOST_GRADIENTS = 16_384
_MOST_INPUTS = 4_000_000
_N_BARS = 30
_LONGEST_TEXT = 48


def find_suspects(
    rows: NDArray[np.int64],
    logits: NDArray[np.floating],
    y: NDArray[np.int32],
    classes: Classes,
) -> dict[str, Any] | None:
    """The labels that networks which had not seen them contradict most.

    Args:
      rows: Their numbers in the table, `(n,)`.
      logits: By networks that have not seen them.
      y: Given labels.
      classes: What they are called.

    Returns:
      `rows` (how many were judged), `suspected`, `expected`, `noise_rate`, and `labels`,
      most suspicious first; None where all labels are the same.
    """
    if not 0 < y.sum() < len(y):
        return None
    found = label_errors_from_logits(logits, y)
    return {
        "rows": len(y),
        "suspected": found.n_suggested,
        "expected": found.n_expected,
        "noise_rate": found.noise_rate,
        "labels": [
            {
                "row": int(rows[i]),
                "given": classes[y[i]],
                "suggested": classes[1 - y[i]],
                "probability_wrong": float(found.probability_wrong[i]),
            }
            for i in found.order[:N_SUSPECTS]
        ],
    }


def count_gradients(n: int, n_inputs: int) -> int:
    """Of how many of n training rows gradients are computed."""
    affordable = _MOST_INPUTS // n_inputs // _BLOCK * _BLOCK
    return min(n, _MOST_GRADIENTS, max(_BLOCK // 2, affordable))


def describe_gradients(found: RowGradients, n: int) -> dict[str, Any]:
    """Distribution of the gradients' norms by class.

    Args:
      found: Of the training rows, or of some of them.
      n: How many training rows there are.
    """
    norms = found.table["norm"].to_numpy().astype(np.float64)
    # A norm of 0 has no place on a logarithmic axis; it counts at the left end.
    greatest = norms.max() or 1.0
    least = max(norms[norms > 0].min(initial=greatest), 1e-8 * greatest)
    edges = np.geomspace(least * (1 - 1e-6), greatest * (1 + 1e-6), _N_BARS + 1)
    return {
        **by_class(np.maximum(norms, least), found.y, edges),
        "rows": len(norms),
        "of": n,
        "median_by_class": found.summary["median_norm_by_class"],
        "noise_scale": found.summary["noise_scale"],
    }


def find_extremes(
    table: pa.Table,
    shown: list[str],
    parts: dict[str, tuple[NDArray[np.int64], NDArray[np.floating]]],
    labels: Callable[[int], Label],
) -> dict[str, Any]:
    """The rows with the greatest scores, with some of their values.

    Args:
      table: The table.
      shown: Its columns to show.
      parts: For each kind of extreme, numbers of rows and their scores.
      labels: Gives a row's label.

    Returns:
      `columns`, and for each kind a list of `row`, `label`, `score` and `values`.
    """
    columns = shown[:MOST_VALUES]
    found: dict[str, Any] = {"columns": columns}
    for kind, (rows, scores) in parts.items():
        top = np.argsort(-scores, kind="stable")[:N_EXTREMES]
        picked = table.select(columns).take(pa.array(rows[top]))
        values = zip(*map(python_values, picked.columns), strict=True)
        found[kind] = [
            {
                "row": int(rows[i]),
                "label": labels(int(rows[i])),
                "score": float(scores[i]),
                "values": [as_cell(value) for value in values_of_row],
            }
            for i, values_of_row in zip(top, values, strict=True)
        ]
    return found


def as_cell(value: Any) -> str:
    """A value of a table as a short text; empty where it is missing."""
    if value is None or value != value:
        return ""
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
