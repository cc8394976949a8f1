"""Checks of what the analysis is given; inside traced code there are no values to check."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmlp.core.params import Params
from jaxmlp.core.validate import check_features, check_layers, check_number
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
    check_finite_features(params, X, names[0])
    if not is_traced(y):
        labels = np.asarray(y)
        if (labels == labels[0]).all():
            raise ValueError(
                f"{names[1]} holds label {labels[0]} only; rows of both classes are needed"
            )
    if sample_weight is not None:
        _check_weight(params, y, sample_weight, names[1])


def _check_weight(
    params: Params, y: ArrayLike, sample_weight: ArrayLike, name: str
) -> None:
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
    if is_traced((y, sample_weight)):
        return
    labels = np.asarray(y)[np.asarray(sample_weight).astype(params[0].w.dtype) > 0]
    if not labels.size:
        raise ValueError("sample_weight must not be zero in all rows")
    if (labels == labels[0]).all():
        raise ValueError(
            f"sample_weight must not be zero in all rows of a class: {name} is {labels[0]} "
            "in the others"
        )


def check_params(params: Params) -> None:
    """Refuses parameters that are no network's, of other types, or not finite."""
    check_layers(params)
    for leaf in jax.tree.leaves(params):
        if leaf.dtype not in (jnp.float32, jnp.float64):
            raise ValueError(f"params must be float32 or float64, not {leaf.dtype}")
        if not is_traced(leaf) and not np.isfinite(np.asarray(leaf)).all():
            raise ValueError("params must be finite; the training diverged")


def check_l2(params: Params, l2: Any, *, may_be_zero: bool) -> None:
    """Refuses what is no strength of a penalty; traced values are not looked at."""
    if is_traced(l2):
        return
    dtype = np.dtype(params[0].w.dtype)
    least, most = float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)
    is_right = lambda x: least <= x <= most or (may_be_zero and x == 0)
    wanted = "a finite number from 0" if may_be_zero else "a finite number above 0"
    check_number("l2", l2, f"{wanted}, in {dtype}", is_right)


def check_finite(value: jax.Array) -> None:
    """Refuses a result that overflowed; traced values are not looked at."""
    if not is_traced(value) and not np.isfinite(value):
        raise ValueError(
            f"the sums over the rows overflow in {value.dtype}: standardise the features, "
            "or compute in float64"
        )


def check_query(params: Params, X: ArrayLike, y: ArrayLike | None = None) -> None:
    """Refuses query rows that are not the network's, or have no gradient."""
    check_examples(X, y, names=("X_query", "y_query"))
    check_finite_features(params, X, "X_query")


def check_finite_features(params: Params, X: ArrayLike, name: str) -> None:
    """Refuses features that are not the network's, or not finite in its type."""
    check_features(params, X, name)
    dtype = params[0].w.dtype
    is_right = lambda X: jnp.isfinite(X.astype(dtype))
    check_values(name, X, is_right, f"must be finite in {dtype}")
