"""Parameters of the network: a pytree of plain arrays."""

import itertools
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

    .. math::
      \text{He: } w \sim \mathcal{N}\left(0, \frac{2}{d_{in}}\right) \qquad
      \text{Xavier: } w \sim \mathcal{U}\left(-\sqrt{\frac{6}{d_{in}+d_{out}}},
      \sqrt{\frac{6}{d_{in}+d_{out}}}\right) \qquad b = 0

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

    Example:
      >>> import jax
      >>> params = init_params(jax.random.key(0), (30, 16, 1))
      >>> [layer.w.shape for layer in params]
      [(30, 16), (16, 1)]

    Source:
      Lecture, "Initialization Methods"; Glorot and Bengio (2010); He et al. (2015).
    """
    _check_layer_sizes(layer_sizes)
    if method not in _DRAW_WEIGHTS:
        raise ValueError(f"method must be 'he' or 'xavier', not {method!r}")
    draw_weights = _DRAW_WEIGHTS[method]
    pairs = list(itertools.pairwise(layer_sizes))
    layer_keys = jax.random.split(key, len(pairs))
    return tuple(
        Layer(
            w=draw_weights(layer_key, d_in, d_out, dtype),
            b=jnp.zeros((d_out,), dtype),
        )
        for layer_key, (d_in, d_out) in zip(layer_keys, pairs, strict=True)
    )


def pad_params(params: Params, hidden_sizes: Sequence[int]) -> Params:
    """Widens the hidden layers with units whose weights and biases are all zero.

    Such a unit gives 0 and gets a zero gradient, in and out, because the derivative of
    ReLU at 0 is taken as 0. So it stays zero under every optimiser used here, and the
    widened network computes and learns what the narrow one does.

    Args:
      params: Network with `len(hidden_sizes)` hidden layers.
      hidden_sizes: Wanted widths, each at least the present one.

    Returns:
      Parameters of the widened network.
    """
    d_ins = (params[0].w.shape[0], *hidden_sizes)
    d_outs = (*hidden_sizes, params[-1].w.shape[1])
    return tuple(
        Layer(
            w=jnp.pad(
                layer.w,
                ((0, d_in - layer.w.shape[0]), (0, d_out - layer.w.shape[1])),
            ),
            b=jnp.pad(layer.b, (0, d_out - layer.b.shape[0])),
        )
        for layer, d_in, d_out in zip(params, d_ins, d_outs, strict=True)
    )


def unpad_params(params: Params, hidden_sizes: Sequence[int]) -> Params:
    """Takes the padding of `pad_params` off again.

    Args:
      params: Network whose hidden layers have at least `hidden_sizes` units.
      hidden_sizes: Widths to keep, the first units of each layer.

    Returns:
      Parameters of the narrow network.
    """
    d_ins = (params[0].w.shape[0], *hidden_sizes)
    d_outs = (*hidden_sizes, params[-1].w.shape[1])
    return tuple(
        Layer(w=layer.w[:d_in, :d_out], b=layer.b[:d_out])
        for layer, d_in, d_out in zip(params, d_ins, d_outs, strict=True)
    )


def _check_layer_sizes(layer_sizes: Sequence[int]) -> None:
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


def _he(key: jax.Array, d_in: int, d_out: int, dtype: DTypeLike) -> jax.Array:
    scale = jnp.sqrt(jnp.asarray(2 / d_in, dtype))
    return scale * jax.random.normal(key, (d_in, d_out), dtype)


def _xavier(key: jax.Array, d_in: int, d_out: int, dtype: DTypeLike) -> jax.Array:
    bound = jnp.sqrt(jnp.asarray(6 / (d_in + d_out), dtype))
    return jax.random.uniform(key, (d_in, d_out), dtype, -bound, bound)


_DRAW_WEIGHTS = {"he": _he, "xavier": _xavier}
