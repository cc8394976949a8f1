"""How sure the network is: the linearised Laplace approximation."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.analysis.curvature import (
    MEMORY_LIMIT,
    SolverName,
    Training,
    check_solved,
    fit_curvature,
    query_factors,
)
from jaxmlp.analysis.validate import check_query, check_training
from jaxmlp.core.factors import Factors
from jaxmlp.core.params import Params


class Laplace(NamedTuple):
    r"""Gaussian of the queries' logits.

    Attributes:
      mean: The network's own logits, `(m,)`.
      variance: Of each logit, `(m,)`; its root is in the logit's unit.
      probs: Probability of label 1, averaged over the Gaussian, `(m,)`: nearer to 1/2
        than that of the mean.
      covariance: Of all pairs of logits, `(m, m)`, if asked for.
    """

    mean: jax.Array
    variance: jax.Array
    probs: jax.Array
    covariance: jax.Array | None


def laplace(
    params: Params,
    X_train: ArrayLike,
    y_train: ArrayLike,
    X_query: ArrayLike,
    *,
    l2: ArrayLike,
    sample_weight: ArrayLike | None = None,
    full_covariance: bool = False,
    solver: SolverName = "auto",
    memory_limit: int = MEMORY_LIMIT,
) -> Laplace:
    r"""Mean and variance of each query's logit in the linearised Laplace approximation.

    $$
    z_q \sim \mathcal{N}\!\left(z_q(\hat\theta),\;
    \nabla z_q^\top (N H)^{-1} \nabla z_{q'}\right), \qquad
    H = \sum_i d_i \nabla z_i \nabla z_i^\top + \lambda I
    $$

    with the d of `influence` and N the number of rows (or their total weight): the
    posterior of the parameters is a Gaussian around them, whose prior, with which the
    penalised mean loss is the log posterior, has the variance $1 / (N \lambda)$.
    Full covariance, of all layers, exact for the network linearised at its parameters.

    Args:
      params: Network parameters, at a minimum of the penalised loss (see `optimum`).
      X_train: Training features, `(n, p)`.
      y_train: Labels in {0, 1}, `(n,)`.
      X_query: Features of the queries, `(m, p)`.
      l2: Strength λ; `laplace_l2` chooses one by the rows left out, `evidence` by the
        marginal likelihood.
      sample_weight: Non-negative weights of the training rows, `(n,)`, or None.
      full_covariance: Whether to compute the covariance of all pairs, `(m, m)`, which
        comes on top of `memory_limit`.
      solver: As in `influence`.
      memory_limit: As in `influence`.

    Returns:
      A `Laplace`.

    Raises:
      ValueError: As in `influence`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (2, 4, 1))
      >>> X, y = jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([0, 1, 1])
      >>> laplace(params, X, y, X[:2], l2=0.1).variance.shape
      (2,)

    Source:
      MacKay (1992), "The evidence framework applied to classification networks"; Immer,
      Korzepa and Bauer (2021), arXiv 2008.08400, for the linearised form.
    """
    check_training(params, X_train, y_train, sample_weight, ("X_train", "y_train"))
    check_query(params, X_query)
    training = fit_curvature(
        params,
        X_train,
        y_train,
        l2=l2,
        sample_weight=sample_weight,
        solver=solver,
        memory_limit=memory_limit,
        n_solutions=jnp.shape(X_query)[0],
    )
    logits, factors = query_factors(params, X_query)
    found = _laplace(training, logits, factors, full_covariance)
    check_solved(training, found.variance)
    return found


@partial(jax.jit, static_argnames="full_covariance")
def _laplace(
    training: Training, logits: jax.Array, factors: Factors, full_covariance: bool
) -> Laplace:
    covariance = None
    if full_covariance:
        covariance = training.solver.covariance(factors) / training.total_weight
        variance = jnp.diag(covariance)
    else:
        variance = training.solver.variance(factors) / training.total_weight
    # Rounding may take a variance far below the prior's a little under 0.
    variance = jnp.maximum(variance, 0)
    return Laplace(logits, variance, mean_sigmoid(logits, variance), covariance)


def mean_sigmoid(mean: jax.Array, variance: jax.Array) -> jax.Array:
    r"""Average of the sigmoid over a Gaussian, $\operatorname{E} \sigma(z)$.

    By the trapezoidal rule, which is exact to rounding here: over the Gaussian where it
    is narrower than the sigmoid's slope, else over the slope,
    $\int \sigma'(t)\, \Phi((\mu - t) / s)\, dt$.

    Args:
      mean: Means μ, `(m,)`.
      variance: Variances s², `(m,)`, from 0.

    Returns:
      Probabilities, `(m,)`.

    Guarantees:
      Absolute error below 1e-12 in float64.
    """
    narrow = jnp.sqrt(jnp.minimum(variance, 1))[:, None]
    x = jnp.linspace(-9, 9, 73, dtype=mean.dtype)[None, :]
    density = jnp.exp(-(x**2) / 2)
    over_gaussian = jnp.sum(density * jax.nn.sigmoid(mean[:, None] + narrow * x), axis=1)

    wide = jnp.sqrt(jnp.maximum(variance, 1))[:, None]
    t = jnp.linspace(-40, 40, 201, dtype=mean.dtype)[None, :]
    slope = jax.nn.sigmoid(t) * jax.nn.sigmoid(-t)
    below = jax.scipy.special.ndtr((mean[:, None] - t) / wide)
    over_slope = jnp.sum(slope * below, axis=1)
    return jnp.where(
        variance < 1, over_gaussian / jnp.sum(density), over_slope / jnp.sum(slope)
    )
