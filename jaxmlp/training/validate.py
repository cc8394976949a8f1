"""Checks of what a caller gives, on the host, once, before anything is compiled."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from jaxmlp.training.engine import Data


def check_data(
    X: ArrayLike,
    y: ArrayLike,
    *,
    dtype: DTypeLike,
    X_val: ArrayLike | None = None,
    y_val: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    names: tuple[str, str] = ("X", "y"),
) -> Data:
    """Validates training data and moves it to the device.

    Args:
      X: Features, `(n, p)`, finite.
      y: Labels in {0, 1}, `(n,)`.
      dtype: Floating-point type to compute in.
      X_val: Validation features, `(n_val, p)`, or None.
      y_val: Validation labels, `(n_val,)`, or None.
      sample_weight: Non-negative weights, `(n,)`, not all zero, or None.
      names: What the caller calls X and y, for messages.

    Returns:
      The arrays on the device, in `dtype`.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
    """
    X_name, y_name = names
    train = _features(X_name, X, dtype)
    n_samples, n_features = train.shape
    data = Data(
        X=train,
        y=_labels(y_name, y, n_samples, dtype),
        sample_weight=None
        if sample_weight is None
        else _weights(sample_weight, n_samples, dtype),
        X_val=None,
        y_val=None,
    )
    if X_val is None and y_val is None:
        return data
    if X_val is None or y_val is None:
        raise ValueError("X_val and y_val must be given together")
    val = _features("X_val", X_val, dtype)
    if val.shape[1] != n_features:
        raise ValueError(
            f"X_val must have {n_features} columns, as {X_name}, not {val.shape[1]}"
        )
    return data._replace(X_val=val, y_val=_labels("y_val", y_val, val.shape[0], dtype))


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """Returns `value` as an int, or raises ValueError unless it is a whole number."""
    try:
        count = operator.index(value)
    except TypeError:
        count = least - 1
    if not least <= count < 2**31 or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number from {least}, not {value!r}")
    return count


def _features(name: str, X: ArrayLike, dtype: DTypeLike) -> jax.Array:
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"{name} must have shape (n, p), not {X.shape}")
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(f"{name} is empty: its shape is {X.shape}")
    return jnp.asarray(_finite(name, X, dtype))


def _labels(name: str, y: ArrayLike, n_samples: int, dtype: DTypeLike) -> jax.Array:
    y = np.asarray(y)
    if y.shape != (n_samples,):
        raise ValueError(f"{name} must have shape ({n_samples},), not {y.shape}")
    is_label = np.isin(y, (0, 1))
    if not is_label.all():
        row = int(np.argmin(is_label))
        raise ValueError(f"{name} must hold labels 0 and 1; row {row} is {y[row]!r}")
    return jnp.asarray(y, dtype)


def _weights(weight: ArrayLike, n_samples: int, dtype: DTypeLike) -> jax.Array:
    weight = np.asarray(weight)
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight must have shape ({n_samples},), not {weight.shape}"
        )
    weight = _finite("sample_weight", weight, dtype)
    if (weight < 0).any():
        row = int(np.argmax(weight < 0))
        raise ValueError(f"sample_weight is negative at row {row}: {weight[row]!r}")
    if not (weight > 0).any():
        raise ValueError("sample_weight is zero for every row")
    return jnp.asarray(weight)


def _finite(name: str, array: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    # bfloat16 is no np.number, so the test is for what is surely not a number.
    if array.dtype.kind in "OSUMmc":
        raise ValueError(f"{name} must be real numbers, not of type {array.dtype}")
    # Cast first: a finite float64 can be infinite in float32.
    with np.errstate(over="ignore"):
        array = array.astype(dtype)
    is_finite = np.isfinite(array)
    if not is_finite.all():
        where = np.unravel_index(int(np.argmin(is_finite)), array.shape)
        place = ", ".join(
            f"{axis} {index}" for axis, index in zip(("row", "column"), where, strict=False)
        )
        raise ValueError(
            f"{name} must be finite in {array.dtype}; {place} is {array[where]}"
        )
    return array
