"""Clipped sums of gradients at the price of an ordinary step."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmlp.core.factors import Factors, squared_rows, weighted_sum
from jaxmlp.core.params import Params
from jaxmlp.gradients.per_example import norms
from jaxmlp.gradients.validate import check_positive


class ClippedSum(NamedTuple):
    """Sum of clipped gradients.

    Attributes:
      sum: With the structure of the parameters; not divided by n.
      norms: Norms before clipping, `(n,)`; per layer `(n_layers, n)`.
      clipped_fraction: Share of the examples that were longer, `()`; per layer
        `(n_layers,)`.
    """

    sum: Params
    norms: jax.Array
    clipped_fraction: jax.Array


def clipped_sum(factors: Factors, max_norm: ArrayLike | Sequence[float]) -> ClippedSum:
    r"""Sum of the examples' gradients, each scaled down to a norm of at most C.

    $$
    \sum_i g_i \min\left(1, \frac{C}{\lVert g_i \rVert}\right)
    $$

    Norms from the factors, then one weighted sum: the price of an ordinary gradient.

    Args:
      factors: From `loss_factors` or `logit_factors`.
      max_norm: The greatest norm C, above 0; `jnp.inf` clips nothing. Or one for each
        layer, from the first: then each layer's part is clipped on its own.

    Returns:
      A `ClippedSum`: a sum, not a mean.

    Raises:
      ValueError: A norm is not above 0, or there is not one for each layer.

    Guarantees:
      Adding or removing one example changes the sum by at most C (per layer: by the root
      of the sum of their squares), up to rounding. A zero gradient stays zero. An example
      whose squared norm overflows is left out.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> from jaxmlp.gradients import clipped_sum, loss_factors
      >>> params = init_params(jax.random.key(0), (2, 1))
      >>> factors = loss_factors(params, jnp.zeros((3, 2)), jnp.array([1, 1, 0]))
      >>> clipped = clipped_sum(factors, 0.25)
      >>> print(clipped.sum[0].b, clipped.norms, clipped.clipped_fraction)
      [-0.25] [0.5 0.5 0.5] 1.0

    Source:
      Abadi and others (2016), arXiv 1607.00133; norms as Goodfellow (2015).
    """
    check_positive("max_norm", max_norm)
    limits = jnp.asarray(max_norm, factors.scale.dtype)
    n_layers = len(factors.params)
    if limits.shape not in ((), (n_layers,)):
        raise ValueError(
            f"max_norm must be one norm, or one for each of {n_layers} layers, not of "
            f"shape {limits.shape}"
        )
    lengths = norms(factors, per_layer=limits.ndim == 1)
    is_longer = lengths > _per_example(limits)
    bounds = jnp.maximum(lengths, _rounding(factors, per_layer=limits.ndim == 1))
    shares = _clip_shares(bounds, _per_example(limits))
    if limits.ndim == 0:
        total = weighted_sum(_without(factors, ~jnp.isfinite(lengths)), shares)
    else:
        kept = _without(factors, ~jnp.all(jnp.isfinite(lengths), axis=0))
        # One sum for each layer's weights; of each, only that layer is used and computed.
        total = tuple(weighted_sum(kept, shares[i])[i] for i in range(n_layers))
    return ClippedSum(total, lengths, jnp.mean(is_longer, axis=-1, dtype=jnp.float32))


def _clip_shares(lengths: jax.Array, max_norm: jax.Array) -> jax.Array:
    r"""What scales norms down to at most C, $\min(1, C / \lVert g_i \rVert)$."""
    # Where nothing is clipped, C / 0 and its derivative are kept out.
    is_longer = lengths > max_norm
    return jnp.where(is_longer, max_norm / jnp.where(is_longer, lengths, 1), 1)


def _per_example(limits: jax.Array) -> jax.Array:
    return limits[..., None]


def _rounding(factors: Factors, *, per_layer: bool) -> jax.Array:
    r"""Norms that rounding may give an example's gradient, shaped as `norms`.

    `weighted_sum` takes the output weights' gradient from the sum $G$ of the weights
    before them, with errors of some $\varepsilon \lVert W \rVert \lVert h_i \rVert
    |s_i|$. Where huge inputs cancel in the activations, that is longer than the gradient,
    and an example clipped by its norm alone would count for more than C.
    """
    zero = jnp.zeros_like(factors.scale)
    if len(factors.params) == 1:
        return zero[None] if per_layer else zero
    w, h = factors.params[-2].w, factors.inputs[-2]
    # A thousand times the error: what is left then adds less than 0.1 % to C. Without
    # such cancellation still a thousandth of the norm, so it changes nothing.
    margin = 2.0**10 * float(np.finfo(w.dtype).eps) * jnp.sqrt(jnp.sum(w * w))
    bounds = margin * jnp.abs(factors.scale) * jnp.sqrt(squared_rows(h, w.dtype))
    if not per_layer:
        return bounds
    return jnp.stack([*[zero] * (len(factors.params) - 1), bounds])


def _without(factors: Factors, is_out: jax.Array) -> Factors:
    """Leaves examples out of sums, also where their factors are not finite.

    X is finite, and of the last activations `weighted_sum` asks only where they are above
    0, so a network with one hidden layer needs no copy of anything.
    """

    def cut(array: jax.Array) -> jax.Array:
        return jnp.where(is_out[:, None], 0, array)

    is_out |= factors.scale == 0  # whose activations may overflow all the same
    X, *activations = factors.inputs
    inner = map(cut, activations[:-1])
    return factors._replace(
        inputs=(X, *inner, *activations[-1:]),
        scale=jnp.where(is_out, 0, factors.scale),
        slopes=tuple(map(cut, factors.slopes)),
    )
