"""Clipped sums of gradients at the price of an ordinary step."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.factors import Factors, weighted_sum
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

    .. math:: \sum_i g_i \min\left(1, \frac{C}{\lVert g_i \rVert}\right)

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
      whose gradient overflows is left out.

    Example:
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
    if limits.ndim == 0:
        lengths = norms(factors)
        total = bounded_sum(factors, lengths, clip_shares(lengths, limits))
        return ClippedSum(total, lengths, _fraction(lengths > limits))
    lengths = norms(factors, per_layer=True)
    shares = clip_shares(lengths, limits[:, None])
    # One sum for each layer's weights; of each, only that layer is used and computed.
    longest = jnp.max(lengths, axis=0)
    total = tuple(bounded_sum(factors, longest, shares[i])[i] for i in range(n_layers))
    return ClippedSum(total, lengths, _fraction(lengths > limits[:, None]))


def clip_shares(lengths: jax.Array, max_norm: jax.Array) -> jax.Array:
    r"""What scales norms down to at most C, :math:`\min(1, C / \lVert g_i \rVert)`."""
    # Where nothing is clipped, C / 0 and its derivative are kept out.
    is_longer = lengths > max_norm
    return jnp.where(is_longer, max_norm / jnp.where(is_longer, lengths, 1), 1)


def bounded_sum(factors: Factors, lengths: jax.Array, shares: jax.Array) -> Params:
    r"""`weighted_sum` in which no example weighs more than its norm says.

    The output weights' gradient is :math:`H^\top \delta` here: what `weighted_sum` makes of
    the weights before it is the same but for rounding, which in an example with huge
    features that cancel can be longer than the norm that it was clipped by. Examples
    whose norm is not finite are left out: clipping would make NaN of them, for all.

    Args:
      factors: From `loss_factors` or `logit_factors`.
      lengths: Norms, `(n,)`.
      shares: Weights, `(n,)`.
    """
    is_kept = jnp.isfinite(lengths)

    def cut(array: jax.Array) -> jax.Array:
        return jnp.where(is_kept[:, None], array, 0)

    X, *activations = factors.inputs
    factors = factors._replace(
        inputs=(X, *map(cut, activations)),
        scale=jnp.where(is_kept, factors.scale, 0),
        slopes=tuple(map(cut, factors.slopes)),
    )
    *earlier, output = weighted_sum(factors, shares)
    if activations:
        delta = shares * factors.scale
        output = output._replace(w=factors.inputs[-1].T @ delta[:, None])
    return (*earlier, output)


def _fraction(is_longer: jax.Array) -> jax.Array:
    return jnp.mean(is_longer, axis=-1, dtype=jnp.float32)
