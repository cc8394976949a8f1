"""Several networks, stacked along a leading axis, as one classifier."""

import jax
from jax.typing import ArrayLike

from jaxmlp.core.model import forward
from jaxmlp.core.params import Params


def ensemble_logits(stacked: Params, X: ArrayLike) -> jax.Array:
    r"""Computes the logit of the ensemble's probability.

    $$
    z = \log \frac{\bar p}{1 - \bar p}, \qquad
    \bar p = \frac{1}{k} \sum_{j=1}^k \sigma(z_j)
    $$

    Args:
      stacked: k networks from `stack_params`.
      X: Features, `(n, p)`; cast to the parameters' floating-point type.

    Returns:
      Logits `(n,)`, natural-log odds of label 1.

    Raises:
      ValueError: X is not `(n, p)` for the p of the networks.

    Guarantees:
      Finite for finite logits of the members; of one network, its own logits.
    """
    logits = jax.vmap(forward, (0, None))(stacked, X)
    if logits.shape[0] == 1:
        return logits[0]
    # The common factor 1/k cancels.
    log_p = jax.nn.logsumexp(jax.nn.log_sigmoid(logits), axis=0)
    log_not_p = jax.nn.logsumexp(jax.nn.log_sigmoid(-logits), axis=0)
    return log_p - log_not_p


def ensemble_proba(stacked: Params, X: ArrayLike) -> jax.Array:
    r"""Computes the mean of the members' probabilities, $\bar p$.

    Args:
      stacked: k networks from `stack_params`.
      X: Features, `(n, p)`; cast to the parameters' floating-point type.

    Returns:
      Probabilities of label 1, `(n,)`.

    Raises:
      ValueError: X is not `(n, p)` for the p of the networks.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params, stack_params
      >>> a, b = (init_params(jax.random.key(seed), (3, 4, 1)) for seed in (0, 1))
      >>> ensemble_proba(stack_params([a, b]), jnp.zeros((2, 3)))
      Array([0.5, 0.5], dtype=float32)
    """
    return jax.nn.sigmoid(jax.vmap(forward, (0, None))(stacked, X)).mean(axis=0)
