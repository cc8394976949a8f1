"""Checks of the arrays a caller gives, on the host, once, before anything is compiled."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from jaxmlp.training.places import Place, put
from jaxmlp.training.state import Data

ClassWeight = Mapping[int, float] | Literal["balanced"] | None
"""Weights by label, or `"balanced"` for n / (2 n_c), or None for equal ones."""


def check_data(
    X: ArrayLike,
    y: ArrayLike,
    *,
    dtype: DTypeLike,
    compute_dtype: DTypeLike | None = None,
    n_features: int | None = None,
    X_val: ArrayLike | None = None,
    y_val: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    sample_weight_val: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    augmented: bool = False,
    device: Place = None,
    names: tuple[str, str] = ("X", "y"),
) -> Data:
    """Validates training data and moves it to the device.

    Args:
      X: Features, `(n, p)`, finite.
      y: Labels in {0, 1}, `(n,)`.
      dtype: Floating-point type of the parameters.
      compute_dtype: Type to multiply in; None is `dtype`.
      n_features: Columns that X must have, or None for any number.
      X_val: Validation features, `(n_val, p)`, or None.
      y_val: Validation labels, `(n_val,)`, or None.
      sample_weight: Non-negative weights, `(n,)`, not all zero, or None.
      sample_weight_val: The same of the validation part, `(n_val,)`.
      class_weight: Weights by label, which multiply those of the rows, in the validation
        part too.
      augmented: Whether X gets a last column of ones.
      device: Where the arrays shall be; on a mesh, whole on each device.
      names: What the caller calls X and y, for messages.

    Returns:
      The arrays on the device.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
    """
    X_name, y_name = names
    train = _features(
        X_name, X, find_compute_dtype(compute_dtype, dtype), augmented=augmented
    )
    n_samples, n_columns = train.shape[0], train.shape[1] - augmented
    if n_features is not None and n_columns != n_features:
        raise ValueError(f"{X_name} has {n_columns} columns, params take {n_features}")
    labels = check_labels(y_name, y, n_samples, dtype)
    by_label = None if class_weight is None else class_weights(class_weight, labels)
    weight = _row_weights(sample_weight, by_label, labels, dtype)
    val = check_validation(X_val, y_val, n_columns, dtype, by_label, sample_weight_val)
    arrays = (train, labels, weight, *(val or (None, None, None)))
    return Data(*put(arrays, device))


def check_validation(
    X_val: ArrayLike | None,
    y_val: ArrayLike | None,
    n_features: int,
    dtype: DTypeLike,
    by_label: np.ndarray | None,
    sample_weight: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
    """Features, labels and weights of a validation part, if there is one.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
    """
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val must be given together")
    if X_val is None or y_val is None:
        return None
    val = _features("X_val", X_val, dtype)
    if val.shape[1] != n_features:
        raise ValueError(
            f"X_val must have {n_features} columns, as the training part, not "
            f"{val.shape[1]}"
        )
    labels = check_labels("y_val", y_val, val.shape[0], dtype)
    return val, labels, _val_weights(sample_weight, by_label, labels, dtype)


def _features(
    name: str, X: ArrayLike, dtype: DTypeLike, *, augmented: bool = False
) -> np.ndarray:
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"{name} must have shape (n, p), not {X.shape}")
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(f"{name} is empty: its shape is {X.shape}")
    if not augmented:
        return as_finite(name, X, dtype)
    columns = np.ones((X.shape[0], X.shape[1] + 1), dtype)
    as_finite(name, X, dtype, out=columns[:, :-1])
    return columns


def check_labels(name: str, y: ArrayLike, n_samples: int, dtype: DTypeLike) -> np.ndarray:
    """Labels 0 and 1 in a floating-point type, or raises ValueError."""
    y = np.asarray(y)
    if y.shape != (n_samples,):
        raise ValueError(f"{name} must have shape ({n_samples},), not {y.shape}")
    # Of numbers, a tenth of what np.isin takes.
    is_label = (y == 0) | (y == 1) if y.dtype.kind in "biuf" else np.isin(y, (0, 1))
    if not is_label.all():
        row = int(np.argmin(is_label))
        raise ValueError(
            f"{name} must hold labels 0 and 1; row {row} is {y.tolist()[row]!r}"
        )
    return y.astype(dtype)


def find_compute_dtype(compute_dtype: DTypeLike | None, dtype: DTypeLike) -> np.dtype[Any]:
    """Type to multiply in, or raises ValueError."""
    if compute_dtype is None:
        return np.dtype(dtype)
    for allowed in (np.dtype(dtype), jnp.dtype(jnp.bfloat16)):
        if compute_dtype in (allowed, allowed.name, allowed.type):
            return allowed
    raise ValueError(
        f"compute_dtype must be bfloat16 or the parameters' {np.dtype(dtype)}, "
        f"not {compute_dtype!r}"
    )


def _row_weights(
    sample_weight: ArrayLike | None,
    by_label: np.ndarray | None,
    labels: np.ndarray,
    dtype: DTypeLike,
) -> np.ndarray | None:
    """Product of both weights, the greatest between 1/2 and 1; None for equal ones."""
    weight = None
    if sample_weight is not None:
        weight = _sample_weights("sample_weight", sample_weight, len(labels))
    if by_label is not None:
        of_row = by_label[labels.astype(int)]
        weight = of_row if weight is None else weight * of_row
        if not (weight > 0).any():
            raise ValueError("class_weight leaves no row with a weight above zero")
    return None if weight is None else _scale(weight).astype(dtype)


def _val_weights(
    sample_weight: ArrayLike | None,
    by_label: np.ndarray | None,
    labels: np.ndarray,
    dtype: DTypeLike,
) -> np.ndarray | None:
    """Product of both weights, all zero if only labels of weight 0 occur, or None."""
    weight = None if by_label is None else by_label[labels.astype(int)]
    if sample_weight is not None:
        of_row = _sample_weights("sample_weight_val", sample_weight, len(labels))
        weight = of_row if weight is None else weight * of_row
    return None if weight is None else weight.astype(dtype)


def _scale(weight: np.ndarray) -> np.ndarray:
    """Brings the greatest weight to between 1/2 and 1.

    Only their ratios count, and so no sum of them overflows. By a power of two, which
    rounds nothing.
    """
    return np.ldexp(weight, -weight_exponent(weight))


def weight_exponent(weight: np.ndarray) -> int:
    """Exponent of the power of two that `check_data` divides weights by."""
    return int(np.frexp(weight.max())[1])


def class_weights(
    class_weight: ClassWeight, labels: np.ndarray | None = None
) -> np.ndarray:
    """Weights of labels 0 and 1, `(2,)`, the greatest between 1/2 and 1.

    Raises:
      ValueError: They are not what they should be, or `"balanced"` without labels.
    """
    if isinstance(class_weight, Mapping):
        weights = [class_weight.get(label, math.nan) for label in (0, 1)]
        if all(math.isfinite(w) and w >= 0 for w in weights) and len(class_weight) == 2:
            return _scale(np.asarray(weights, float))
    elif class_weight == "balanced" and labels is not None:
        counts = np.bincount(labels.astype(int), minlength=2)
        return _scale(len(labels) / (2 * np.maximum(counts, 1)))
    balanced = "be 'balanced' or " if labels is not None else ""
    raise ValueError(
        f"class_weight must {balanced}hold a non-negative weight for labels 0 and "
        f"1, such as {{0: 1, 1: 5}}, not {class_weight!r}"
    )


def _sample_weights(name: str, weight: ArrayLike, n_samples: int) -> np.ndarray:
    """Weights, the greatest between 1/2 and 1."""
    weight = np.asarray(weight)
    if weight.shape != (n_samples,):
        raise ValueError(f"{name} must have shape ({n_samples},), not {weight.shape}")
    weight = as_finite(name, weight, np.float64)
    if (weight < 0).any():
        row = int(np.argmax(weight < 0))
        raise ValueError(f"{name} is negative at row {row}: {weight[row]!r}")
    if not (weight > 0).any():
        raise ValueError(f"{name} is zero for every row")
    return _scale(weight)


def as_finite(
    name: str, array: np.ndarray, dtype: DTypeLike, out: np.ndarray | None = None
) -> np.ndarray:
    """Casts a copy, into `out` if given, and refuses what is not finite then.

    Raises:
      ValueError: Names the array, its first such place and the value.
    """
    # bfloat16 is no np.number, so the test is for what is surely not a number.
    if array.dtype.kind in "OSUMmc":
        raise ValueError(f"{name} must be real numbers, not of type {array.dtype}")
    # Cast first: a finite float64 can be infinite in float32.
    cast = np.empty(array.shape, dtype) if out is None else out
    with np.errstate(over="ignore", invalid="ignore"):
        cast[...] = array
        seen = array if array.dtype == cast.dtype else cast
        # What is NaN anywhere has a NaN as its least and its greatest. Costs half of a sum.
        if np.isfinite([seen.min(initial=0), seen.max(initial=0)]).all():
            return cast
    is_finite = np.isfinite(cast)
    if not is_finite.all():
        where = np.unravel_index(int(np.argmin(is_finite)), cast.shape)
        place = ", ".join(
            f"{axis} {index}" for axis, index in zip(("row", "column"), where, strict=False)
        )
        raise ValueError(f"{name} must be finite in {cast.dtype}; {place} is {cast[where]}")
    return cast
