"""The training rows that pushed a prediction up and down."""

from typing import Any

import jax
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.analysis import influence
from jaxmlp.analysis.curvature import MEMORY_LIMIT, choose_solver
from jaxmlp.core import forward
from jaxmlp.data.columns import python_values
from jaxmlp.data.errors import DataError
from jaxmlp.interfaces.inspection.origin import Member, TrainingPart, analysed, find_members
from jaxmlp.interfaces.model import Model


def explain_row(
    model: Model,
    part: TrainingPart,
    train: pa.Table,
    query: pa.Table | None,
    row: int,
    *,
    n_top: int,
    l2: float | None,
) -> dict[str, Any]:
    """Finds the training rows with the greatest influence on one prediction.

    Logits and influences of an ensemble are the means of its members'.

    Args:
      model: A trained model.
      part: Its training rows.
      train: The table they are from.
      query: Table with the row to explain, or None for `train`.
      row: The row's number in it, from 0.
      n_top: Rows to name for each direction.
      l2: Strength of the penalty, or None for that of the training (or, where that is
        0, for the one with the highest marginal likelihood).

    Returns:
      What `jaxmlp explain --json` prints.

    Raises:
      DataError: There is no such row, the query lacks a column, or the model cannot be
        analysed.
    """
    source = train if query is None else query
    if not 0 <= row < source.num_rows:
        raise DataError(f"there is no row {row}: the table has {source.num_rows} rows")
    asked = source.slice(row, 1)
    X_query = model.features(asked).astype(np.float64)
    members = find_members(model, part, l2)
    # Without a matrix, leverages would take a run of conjugate gradients a row.
    newton = all(_solver_of(member) != "cg" for member in members)
    changes, logits = [], []
    for member in members:
        X_train, y_train, weight = part.used_by(member.uses)
        change = np.zeros(len(part.rows))  # of rows that did not train it
        with analysed():
            found = influence(
                member.params,
                X_train,
                y_train,
                X_query,
                l2=member.l2,
                sample_weight=weight,
                newton=newton,
            )
        change[member.uses] = found[0]
        changes.append(change)
        logits.append(float(forward(member.params, X_query)[0]))
    logit = float(np.mean(logits))
    # Removing a row that pushed up lowers the logit.
    push = -np.mean(changes, axis=0)
    order = np.argsort(-push, kind="stable")
    up = [i for i in order[:n_top] if push[i] > 0]
    down = [i for i in order[::-1][:n_top] if push[i] < 0]
    names = list(model.preprocessor.kinds)
    return {
        "row": row,
        "logit": logit,
        "probability": _sigmoid(logit),
        "predicted": model.classes[int(logit >= model.threshold_logit)],
        "positive": model.classes.positive,
        "features": _features(asked, names, 0),
        "up": [_describe(model, train, part, names, i, push, logit) for i in up],
        "down": [_describe(model, train, part, names, i, push, logit) for i in down],
        "training_rows": len(part.rows),
        "newton": newton,
        "is_training_row": bool(query is None and row in part.rows),
        "l2": [member.l2 for member in members],
        "l2_is_chosen": any(member.is_chosen for member in members),
    }


def _solver_of(member: Member) -> str:
    """What `influence` factorises for this network."""
    n_rows = int(member.uses.sum())
    return choose_solver(member.params, n_rows, member.l2, "auto", MEMORY_LIMIT, 1)


def _describe(
    model: Model,
    train: pa.Table,
    part: TrainingPart,
    names: list[str],
    i: int,
    push: NDArray[np.float64],
    logit: float,
) -> dict[str, Any]:
    row = int(part.rows[i])
    return {
        "row": row,
        "label": model.classes[int(part.y[i])],
        "logit_push": float(push[i]),
        "probability_push": _sigmoid(logit) - _sigmoid(logit - float(push[i])),
        "features": _features(train, names, row),
    }


def _features(table: pa.Table, names: list[str], row: int) -> dict[str, Any]:
    values = {name: python_values(table[name].slice(row, 1))[0] for name in names}
    kinds = (bool, int, float, str, type(None))
    return {n: v if isinstance(v, kinds) else str(v) for n, v in values.items()}


def _sigmoid(logit: float) -> float:
    return float(jax.nn.sigmoid(logit))
