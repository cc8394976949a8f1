"""Factors of every example's gradient, of its loss or of its logit."""

from jax.typing import ArrayLike

from jaxmlp.core.factors import (
    Factors,
    augment_features,
    logit_factors_augmented,
    loss_factors_augmented,
)
from jaxmlp.core.params import Params
from jaxmlp.gradients.validate import check_examples


def loss_factors(params: Params, X: ArrayLike, y: ArrayLike) -> Factors:
    r"""Every example's loss gradient, $g_i = \nabla_\theta \ell_i$, as factors.

    One forward and one backward pass, n·(d_in + d_out) numbers a layer; the functions of
    this package take what they return. Sign: that of the gradient, so descent goes the
    other way. Scale: each example's own, not divided by n.

    Args:
      params: Network parameters.
      X: Features, `(n, p)`; cast to the parameters' floating-point type.
      y: Labels in {0, 1}, `(n,)`.

    Returns:
      `Factors`, a pytree: pass it through `jax.jit`, `jax.vmap` and `jax.grad`.

    Raises:
      ValueError: The shapes do not match, X is empty or not finite, or y holds other
        labels. Values are not looked at under `jit`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> from jaxmlp.gradients import loss_factors, squared_norms
      >>> params = init_params(jax.random.key(0), (2, 1))
      >>> X, y = jnp.array([[0.0, 0.0], [3.0, 4.0]]), jnp.array([1, 0])
      >>> factors = jax.jit(loss_factors)(params, 0 * X, y)
      >>> squared_norms(factors)
      Array([0.25, 0.25], dtype=float32)

    Source:
      Goodfellow (2015), arXiv 1510.01799; lecture, "Backward Pass".
    """
    check_examples(X, y)
    _, factors = loss_factors_augmented(params, augment_features(params, X), y)
    return factors


def logit_factors(params: Params, X: ArrayLike) -> Factors:
    r"""Every example's logit gradient, $\nabla_\theta z_i$, as factors.

    As `loss_factors`, with the scale 1: the loss's gradient is
    $(\hat y_i - y_i)\,\nabla_\theta z_i$. Their `inner_products` are the empirical
    neural tangent kernel.

    Args:
      params: Network parameters.
      X: Features, `(n, p)`; cast to the parameters' floating-point type.

    Returns:
      `Factors`, a pytree.

    Raises:
      ValueError: X is not `(n, p)` for the network's p, is empty or not finite.

    Source:
      Jacot, Gabriel and Hongler (2018), arXiv 1806.07572, for the kernel.
    """
    check_examples(X)
    _, factors = logit_factors_augmented(params, augment_features(params, X))
    return factors
