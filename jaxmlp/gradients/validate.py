"""Checks of the values a caller gives; inside traced code there are none to check."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def check_examples(
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    first_row: int = 0,
    names: tuple[str, str] = ("X", "y"),
) -> None:
    """Refuses examples that have no gradient; under `jit`, only empty ones.

    Args:
      X: Features, `(n, p)`.
      y: Labels, `(n,)`, or None.
      first_row: Number of the first row, for messages.
      names: What the caller calls X and y, for messages.

    Raises:
      ValueError: X is empty or not finite, or y holds other labels than 0 and 1; names
        the place.
    """
    check_shapes(X, y, names)
    check_values(names[0], X, jnp.isfinite, "must be finite", first_row)
    if y is not None:
        check_labels(y, first_row, names[1])


def check_labels(y: ArrayLike, first_row: int = 0, name: str = "y") -> None:
    """Raises ValueError naming the first row that is neither 0 nor 1, unless traced."""
    is_label = lambda y: (y == 0) | (y == 1)
    check_values(name, y, is_label, "must hold labels 0 and 1", first_row)


def check_shapes(
    X: ArrayLike, y: ArrayLike | None = None, names: tuple[str, str] = ("X", "y")
) -> None:
    """Raises ValueError unless X is `(n, p)`, not empty, and y `(n,)` or None."""
    shapes = [np.shape(X)] if y is None else [np.shape(X), np.shape(y)]
    if len(shapes[0]) != 2 or shapes[1:] not in ([], [shapes[0][:1]]):
        both = " and ".join(names)
        raise ValueError(f"{both} must have shapes (n, p) and (n,), not {shapes}")
    if 0 in shapes[0]:
        raise ValueError(f"{names[0]} is empty: its shape is {shapes[0]}")


def check_values(
    name: str,
    array: ArrayLike,
    is_right: Callable[[jax.Array], jax.Array],
    message: str,
    first_row: int = 0,
) -> None:
    """Raises ValueError naming the first place that is not right, unless traced."""
    if isinstance(array, jax.core.Tracer):
        return
    kind = np.asarray(array).dtype.kind if not isinstance(array, jax.Array) else "f"
    if kind in "OSUMmc":
        raise ValueError(f"{name} must be real numbers, not {np.asarray(array).dtype}")
    # A traced function closes over values; one that overflows in JAX's type is refused.
    with jax.ensure_compile_time_eval(), np.errstate(over="ignore"):
        right = np.asarray(is_right(jnp.asarray(array)))
    if not right.all():
        where = np.unravel_index(np.argmin(right), right.shape)
        names = (f"row {first_row + where[0]}", *(f"column {i}" for i in where[1:]))
        place = ", ".join(names)
        raise ValueError(f"{name} {message}; {place} is {np.asarray(array)[where]}")


def check_positive(name: str, value: Any) -> None:
    """Raises ValueError unless all of it is above 0, or traced; infinity is allowed."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        return
    try:
        is_right = not isinstance(value, str) and bool(np.all(np.asarray(value, float) > 0))
    except (TypeError, ValueError):
        is_right = False
    if not is_right:
        raise ValueError(f"{name} must be above 0 (inf for no limit), not {value!r}")
