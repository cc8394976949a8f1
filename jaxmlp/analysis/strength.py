"""How strong a penalty: by the evidence, or by what left-out rows say."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmlp.analysis.curvature import (
    MEMORY_LIMIT,
    curved_rows,
    newton_gap,
    without_themselves,
)
from jaxmlp.analysis.laplace import mean_sigmoid
from jaxmlp.analysis.rows import map_rows, matrix, matrix_block, n_parameters
from jaxmlp.analysis.solvers import gram_in_parameters
from jaxmlp.analysis.validate import check_finite, check_l2, check_training, is_traced
from jaxmlp.core.factors import Factors
from jaxmlp.core.params import Params
from jaxmlp.gradients import inner_products, squared_norms

_FACTORS = 10 ** np.arange(0, 4.01, 0.25)
"""Strengths that `laplace_l2` tries, as multiples of the trained one, the first."""

_NO_VARIANCE = 1e12
"""Multiple at which hardly any variance is left, and the plain network speaks."""


class Evidence(NamedTuple):
    r"""What the training data say of the strength of the penalty.

    Attributes:
      l2: Strength λ, given or chosen.
      log_marginal_likelihood: In nats, of all rows together.
      n_effective: $\gamma = \sum_k e_k / (e_k + \lambda)$ over the eigenvalues of
        the undamped matrix: how many parameters the data determine.
    """

    l2: jax.Array
    log_marginal_likelihood: jax.Array
    n_effective: jax.Array


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

    $$
    \log p(y) \approx -N \Big(\sum_i c_i \ell_i
    + \frac{\lambda}{2} \lVert \theta \rVert^2\Big)
    - \frac12 \sum_k \log\Big(1 + \frac{e_k}{\lambda}\Big)
    $$

    with the eigenvalues e of $\sum_i d_i \nabla z_i \nabla z_i^\top$. At fixed
    parameters, it has one maximum in λ, where
    $\lambda N \lVert \theta \rVert^2 = \sum_k e_k / (e_k + \lambda)$. Train anew
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

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (2, 1))
      >>> X, y = jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([0, 1, 1])
      >>> found = evidence(params, X, y)
      >>> bool(0 < found.n_effective < 3)
      True

    Source:
      MacKay (1992), "Bayesian interpolation"; Immer and others (2021), arXiv 2104.04975.
    """
    _check(params, X, y, sample_weight, l2, memory_limit, must_be_given=False)
    must_choose = l2 is None and not is_traced(params)
    if must_choose and not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(params)):
        raise ValueError("params are all 0: the evidence grows with l2 without end")
    found = _evidence(params, X, y, l2, sample_weight)
    check_finite(found.log_marginal_likelihood)
    return found


