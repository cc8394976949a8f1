"""Checks of what the analysis is given; inside traced code there are no values to check."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmlp.core.params import Params
from jaxmlp.core.validate import check_layers
from jaxmlp.gradients.validate import check_examples, check_values


def is_traced(value: Any) -> bool:
    """Whether any part of a pytree is traced, so that it has no value yet."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def check_training(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    names: tuple[str, str],
) -> None:
    """Refuses training data that no model can have been fitted to.

    Raises:
      ValueError: Names the argument and what is wrong with it.
    """
    check_params(params)
    check_examples(X, y, names=names)
    if not is_traced(y):
        labels = np.asarray(y)
        if (labels == labels[0]).all():
            raise ValueError(
                f"{names[1]} holds label {labels[0]} only; rows of both classes are needed"
            )
    if sample_weight is None:
        return
    if np.shape(sample_weight) != np.shape(y):
        raise ValueError(
            f"sample_weight must have shape {np.shape(y)}, one a row, not "
            f"{np.shape(sample_weight)}"
        )
    check_values(
        "sample_weight",
        sample_weight,
        lambda w: jnp.isfinite(w) & (w >= 0),
        "must be finite and not negative",
    )
    if not is_traced(sample_weight) and not np.asarray(sample_weight).any():
        raise ValueError("sample_weight must not be zero in all rows")


def check_params(params: Params) -> None:
    """Refuses parameters that are no network's, or not finite."""
    check_layers(params)
    for leaf in jax.tree.leaves(params):
        if not is_traced(leaf) and not bool(jnp.isfinite(leaf).all()):
            raise ValueError("params must be finite; the training diverged")


def check_query(X: ArrayLike, y: ArrayLike | None = None) -> None:
    """Refuses query rows that have no gradient."""
    check_examples(X, y, names=("X_query", "y_query"))
