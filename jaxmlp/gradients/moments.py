"""Moments of the gradient over the examples: mean, second moment, variance, noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmlp.core.factors import Factors, weighted_sum
from jaxmlp.core.params import Layer, Params
from jaxmlp.core.validate import check_count
from jaxmlp.gradients.per_example import squared_norms


def mean(factors: Factors) -> Params:
    r"""Mean of the examples' gradients, $\bar g = \frac{1}{n} \sum_i g_i$.

    Args:
      factors: From `loss_factors` or `logit_factors`.

    Returns:
      A mean with the structure of the parameters: of loss factors, the gradient of the
      mean loss.
    """
    n = factors.n_samples
    return weighted_sum(factors, jnp.full((n,), 1 / n, factors.scale.dtype))


def second_moment(factors: Factors) -> Params:
    r"""Mean of the squares of the examples' gradients, parameter by parameter.

    $$
    \frac{1}{n} (H^{\odot 2})^\top \Delta^{\odot 2}
    $$

    Of loss factors, the diagonal of the empirical Fisher matrix. Not centred: subtract
    the square of the `mean` for the `variance`.

    Args:
      factors: From `loss_factors` or `logit_factors`.

    Returns:
      A mean with the structure of the parameters.
    """
    n = factors.n_samples
    return tuple(
        Layer(w=(h * h).T @ (delta * delta) / n, b=jnp.sum(delta * delta, axis=0) / n)
        for h, delta in factors.layers
    )


def variance(factors: Factors, *, ddof: int = 0) -> Params:
    r"""Variance of the examples' gradients, parameter by parameter.

    $$
    \frac{n}{n - \text{ddof}} \left(\overline{g^2} - \bar g^2\right)
    $$

    Of one example's gradient; a mini-batch's mean has this divided by its size.

    Args:
      factors: From `loss_factors` or `logit_factors`.
      ddof: 0 divides by n, as `numpy.var`; 1 by n - 1, which is unbiased.

    Returns:
      Non-negative, with the structure of the parameters.

    Raises:
      ValueError: There are not more than `ddof` examples.

    Guarantees:
      To rounding in units of the second moment: where the mean is much greater than the
      deviations from it, digits are lost.
    """
    n = factors.n_samples
    if n <= check_count("ddof", ddof, least=0):
        raise ValueError(f"the variance with ddof={ddof} needs more than {ddof} examples")

    def of(square: jax.Array, mean: jax.Array) -> jax.Array:
        return n / (n - ddof) * jnp.maximum(square - mean**2, 0)

    return jax.tree.map(of, second_moment(factors), mean(factors))


def signal_to_noise(factors: Factors) -> Params:
    r"""Size of the mean gradient in standard deviations, parameter by parameter.

    $$
    \lvert \bar g \rvert / \sqrt{\operatorname{var}(g)}
    $$

    with the variance of one example's gradient (divided by n - 1); times √s for the mean
    of a mini-batch of s.

    Args:
      factors: From `loss_factors` of at least 2 examples.

    Returns:
      Non-negative, with the structure of the parameters; 0 where the mean is 0, infinite
      where only the variance is.
    """

    def of(mean: jax.Array, variance: jax.Array) -> jax.Array:
        return jnp.where(mean == 0, 0, jnp.abs(mean) / jnp.sqrt(variance))

    return jax.tree.map(of, mean(factors), variance(factors, ddof=1))


class NoiseScale(NamedTuple):
    r"""The simple gradient noise scale and what it is made of.

    Attributes:
      noise_scale: $\operatorname{tr} \Sigma / \lVert G \rVert^2$ from the two
        unbiased estimates; in examples: mini-batches much smaller are mostly noise, much
        larger ones mostly waste. Infinite where the estimate of the squared norm is not
        positive: n was too small to see the gradient. (The ratio of unbiased estimates
        is not unbiased itself; average the two over mini-batches, then divide.)
      trace: Unbiased estimate of the trace of the covariance Σ of one example's gradient.
      squared_norm: Unbiased estimate of the squared norm of the true gradient G; can be
        negative.
      mean_squared_norm: $\frac{1}{n} \sum_i \lVert g_i \rVert^2$, as measured.
      squared_norm_of_mean: $\lVert \bar g \rVert^2$, as measured.
    """

    noise_scale: jax.Array
    trace: jax.Array
    squared_norm: jax.Array
    mean_squared_norm: jax.Array
    squared_norm_of_mean: jax.Array


def noise_scale(factors: Factors) -> NoiseScale:
    r"""Simple gradient noise scale, $\operatorname{tr} \Sigma / \lVert G \rVert^2$.

    From the mean of the squared norms S and the squared norm of the mean M of n examples:

    $$
    \widehat{\operatorname{tr} \Sigma} = \frac{n}{n - 1} (S - M), \qquad
    \widehat{\lVert G \rVert^2} = \frac{n M - S}{n - 1}
    $$

    the paper's estimates for batches of 1 and n.

    Args:
      factors: From `loss_factors` of at least 2 examples.

    Returns:
      A `NoiseScale` of scalars.

    Raises:
      ValueError: There is only one example.

    Source:
      McCandlish, Kaplan, Amodei and others (2018), arXiv 1812.06162, appendix A.1.
    """
    n = factors.n_samples
    return noise_scale_of(jnp.mean(squared_norms(factors)), squared_norm(mean(factors)), n)


def noise_scale_of(
    mean_squared_norm: jax.Array, squared_norm_of_mean: jax.Array, n: int | jax.Array
) -> NoiseScale:
    """`noise_scale` from its inputs, such as sums over blocks of rows; `()` each."""
    if not isinstance(n, jax.Array) and n < 2:
        raise ValueError("the noise scale needs at least 2 examples")
    trace = n / (n - 1) * (mean_squared_norm - squared_norm_of_mean)
    squared = (n * squared_norm_of_mean - mean_squared_norm) / (n - 1)
    return NoiseScale(
        noise_scale=jnp.where(squared > 0, trace / squared, jnp.inf),
        trace=trace,
        squared_norm=squared,
        mean_squared_norm=mean_squared_norm,
        squared_norm_of_mean=squared_norm_of_mean,
    )


def squared_norm(grads: Params) -> jax.Array:
    """Squared Euclidean norm of a gradient, `()`."""
    return jnp.stack([jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(grads)]).sum()
