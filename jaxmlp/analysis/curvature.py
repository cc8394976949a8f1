"""The damped Gauss-Newton model of a trained network, and how to invert it."""

from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmlp.analysis.rows import n_parameters
from jaxmlp.analysis.solvers import (
    MOST_ITERATIONS,
    GramSolver,
    IterativeSolver,
    ParameterSolver,
    Solver,
    make_solver,
)
from jaxmlp.analysis.validate import check_l2, is_traced
from jaxmlp.core.factors import Factors, augment_features, logit_factors_augmented
from jaxmlp.core.losses import bce_with_logits, mean_weights
from jaxmlp.core.params import Params
from jaxmlp.core.validate import check_count

SolverName = Literal["auto", "gram", "parameters", "cg"]

MEMORY_LIMIT = 2**32
"""Bytes that the matrix of a solver may take by default, its factor and one copy."""


_MOST_SOLUTIONS = 1000
"""Runs of conjugate gradients that are begun without being asked for."""


class NoSolverFitsError(ValueError):
    """Rows and parameters are too many for any solver in bounded memory and time."""


class Training(NamedTuple):
    r"""What the training rows say, in the Gauss-Newton model.

    Attributes:
      solver: Applies the inverse of $H$, with the rows
        $S_i = \sqrt{d_i}\,\nabla z_i$, $d_i = c_i\,\hat y_i (1 - \hat y_i)$,
        $c_i$ the row's share in the mean loss.
      logits: `(n,)`.
      working: $t_i = c_i (\hat y_i - y_i) / \sqrt{d_i}$, `(n,)`: the gradient of
        the row's part of the mean loss is $t_i S_i$.
      gap: $(\hat y_i - y_i) / (\hat y_i (1 - \hat y_i))$, `(n,)`.
      total_weight: n, or the sum of the sample weights.
    """

    solver: Solver
    logits: jax.Array
    working: jax.Array
    gap: jax.Array
    total_weight: jax.Array


def fit_curvature(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    l2: ArrayLike,
    sample_weight: ArrayLike | None,
    solver: SolverName,
    memory_limit: int,
    n_solutions: int,
) -> Training:
    """Prepares the Gauss-Newton model at these parameters.

    Args:
      params: Network parameters; they and the rows are checked (see `check_training`).
      X: Training features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      l2: Strength λ, of all parameters.
      sample_weight: Non-negative weights, `(n,)`, or None.
      solver: What to factorise; `"auto"` takes what fits and is cheapest.
      memory_limit: Bytes that it may take.
      n_solutions: Number of rows for which the inverse will be asked.

    Raises:
      ValueError: l2 or the solver is not what it should be, the solver does not fit, or
        the matrix is not positive definite.
    """
    check_l2(params, l2, may_be_zero=True)
    n = jnp.shape(X)[0]
    chosen = choose_solver(params, n, l2, solver, memory_limit, n_solutions)
    training = _prepare(params, X, y, l2, sample_weight, chosen)
    _check_definite(training.solver, l2)
    return training


def query_factors(params: Params, X: ArrayLike) -> tuple[jax.Array, Factors]:
    """Logits of the query rows and the factors of their gradients."""
    return _logit_factors(params, augment_features(params, X))


def choose_solver(
    params: Params,
    n: int,
    l2: ArrayLike,
    solver: SolverName,
    memory_limit: int,
    n_solutions: int,
) -> SolverName:
    """Decides what to factorise.

    Of those that fit into memory, the one with fewer operations: 2/3 n³ for the Gram
    matrix, 3 n P² + P³ / 3 in parameter space. Without a penalty, only the latter can work.
    Conjugate gradients are chosen for at most `_MOST_SOLUTIONS` rows: a run may take
    seconds.

    Raises:
      ValueError: The name is none, or the solver that is asked for does not fit.
      NoSolverFitsError: None does.
    """
    if solver not in get_args(SolverName):
        names = ", ".join(get_args(SolverName))
        raise ValueError(f"solver must be one of {names}, not {solver!r}")
    memory_limit = check_count("memory_limit", memory_limit, most=2**63)
    n_params = n_parameters(params)
    itemsize = params[0].w.dtype.itemsize
    needed = {"gram": 3 * itemsize * n**2, "parameters": 3 * itemsize * n_params**2}
    is_damped = is_traced(l2) or bool(np.asarray(l2) > 0)
    if not is_damped and solver in ("gram", "cg"):
        raise ValueError(f"l2 must be above 0 for solver {solver!r}, not {l2}")
    if solver in needed and needed[solver] > memory_limit:
        raise ValueError(
            f"solver {solver!r} needs {needed[solver] / 2**30:.2g} GiB for {n} rows and "
            f"{n_params} parameters, more than memory_limit: give solver='auto', fewer "
            "rows, or a greater memory_limit"
        )
    if solver != "auto":
        return solver
    fits_gram = is_damped and needed["gram"] <= memory_limit
    if needed["parameters"] > memory_limit:
        if not is_damped:
            raise ValueError(
                f"l2 must be above 0 for a network of {n_params} parameters, whose matrix "
                "is more than memory_limit"
            )
        if fits_gram:
            return "gram"
        if n_solutions > _MOST_SOLUTIONS:
            raise NoSolverFitsError(
                f"{n} rows and {n_params} parameters are too many for a matrix within "
                f"memory_limit, and {n_solutions} runs of conjugate gradients may take "
                "long: give fewer rows, a greater memory_limit, newton=False (a run a "
                "query), or solver='cg' to wait for them"
            )
        return "cg"
    is_cheaper = 2 / 3 * n**3 < 3 * n * n_params**2 + n_params**3 / 3
    return "gram" if fits_gram and is_cheaper else "parameters"


