"""Checks of the values a caller gives; inside traced code there are none to check."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def check_examples(X: ArrayLike, y: ArrayLike | None = None, *, first_row: int = 0) -> None:
    """Refuses examples that have no gradient; under `jit`, only empty ones.

    Args:
      X: Features, `(n, p)`.
      y: Labels, `(n,)`, or None.
      first_row: Number of the first row, for messages.

    Raises:
      ValueError: X is empty or not finite, or y holds other labels than 0 and 1; names
        the place.
    """
    if np.size(X) == 0:
        raise ValueError(f"X is empty: its shape is {np.shape(X)}")
    _check("X", X, jnp.isfinite, "must be finite", first_row)
    if y is not None:
        _check("y", y, lambda y: (y == 0) | (y == 1), "must hold labels 0 and 1", first_row)


def _check(name: str, array: Any, is_right: Any, message: str, first_row: int) -> None:
    if isinstance(array, jax.core.Tracer):
        return
    kind = np.asarray(array).dtype.kind if not isinstance(array, jax.Array) else "f"
    if kind in "OSUMmc":
        raise ValueError(f"{name} must be real numbers, not {np.asarray(array).dtype}")
    right = is_right(jnp.asarray(array))
    if not bool(right.all()):
        where = np.unravel_index(int(jnp.argmin(right)), right.shape)
        names = (f"row {first_row + where[0]}", *(f"column {i}" for i in where[1:]))
        place = ", ".join(names)
        raise ValueError(f"{name} {message}; {place} is {np.asarray(array)[where]}")


def check_positive(name: str, value: Any) -> None:
    """Raises ValueError unless all of it is above 0, or traced; infinity is allowed."""
    if isinstance(value, jax.core.Tracer):
        return
    if not np.all(np.asarray(value, float) > 0):
        raise ValueError(f"{name} must be above 0 (inf for no limit), not {value}")
