"""How sure a model is of its predictions."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.analysis import laplace
from jaxmlp.interfaces.inspection.origin import TrainingPart, analysed, find_members
from jaxmlp.interfaces.model import Model


class Uncertainty(NamedTuple):
    """What `jaxmlp predict --std` adds, `(m,)` each.

    Attributes:
      std: Standard deviation of the logit, within and between the networks.
      averaged: Probability of the positive class, averaged over the Gaussians of all
        networks.
    """

    std: NDArray[np.float64]
    averaged: NDArray[np.float64]


def predict_with_std(
    model: Model, part: TrainingPart, table: pa.Table, l2: float | None
) -> Uncertainty:
    """Applies the Laplace approximation to each network.

    Args:
      model: A trained model.
      part: Its training rows.
      table: The rows to predict.
      l2: Strength of the penalty, or None, as in `find_members`.

    Raises:
      DataError: A needed column is missing or holds what cannot be used, or the model
        cannot be analysed.
    """
    X = model.features(table).astype(np.float64)
    members = find_members(model, part, l2)
    found = []
    for member in members:
        X_train, y_train, weight = part.used_by(member.uses)
        with analysed():
            found.append(
                laplace(
                    member.params,
                    X_train,
                    y_train,
                    X,
                    l2=member.l2,
                    sample_weight=weight,
                )
            )
    means, variances, probs = (
        np.stack([np.asarray(part) for part in parts])
        for parts in zip(*(each[:3] for each in found), strict=True)
    )
    variance = variances.mean(axis=0) + means.var(axis=0)
    return Uncertainty(np.sqrt(variance), probs.mean(axis=0))
