"""Checks of what a caller gives that need no values of arrays."""

import itertools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.params import Layer, Params


def check_layers(params: Params, name: str = "params") -> list[int]:
    """Returns the layer sizes, or raises ValueError unless they make a network."""
    is_tuple = isinstance(params, tuple) and params
    if not is_tuple or not all(isinstance(layer, Layer) for layer in params):
        raise ValueError(f"{name} must be a tuple of Layer, as init_params returns")
    sizes = [*jnp.shape(params[0].w)[:1], *(jnp.size(layer.b) for layer in params)]
    wanted = [((d_in, d_out), (d_out,)) for d_in, d_out in itertools.pairwise(sizes)]
    shapes = [(jnp.shape(layer.w), jnp.shape(layer.b)) for layer in params]
    if shapes != wanted or sizes[-1] != 1:
        raise ValueError(
            f"{name} must be layers (d_in, d_out) and (d_out,) that follow each other and "
            f"end in 1, not of shapes {shapes}"
        )
    return sizes


def as_features(params: Params, X: ArrayLike, name: str = "X") -> jax.Array:
    """Casts X to the parameters' type; raises as `check_features`."""
    check_features(params, X, name)
    return jnp.asarray(X, params[0].w.dtype)


def check_features(params: Params, X: ArrayLike, name: str = "X") -> None:
    """Refuses features that do not fit the network.

    Raises:
      ValueError: params are not a network's, or X is not `(n, p)` for its p.
    """
    width = check_layers(params)[0]
    shape = jnp.shape(X)
    if len(shape) != 2 or shape[1] != width:
        raise ValueError(
            f"{name} must have shape (n, {width}) to match the first layer, not {shape}"
        )


def check_number(
    name: str, value: Any, wanted: str, is_right: Callable[[float], bool]
) -> float:
    """Returns `value` as a float, or raises ValueError unless it is what is wanted.

    Args:
      name: The argument's name.
      value: What the caller gave.
      wanted: What it must be, in words.
      is_right: The same in code; false for NaN.
    """
    try:
        number = float("nan" if isinstance(value, str | bool) else value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not is_right(number):
        raise ValueError(f"{name} must be {wanted}, not {value!r}")
    return number


def check_count(name: str, value: Any, *, least: int = 1, most: int = 2**31 - 1) -> int:
    """Returns `value` as an int, or raises ValueError unless it is a whole number."""
    try:
        count = operator.index(value)
    except TypeError:
        count = least - 1
    if not least <= count <= most or isinstance(value, bool):
        limits = f"{least} to {most}" if count > most else least
        raise ValueError(f"{name} must be a whole number from {limits}, not {value!r}")
    return count
