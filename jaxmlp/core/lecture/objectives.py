"""The two objectives that the lecture recalls before the network's own."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def linear_regression_sse(beta: jax.Array, X: ArrayLike, y: ArrayLike) -> jax.Array:
    r"""Objective of linear regression.

    $$
    SSE(\beta) = \frac{1}{2m} \sum_{i=1}^m (y_i - x_i^\top \beta)^2
    $$

    A sum of squares divided by 2m, so half the mean squared error.

    Args:
      beta: Coefficients, `(p,)`.
      X: Features, `(m, p)`.
      y: Responses, `(m,)`.

    Returns:
      Objective, `()`, in squared units of y.

    Source:
      Lecture, "Objective Function and Model Parameters - I".
    """
    X, y = jnp.asarray(X, beta.dtype), jnp.asarray(y, beta.dtype)
    residuals = y - X @ beta
    return jnp.sum(residuals**2) / (2 * y.shape[0])


def logistic_regression_nll(beta: jax.Array, X: ArrayLike, y: ArrayLike) -> jax.Array:
    r"""Objective of logistic regression, the mean negative log-likelihood.

    $$
    -\ell(\beta) = -\frac{1}{m} \sum_{i=1}^m
      \left[ y_i (x_i^\top \beta) - \log(1 + \exp(x_i^\top \beta)) \right]
    $$

    Args:
      beta: Coefficients, `(p,)`.
      X: Features, `(m, p)`.
      y: Labels in {0, 1}, `(m,)`.

    Returns:
      Objective in nats, `()`.

    Guarantees:
      Equals the mean binary cross-entropy of the network without a hidden layer,
      `(p, 1)`, whose weights are beta and whose bias is 0.

    Source:
      Lecture, "Objective Function and Model Parameters - I".
    """
    X, y = jnp.asarray(X, beta.dtype), jnp.asarray(y, beta.dtype)
    z = X @ beta
    return -jnp.sum(y * z - jnp.logaddexp(0, z)) / y.shape[0]
