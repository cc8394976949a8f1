"""Rows of a table whose label the rest of it contradicts."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.analysis import (
    LabelErrors,
    label_errors,
    label_errors_from_logits,
    leave_one_out,
)
from jaxmlp.analysis.label_errors import N_FOLDS
from jaxmlp.core import forward
from jaxmlp.data.columns import Values, decode, infer_kinds
from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import Classes, as_text, encode_labels, find_classes, find_column
from jaxmlp.data.preprocess import fit_preprocessor
from jaxmlp.interfaces.inspection.origin import analysed, find_members, find_training_part
from jaxmlp.interfaces.model import Model


class Audit(NamedTuple):
    """What `jaxmlp audit` finds.

    Attributes:
      table: `row`, `given`, `suggested`, `probability_wrong` and `reason`, a row for each
        row of the data, most suspicious first.
      is_shown: Which of them are written unless all are asked for.
      summary: What is printed, as JSON values.
    """

    table: pa.Table
    is_shown: NDArray[np.bool_]
    summary: dict[str, Any]


def audit_table(table: pa.Table, target: str, seed: int) -> Audit:
    """Looks for label errors with networks trained for it.

    Args:
      table: Features and target.
      target: Name of the target column.
      seed: Of folds, starting weights and orders.

    Raises:
      DataError: The table cannot be used.
    """
    column = find_column(table, target, "target")
    classes = find_classes(column, target, None)
    y = encode_labels(column, target, classes)
    kinds = infer_kinds(table, target)
    columns = decode(table, kinds.used)
    preprocessor, dropped = fit_preprocessor(columns, np.arange(len(y)))
    notes = [
        f"column {name!r} is not used: {reason}"
        for name, reason in {**kinds.dropped, **dropped}.items()
    ]
    if not preprocessor.rules:
        raise DataError("no usable feature column: " + ("; ".join(notes) or "none given"))
    counts = np.bincount(y, minlength=2)
    if counts.min() < N_FOLDS:
        raise DataError(
            f"target column {target!r}: at least {N_FOLDS} rows of each label are needed, "
            f"not {counts[0]} of {as_text(classes.negative)} and {counts[1]} of "
            f"{as_text(classes.positive)}"
        )
    found = label_errors(jax.random.key(seed), preprocessor.encode(columns), y)
    return _audit(found, columns, y, classes, notes)


def audit_with_model(model: Model, table: pa.Table, l2: float | None) -> Audit:
    """Looks for label errors with a trained model, in the table that it was trained on.

    A network judges the rows that trained it by their leave-one-out logits, the others by
    their logits; those of an ensemble are the means of its networks'.

    Args:
      model: A trained model.
      table: Its table.
      l2: Strength of the penalty, or None, as in `find_members`.

    Raises:
      DataError: It is another table, the model keeps no record of its own, or cannot be
        analysed.
    """
    part = find_training_part(model, table)
    X = model.features(table).astype(np.float64)
    y = model.labels(table)
    logits = []
    for member in find_members(model, part, l2):
        z = np.array(forward(member.params, X))
        X_train, y_train, weight = part.used_by(member.uses)
        with analysed():
            z[part.rows[member.uses]] = leave_one_out(
                member.params, X_train, y_train, l2=member.l2, sample_weight=weight
            )
        logits.append(z)
    found = label_errors_from_logits(np.mean(logits, axis=0), y)
    columns = decode(table, model.preprocessor.kinds)
    return _audit(found, columns, y, model.classes, [])


def _audit(
    found: LabelErrors,
    columns: Mapping[str, Values],
    y: NDArray[np.int32],
    classes: Classes,
    notes: list[str],
) -> Audit:
    twins = _conflicting_twins(columns, y)
    labels = [classes.negative, classes.positive]
    reasons = []
    for row in found.order:
        other = 1 - int(y[row])
        sure = found.probs[row] if other else 1 - found.probs[row]
        reason = f"the other rows say {as_text(labels[other])}: probability {sure:.3f}"
        if row in twins:
            reason += f"; {_name_twins(twins[row], labels[other])}"
        reasons.append(reason)
    wrong = found.probability_wrong[found.order]
    result = pa.table(
        {
            "row": found.order,
            "given": pa.array([labels[code] for code in y[found.order]]),
            "suggested": pa.array([labels[code] for code in found.suggested[found.order]]),
            "probability_wrong": wrong,
            "reason": reasons,
        }
    )
    is_twin = np.isin(found.order, list(twins))
    summary = {
        "rows": len(y),
        "suspected": found.n_suggested,
        "expected": found.n_expected,
        "noise_rate": found.noise_rate,
        "conflicting_duplicates": len(twins),
        "notes": notes,
    }
    return Audit(result, (wrong > 0.5) | is_twin, summary)


def _conflicting_twins(
    columns: Mapping[str, Values], y: NDArray[np.int32]
) -> dict[int, list[int]]:
    """For each row, the rows with the same features and the other label."""
    codes = []
    for values in columns.values():
        if isinstance(values, np.ndarray):
            _, code = np.unique(values, return_inverse=True)  # NaN equals NaN here
        else:
            encoded = values.dictionary_encode().indices
            code = encoded.fill_null(-1).to_numpy(zero_copy_only=False)
        codes.append(code.astype(np.int64))
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, key in enumerate(np.stack(codes, axis=1)):
        groups[key.tobytes()].append(row)
    twins: dict[int, list[int]] = {}
    for rows in groups.values():
        by_label = [[row for row in rows if y[row] == label] for label in (0, 1)]
        if all(by_label):
            twins |= {row: by_label[1 - y[row]] for row in rows}
    return twins


def _name_twins(rows: list[int], label: Any) -> str:
    names = ", ".join(map(str, rows[:3])) + (", …" if len(rows) > 3 else "")
    plural = "s" if len(rows) > 1 else ""
    return f"same features as row{plural} {names}, labelled {as_text(label)}"
