"""Loss and gradient as training computes them: one product fewer, biases folded in."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.factors import augment_features, loss_factors_augmented, weighted_sum
from jaxmlp.core.losses import mean_weights
from jaxmlp.core.params import Params


def loss_and_grads(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> tuple[jax.Array, Params]:
    r"""Mean loss and its gradient in one forward and one backward pass.

    $$
    \mathcal{L} = \sum_i c_i \ell_i, \qquad
    c_i = \frac{1}{n} \;\text{ or }\; \frac{w_i}{\sum_j w_j}
    $$

    Args:
      params: Network parameters.
      X: Features, `(n, p)`; cast to the parameters' floating-point type.
      y: Labels, `(n,)`, in [0, 1].
      sample_weight: Non-negative weights, `(n,)`, or None for equal ones.

    Returns:
      Loss in nats, `()`, and its gradient with the structure of `params`.

    Raises:
      ValueError: The shapes do not match.

    Guarantees:
      Equals `jax.value_and_grad` of the same loss up to rounding. A weight of 2 counts
      as the row given twice, a weight of 0 as the row (if finite) left out.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (2, 8, 1))
      >>> X, y = jnp.eye(2), jnp.array([0.0, 1.0])
      >>> loss, grads = jax.jit(loss_and_grads)(params, X, y)
      >>> loss.shape, grads[0].w.shape
      ((), (2, 8))

    Source:
      Lecture, "Forward and Backward Pass in Matrix Notation", rearranged as in
      `jaxmlp.gradients.weighted_sum`.
    """
    return loss_and_grads_augmented(params, augment_features(params, X), y, sample_weight)


def loss_and_grads_augmented(
    params: Params,
    X: jax.Array,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> tuple[jax.Array, Params]:
    """`loss_and_grads` for features that end in a column of ones.

    Args:
      params: Network parameters.
      X: Features, `(n, p + 1)`, as `loss_factors_augmented` takes them.
      y: Labels, `(n,)`, in [0, 1].
      sample_weight: Non-negative weights, `(n,)`, or None for equal ones.

    Returns:
      Loss in nats, `()`, and its gradient with the structure of `params`.
    """
    losses, factors = loss_factors_augmented(params, X, y)
    shares = mean_weights(losses, sample_weight, losses.dtype)
    return jnp.sum(losses * shares), weighted_sum(factors, shares)
