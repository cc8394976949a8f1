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
    curved_rows,
    fit_curvature,
    query_factors,
)
from jaxmlp.analysis.rows import n_parameters
from jaxmlp.analysis.solvers import gram_in_parameters
from jaxmlp.analysis.validate import check_training, is_traced
from jaxmlp.core.factors import Factors
from jaxmlp.core.params import Params
from jaxmlp.core.validate import check_number
from jaxmlp.gradients import inner_products


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


class Evidence(NamedTuple):
    r"""What the training data say of the strength of the penalty.

    Attributes:
      l2: Strength λ, given or chosen.
      log_marginal_likelihood: In nats, of all rows together.
      n_effective: :math:`\gamma = \sum_k e_k / (e_k + \lambda)` over the eigenvalues of
        the undamped matrix: how many parameters the data determine.
    """

    l2: jax.Array
    log_marginal_likelihood: jax.Array
    n_effective: jax.Array


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

    .. math:: z_q \sim \mathcal{N}\!\left(z_q(\hat\theta),\;
      \nabla z_q^\top (N H)^{-1} \nabla z_{q'}\right), \qquad
      H = \sum_i d_i \nabla z_i \nabla z_i^\top + \lambda I

    with the d of `influence` and N the number of rows (or their total weight): the
    posterior of the parameters is a Gaussian around them, whose prior, with which the
    penalised mean loss is the log posterior, has the variance :math:`1 / (N \lambda)`.
    Full covariance, of all layers, exact for the network linearised at its parameters.

    Args:
      params: Network parameters, at a minimum of the penalised loss (see `optimum`).
      X_train: Training features, `(n, p)`.
      y_train: Labels in {0, 1}, `(n,)`.
      X_query: Features of the queries, `(m, p)`.
      l2: Strength λ of the penalty; `evidence` chooses one.
      sample_weight: Non-negative weights of the training rows, `(n,)`, or None.
      full_covariance: Whether to compute the covariance of all pairs.
      solver: As in `influence`.
      memory_limit: As in `influence`.

    Returns:
      A `Laplace`.

    Raises:
      ValueError: As in `influence`.

    Source:
      MacKay (1992), "The evidence framework applied to classification networks"; Immer,
      Korzepa and Bauer (2021), arXiv 2008.08400, for the linearised form.
    """
    training = fit_curvature(
        params,
        X_train,
        y_train,
        l2=l2,
        sample_weight=sample_weight,
        solver=solver,
        memory_limit=memory_limit,
    )
    logits, factors = query_factors(params, X_query)
    return _laplace(training, logits, factors, full_covariance)


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
    r"""Average of the sigmoid over a Gaussian, :math:`\operatorname{E} \sigma(z)`.

    By the trapezoidal rule, which is exact to rounding here: over the Gaussian where it
    is narrower than the sigmoid's slope, else over the slope,
    :math:`\int \sigma'(t)\, \Phi((\mu - t) / s)\, dt`.

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


def evidence(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    l2: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Evidence:
    r"""Laplace approximation of the log marginal likelihood, and the penalty it favours.

    .. math:: \log p(y) \approx -N \Big(\sum_i c_i \ell_i
      + \frac{\lambda}{2} \lVert \theta \rVert^2\Big)
      - \frac12 \sum_k \log\Big(1 + \frac{e_k}{\lambda}\Big)

    with the eigenvalues e of :math:`\sum_i d_i \nabla z_i \nabla z_i^\top`. At fixed
    parameters, it has one maximum in λ, where
    :math:`\lambda N \lVert \theta \rVert^2 = \sum_k e_k / (e_k + \lambda)`. Train anew
    with it, and ask again, until it stays.

    Args:
      params: Network parameters.
      X: Training features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      l2: Strength λ, above 0, or None for the one with the highest marginal likelihood.
      sample_weight: Non-negative weights, `(n,)`, or None.
      memory_limit: Bytes that the matrix of size n or P, whichever is smaller, and its
        copies may take.

    Returns:
      An `Evidence`.

    Raises:
      ValueError: An argument is not what it should be, the matrix does not fit, or all
        parameters are 0, so that no penalty is best.

    Source:
      MacKay (1992), "Bayesian interpolation"; Immer and others (2021), arXiv 2104.04975.
    """
    check_training(params, X, y, sample_weight, ("X", "y"))
    size = min(jnp.shape(X)[0], n_parameters(params))
    needed = 4 * params[0].w.dtype.itemsize * size**2
    if needed > memory_limit:
        raise ValueError(
            f"the evidence needs {needed / 2**30:.1f} GiB for the eigenvalues of a matrix "
            f"of size {size}, more than memory_limit: give fewer rows, or raise it"
        )
    if l2 is not None and not is_traced(l2):
        check_number("l2", l2, "a finite number above 0", lambda x: 0 < x < float("inf"))
    if l2 is None and not any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(params)):
        raise ValueError("params are all 0: the evidence grows with l2 without end")
    return _evidence(params, X, y, l2, sample_weight)


@jax.jit
def _evidence(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    l2: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> Evidence:
    _, (losses, share, total, rows) = curved_rows(params, X, y, sample_weight)
    is_wide = rows.n_samples <= n_parameters(params)
    A = inner_products(rows, rows) if is_wide else gram_in_parameters(rows)
    eigenvalues = jnp.maximum(jnp.linalg.eigvalsh(A, symmetrize_input=False), 0)
    squares = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, params, params)), start=0)

    def n_effective(l2: jax.Array) -> jax.Array:
        return jnp.sum(eigenvalues / (eigenvalues + l2))

    if l2 is None:
        # One side rises with λ and the other falls: bisection in log λ.
        def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
            low, high = bounds
            middle = (low + high) / 2
            l2 = jnp.exp(middle)
            is_low = l2 * total * squares < n_effective(l2)
            return jnp.where(is_low, middle, low), jnp.where(is_low, high, middle)

        limits = jnp.asarray(-60.0, A.dtype), jnp.asarray(60.0, A.dtype)
        l2 = jnp.exp(jax.lax.fori_loop(0, 64, halve, limits)[0])
    l2 = jnp.asarray(l2, A.dtype)
    value = -total * (jnp.sum(share * losses) + l2 / 2 * squares)
    value -= jnp.sum(jnp.log1p(eigenvalues / l2)) / 2
    return Evidence(l2, value, n_effective(l2))