@jax.jit
def _evidence(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    l2: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> Evidence:
    _, (losses, share, total, rows) = curved_rows(params, X, y, sample_weight)
    A = _smaller_matrix(rows)
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


class LaplaceStrength(NamedTuple):
    r"""How strong a penalty makes the averaged probabilities right.

    Attributes:
      l2: Strength for `laplace`; $10^{12}$ times the trained one, so that hardly any
        variance is left, where the plain network predicts as well.
      log_loss: Of left-out rows, probabilities averaged with that strength, in nats.
      plain_log_loss: Of left-out rows, by the plain network.
    """

    l2: jax.Array
    log_loss: jax.Array
    plain_log_loss: jax.Array


def laplace_l2(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    l2: ArrayLike,
    sample_weight: ArrayLike | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> LaplaceStrength:
    r"""Strength for `laplace` under which rows that are left out are predicted best.

    The strength that a network was trained with is seldom that of its uncertainty. Each
    row's logit without it (as `leave_one_out`, at the trained strength λ) is averaged over
    the Gaussian that the other rows leave it at strength $\lambda'$,

    $$
    \mathcal{N}\!\left(z_i + \frac{h_i(\lambda)}{1 - h_i(\lambda)}
    \frac{\hat y_i - y_i}{\hat y_i (1 - \hat y_i)},\;
    \frac{h_i(\lambda')}{N d_i\, (1 - h_i(\lambda'))}\right)
    $$

    for $\lambda'$ from λ to $10^4 \lambda$, from one eigendecomposition. The
    one with the lowest log loss is taken if it gains more than two standard errors on the
    plain network.

    Args:
      params: Network parameters, at a minimum of the penalised loss (see `optimum`).
      X: Training features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      l2: Strength λ that it was trained with, above 0.
      sample_weight: Non-negative weights, `(n,)`, or None.
      memory_limit: Bytes that the eigenvectors of the matrix of size n or P, whichever is
        smaller, and its copies may take.

    Returns:
      A `LaplaceStrength`.

    Raises:
      ValueError: An argument is not what it should be, or the matrix does not fit.

    Source:
      Ritter, Botev and Barber (2018), "A scalable Laplace approximation", for a strength
      that is chosen by predictions.
    """
    _check(params, X, y, sample_weight, l2, memory_limit, must_be_given=True)
    dtype = params[0].w.dtype
    found = _laplace_l2(params, X, y, jnp.asarray(l2, dtype), sample_weight)
    check_finite(found.plain_log_loss)
    return found


@jax.jit
def _laplace_l2(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    l2: jax.Array,
    sample_weight: ArrayLike | None,
) -> LaplaceStrength:
    logits, (_, share, total, rows) = curved_rows(params, X, y, sample_weight)
    sign = 2 * jnp.asarray(y, logits.dtype) - 1
    tiny = float(np.finfo(logits.dtype).tiny)
    strengths = l2 * jnp.asarray(_FACTORS, l2.dtype)
    curvature = rows.scale**2
    longest = squared_norms(rows._replace(scale=jnp.ones_like(curvature)))
    most = (curvature * longest)[None, :] / strengths[:, None]
    leverages = jnp.minimum(_leverages(rows, strengths), most)
    change = without_themselves(leverages[0], newton_gap(logits, y))
    towards_label = sign * (logits + change)

    def losses(at: tuple[jax.Array, jax.Array]) -> jax.Array:
        l2, h = at
        variance = jnp.where(curvature > 0, h / curvature, longest / l2) / (1 - h) / total
        # One step may leave a row so far off that its probability underflows.
        probs = jnp.maximum(mean_sigmoid(towards_label, variance), tiny)
        return -jnp.log(probs)

    plain = jax.nn.softplus(-towards_label)
    gains = plain[None, :] - jax.lax.map(losses, (strengths, leverages))
    best = jnp.argmax(gains @ share)
    gain = gains[best] @ share
    error = jnp.sqrt(jnp.sum((share * (gains[best] - gain)) ** 2))
    plain_loss = plain @ share
    is_better = gain > 2 * error
    return LaplaceStrength(
        jnp.where(is_better, strengths[best], l2 * _NO_VARIANCE),
        jnp.where(is_better, plain_loss - gain, plain_loss),
        plain_loss,
    )


def _leverages(rows: Factors, strengths: jax.Array) -> jax.Array:
    """Leverages of the rows at each strength, `(k, n)`, from one eigendecomposition."""
    A = _smaller_matrix(rows)
    vectors, eigenvalues = jax.lax.linalg.eigh(A, symmetrize_input=False)
    eigenvalues = jnp.maximum(eigenvalues, 0)
    damped = eigenvalues[:, None] + strengths[None, :]
    if rows.n_samples <= n_parameters(rows.params):
        return (vectors**2 @ (eigenvalues[:, None] / damped)).T
    of_block = lambda block: (matrix(block) @ vectors) ** 2 @ (1 / damped)
    return map_rows(of_block, rows, matrix_block(rows)).T


def _smaller_matrix(rows: Factors) -> jax.Array:
    """Products of all rows or of all parameters, whichever are fewer."""
    is_wide = rows.n_samples <= n_parameters(rows.params)
    return inner_products(rows, rows) if is_wide else gram_in_parameters(rows)


def _check(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    l2: ArrayLike | None,
    memory_limit: int,
    *,
    must_be_given: bool,
) -> None:
    check_training(params, X, y, sample_weight, ("X", "y"))
    size = min(jnp.shape(X)[0], n_parameters(params))
    needed = 4 * params[0].w.dtype.itemsize * size**2
    if needed > memory_limit:
        raise ValueError(
            f"the eigenvalues of a matrix of size {size} need {needed / 2**30:.1f} GiB, "
            "more than memory_limit: give fewer rows, or raise it"
        )
    if must_be_given or l2 is not None:
        check_l2(params, l2, may_be_zero=False)