class CurvedRows(NamedTuple):
    r"""The training rows, before anything is inverted.

    Attributes:
      losses: Cross-entropy of each row, `(n,)`.
      share: $c_i$, its share in the mean loss, `(n,)`.
      total_weight: n, or the sum of the sample weights.
      rows: $S_i = \sqrt{d_i}\,\nabla z_i$.
    """

    losses: jax.Array
    share: jax.Array
    total_weight: jax.Array
    rows: Factors


def curved_rows(
    params: Params, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[jax.Array, CurvedRows]:
    """Logits, and the rows of the Gauss-Newton matrix; traced."""
    logits, factors = logit_factors_augmented(params, augment_features(params, X))
    y = jnp.asarray(y, logits.dtype)
    share = mean_weights(y, sample_weight, logits.dtype)
    total = jnp.asarray(y.shape[0], logits.dtype)
    if sample_weight is not None:
        total = jnp.sum(jnp.asarray(sample_weight, logits.dtype))
    curvature = share * _spread(logits)
    rows = factors._replace(scale=jnp.sqrt(curvature))
    return logits, CurvedRows(bce_with_logits(logits, y), share, total, rows)


@partial(jax.jit, static_argnames="solver")
def _prepare(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    l2: ArrayLike,
    sample_weight: ArrayLike | None,
    solver: SolverName,
) -> Training:
    logits, found = curved_rows(params, X, y, sample_weight)
    return Training(
        solver=make_solver(solver, found.rows, jnp.asarray(l2, logits.dtype)),
        logits=logits,
        working=jnp.sqrt(found.share / _spread(logits)) * _residual(logits, y),
        gap=newton_gap(logits, y),
        total_weight=found.total_weight,
    )


def newton_gap(logits: jax.Array, y: ArrayLike) -> jax.Array:
    r"""$(\hat y_i - y_i) / (\hat y_i (1 - \hat y_i))$, `(n,)`, finite."""
    return _residual(logits, y) / _spread(logits)


def without_themselves(leverages: jax.Array, gap: jax.Array) -> jax.Array:
    """Newton's change of each row's logit when it is removed, `(n,)`."""
    return leverages / (1 - leverages) * gap


def _residual(logits: jax.Array, y: ArrayLike) -> jax.Array:
    r"""$\hat y_i - y_i$, to rounding where it is next to 0 too."""
    sign = 2 * jnp.asarray(y, logits.dtype) - 1
    return -sign * jax.nn.sigmoid(-sign * logits)


def _spread(logits: jax.Array) -> jax.Array:
    r"""$\hat y_i (1 - \hat y_i)$, from a little above 0.

    So little that H keeps all its digits, and so much that the row's scale, and quotients
    by it, are numbers: a row far on the wrong side is one with a residual.
    """
    least = float(np.finfo(logits.dtype).tiny) ** 0.8
    return jnp.maximum(jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits), least)


def check_solved(training: Training, found: jax.Array) -> None:
    """Refuses an answer that rounding, or too few steps, left without a value."""
    if is_traced(found) or bool(jnp.isfinite(found).all()):
        return
    remedy = _remedy(found.dtype)
    if isinstance(training.solver, IterativeSolver):
        raise ValueError(
            f"conjugate gradients did not converge in {MOST_ITERATIONS} steps at "
            f"l2={float(training.solver.l2):g} in {found.dtype}: {remedy}, or another "
            "solver, if need be with a greater memory_limit"
        )
    raise ValueError(
        "removing a row leaves the damped Gauss-Newton matrix singular, to rounding in "
        f"{found.dtype}: {remedy}"
    )


_logit_factors = jax.jit(logit_factors_augmented)


def _check_definite(solver: Solver, l2: ArrayLike) -> None:
    if isinstance(solver, IterativeSolver) or is_traced(solver):
        return
    assert isinstance(solver, GramSolver | ParameterSolver)
    if bool(jnp.isfinite(solver.cholesky[-1, -1])):
        return
    dtype = solver.cholesky.dtype
    raise ValueError(
        "the damped Gauss-Newton matrix is not positive definite at "
        f"l2={np.asarray(l2):g} in {dtype}: {_remedy(dtype)}"
    )


def _remedy(dtype: jnp.dtype) -> str:
    remedy = "give a greater l2"
    if dtype == jnp.float32:
        remedy += ", or compute in float64 (params of that type, under jax.enable_x64)"
    return remedy
