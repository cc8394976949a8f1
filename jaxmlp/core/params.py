"""Parameters of the network: a pytree of plain arrays."""

import itertools
import math
from collections.abc import Sequence
from numbers import Integral
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

InitMethod = Literal["he", "xavier"]


class Layer(NamedTuple):
    """One dense layer, `a = h @ w + b`.

    Gradients and optimiser moments of a layer are a `Layer` too.

    Attributes:
      w: Weights, `(d_in, d_out)`.
      b: Biases, `(d_out,)`.
    """

    w: jax.Array
    b: jax.Array


Params = tuple[Layer, ...]
"""All layers, from the input to the output."""


def init_params(
    key: jax.Array,
    layer_sizes: Sequence[int],
    *,
    method: InitMethod = "he",
    dtype: DTypeLike = jnp.float32,
) -> Params:
    r"""Draws the starting parameters of a network.

    $$
    \text{He: } w \sim \mathcal{N}\left(0, \frac{2}{d_{in}}\right) \qquad
    \text{Xavier: } w \sim \mathcal{U}\left(-\sqrt{\frac{6}{d_{in}+d_{out}}},
    \sqrt{\frac{6}{d_{in}+d_{out}}}\right) \qquad b = 0
    $$

    Args:
      key: JAX random key; the same key gives the same parameters.
      layer_sizes: Widths from the input to the output, the last one 1: `(p, 1)` is
        logistic regression, `(p, q, 1)` the lecture's network, `(p, q1, q2, 1)` deeper.
      method: `"he"` or `"xavier"`.
      dtype: Floating-point type of every array.

    Returns:
      One `Layer` for each pair of neighbouring widths, weights `(d_in, d_out)`.

    Raises:
      ValueError: A width is not a positive whole number, the last width is not 1, there
        are fewer than two widths, or the method is unknown.

    Guarantees:
      Biases are exactly zero, and Xavier's weights stay inside their range.

    Examples:
      >>> import jax
      >>> params = init_params(jax.random.key(0), (30, 16, 1))
      >>> [layer.w.shape for layer in params]
      [(30, 16), (16, 1)]

    Source:
      Lecture, "Initialization Methods"; Glorot and Bengio (2010); He et al. (2015).
    """
    check_layer_sizes(layer_sizes)
    draws = draw_weights(key, n_weights(layer_sizes), method=method, dtype=dtype)
    return tuple(
        Layer(w, jnp.zeros((w.shape[1],), dtype))
        for w in shape_draws(draws, layer_sizes, method=method)
    )


def draw_weights(
    key: jax.Array, n_draws: int, *, method: InitMethod, dtype: DTypeLike
) -> jax.Array:
    """Draws the weights of all layers before their scaling, `(n_draws,)`.

    With JAX's default generator, fewer draws from the same key are the first of more: one
    compiled draw serves networks of many widths.

    Raises:
      ValueError: The method is unknown.
    """
    if method == "he":
        return jax.random.normal(key, (n_draws,), dtype)
    if method == "xavier":
        return jax.random.uniform(key, (n_draws,), dtype, -1, 1)
    raise ValueError(f"method must be 'he' or 'xavier', not {method!r}")


def n_weights(layer_sizes: Sequence[int]) -> int:
    """Number of weights, biases not counted."""
    return sum(d_in * d_out for d_in, d_out in itertools.pairwise(layer_sizes))


def shape_draws(
    draws: jax.Array, layer_sizes: Sequence[int], *, method: InitMethod
) -> list[jax.Array]:
    """Cuts draws into the layers' weights `(d_in, d_out)` and scales them.

    Takes as many draws as are needed or more; of a NumPy array it makes NumPy arrays.
    """
    weights, start = [], 0
    for d_in, d_out in itertools.pairwise(layer_sizes):
        scale = math.sqrt(2 / d_in if method == "he" else 6 / (d_in + d_out))
        w = draws[start : start + d_in * d_out].reshape(d_in, d_out)
        weights.append(w * scale)
        start += d_in * d_out
    return weights


def check_layer_sizes(layer_sizes: Sequence[int]) -> None:
    """Raises ValueError unless they are widths from an input to one logit."""
    if len(layer_sizes) < 2:
        raise ValueError(
            f"layer_sizes needs an input and an output width, not {tuple(layer_sizes)}"
        )
    if not all(map(_is_width, layer_sizes)):
        raise ValueError(
            f"layer_sizes must be positive whole numbers, not {tuple(layer_sizes)}"
        )
    if layer_sizes[-1] != 1:
        raise ValueError(f"layer_sizes must end in 1, the logit, not in {layer_sizes[-1]}")


def _is_width(size: object) -> bool:
    return isinstance(size, Integral) and int(size) >= 1
