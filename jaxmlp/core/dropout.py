"""Dropout: forward, and the backward pass written by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.factors import loss_factors_augmented, weighted_sum
from jaxmlp.core.losses import mean_weights
from jaxmlp.core.params import Layer, Params

_STEPS = 256  # one byte of randomness a unit


class Dropout(NamedTuple):
    """Shares of units that a training step leaves out, each from 0 to below 1.

    Attributes:
      hidden: Of each hidden layer's units.
      inputs: Of the features.
    """

    hidden: float = 0.0
    inputs: float = 0.0


class Masks(NamedTuple):
    """Which units a step keeps, for each example by itself.

    Attributes:
      inputs: `(n, p + 1)`, the column of ones always kept; None keeps all.
      hidden: `(n, q)` for each hidden layer, or None for all of them.
      scales: What each layer's weights are multiplied by, to make up for the inputs that
        are left out.
    """

    inputs: jax.Array | None
    hidden: tuple[jax.Array, ...] | None
    scales: tuple[float, ...]


def draw_masks(key: jax.Array, params: Params, n_samples: int, dropout: Dropout) -> Masks:
    """Draws which units a step keeps.

    Args:
      key: JAX random key.
      params: The network.
      n_samples: Examples in the step, n.
      dropout: The shares, which are rounded to 1/256.
    """
    input_key, *hidden_keys = jax.random.split(key, len(params))
    n_features = params[0].w.shape[0]
    inputs = hidden = None
    if _level(dropout.inputs):
        kept = _keep(input_key, (n_samples, n_features), dropout.inputs)
        inputs = jnp.concatenate([kept, jnp.ones((n_samples, 1), bool)], axis=1)
    if _level(dropout.hidden):
        hidden = tuple(
            _keep(k, (n_samples, layer.b.shape[0]), dropout.hidden)
            for k, layer in zip(hidden_keys, params[:-1], strict=True)
        )
    shares = (dropout.inputs, *[dropout.hidden] * (len(params) - 1))
    return Masks(inputs, hidden, tuple(_STEPS / (_STEPS - _level(s)) for s in shares))


def loss_and_grads_dropped(
    params: Params,
    X: jax.Array,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    masks: Masks,
) -> tuple[jax.Array, Params]:
    r"""`loss_and_grads_augmented` of a network without the units that are dropped.

    With $s = 1 / (1 - \text{share})$ and a mask m of zeros and ones, layer l sees
    the input $s\, m \odot h$. That is the layer with the weights $s W_l$ on
    the input $m \odot h$. There a dropped unit is what an inactive one is, 0 with a
    zero derivative, so that the backward pass is the one without dropout; and by the chain
    rule $\nabla_{W_l}$ is s times the gradient by $s W_l$.

    Args:
      params: Network parameters.
      X: Features, `(n, p + 1)`, the last column ones.
      y: Labels, `(n,)`, in [0, 1].
      sample_weight: Non-negative weights, `(n,)`, or None for equal ones.
      masks: From `draw_masks`.

    Returns:
      Loss in nats, `()`, and its gradient with the structure of `params`.

    Source:
      Srivastava et al. (2014), Journal of Machine Learning Research 15, scaled at
      training instead of at prediction.
    """
    kept = X if masks.inputs is None else jnp.where(masks.inputs, X, 0)
    scaled = _scale_weights(params, masks.scales)
    losses, factors = loss_factors_augmented(scaled, kept, y, masks.hidden)
    shares = mean_weights(losses, sample_weight, losses.dtype)
    grads = _scale_weights(weighted_sum(factors, shares), masks.scales)
    return jnp.sum(losses * shares), grads


def _scale_weights(params: Params, scales: tuple[float, ...]) -> Params:
    return tuple(
        layer if scale == 1 else Layer(layer.w * scale, layer.b)
        for layer, scale in zip(params, scales, strict=True)
    )


def _level(share: float) -> int:
    return round(_STEPS * share)


def _keep(key: jax.Array, shape: tuple[int, int], share: float) -> jax.Array:
    # Each random word serves four rows, a byte each; `jax.random.bits` of bytes takes four
    # times as long, because it puts those of a word beside each other.
    n, n_units = shape
    words = jax.random.bits(key, (-(-n // 4), n_units), jnp.uint32)
    shifts = jnp.arange(0, 32, 8, dtype=jnp.uint32)
    values = (words[None] >> shifts[:, None, None]) & jnp.uint32(_STEPS - 1)
    return values.reshape(-1, n_units)[:n] >= _level(share)
