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
from jaxmlp.analysis.validate import check_query, check_training, is_traced
from jaxmlp.core.factors import Factors, augment_features, logit_factors_augmented
from jaxmlp.core.losses import bce_with_logits, mean_weights
from jaxmlp.core.params import Params
from jaxmlp.core.validate import as_features, check_count, check_number

SolverName = Literal["auto", "gram", "parameters", "cg"]

MEMORY_LIMIT = 2**32
"""Bytes that the matrix of a solver may take by default, its factor and one copy."""


class Training(NamedTuple):
    r"""What the training rows say, in the Gauss-Newton model.

    Attributes:
      solver: Applies the inverse of :math:`H`, with the rows
        :math:`S_i = \sqrt{d_i}\,\nabla z_i`, :math:`d_i = c_i\,\hat y_i (1 - \hat y_i)`,
        :math:`c_i` the row's share in the mean loss.
      logits: `(n,)`.
      working: :math:`t_i = c_i (\hat y_i - y_i) / \sqrt{d_i}`, `(n,)`: the gradient of
        the row's part of the mean loss is :math:`t_i S_i`.
      gap: :math:`(\hat y_i - y_i) / (\hat y_i (1 - \hat y_i))`, `(n,)`.
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
    names: tuple[str, str] = ("X_train", "y_train"),
) -> Training:
    """Prepares the Gauss-Newton model at these parameters.

    Args:
      params: Network parameters.
      X: Training features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      l2: Strength λ, of all parameters.
      sample_weight: Non-negative weights, `(n,)`, or None.
      solver: What to factorise; `"auto"` takes what fits and is cheapest.
      memory_limit: Bytes that it may take.
      names: What the caller calls X and y, for messages.

    Raises:
      ValueError: An argument is not what it should be, the solver does not fit, or the
        matrix is not positive definite.
    """
    check_training(params, X, y, sample_weight, names)
    if not is_traced(l2):
        check_number("l2", l2, "a finite number from 0", lambda x: 0 <= x < float("inf"))
    chosen = choose_solver(params, jnp.shape(X)[0], l2, solver, memory_limit)
    as_features(params, X, names[0])
    training = _prepare(params, X, y, l2, sample_weight, chosen)
    _check_definite(training.solver, l2)
    return training


def query_factors(params: Params, X: ArrayLike) -> tuple[jax.Array, Factors]:
    """Logits of the query rows and the factors of their gradients.

    Raises:
      ValueError: X_query is not `(m, p)` for the network's p, empty or not finite.
    """
    check_query(X)
    return _logit_factors(params, augment_features(params, X, "X_query"))


def choose_solver(
    params: Params, n: int, l2: ArrayLike, solver: SolverName, memory_limit: int
) -> SolverName:
    """Decides what to factorise.

    Of those that fit into memory, the one with fewer operations: 2/3 n³ for the Gram
    matrix, 3 n P² + P³ / 3 in parameter space. Without a penalty, only the latter can work.

    Raises:
      ValueError: The name is none, or the solver that is asked for does not fit.
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
            f"solver {solver!r} needs {needed[solver] / 2**30:.1f} GiB for {n} rows and "
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
        return "gram" if fits_gram else "cg"
    is_cheaper = 2 / 3 * n**3 < 3 * n * n_params**2 + n_params**3 / 3
    return "gram" if fits_gram and is_cheaper else "parameters"


class CurvedRows(NamedTuple):
    r"""The training rows, before anything is inverted.

    Attributes:
      losses: Cross-entropy of each row, `(n,)`.
      share: :math:`c_i`, its share in the mean loss, `(n,)`.
      total_weight: n, or the sum of the sample weights.
      rows: :math:`S_i = \sqrt{d_i}\,\nabla z_i`.
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
    curvature = share * jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits)
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
    sign, margins = _margins(logits, y)
    return Training(
        solver=make_solver(solver, found.rows, jnp.asarray(l2, logits.dtype)),
        logits=logits,
        # The quotient, cancelled: finite where the curvature underflows.
        working=-sign * jnp.sqrt(found.share) * jnp.exp(-margins / 2),
        gap=newton_gap(logits, y),
        total_weight=found.total_weight,
    )


def newton_gap(logits: jax.Array, y: ArrayLike) -> jax.Array:
    r""":math:`(\hat y_i - y_i) / (\hat y_i (1 - \hat y_i))`, `(n,)`, finite."""
    sign, margins = _margins(logits, y)
    return -sign * (1 + jnp.exp(-margins))


def without_themselves(leverages: jax.Array, gap: jax.Array) -> jax.Array:
    """Newton's change of each row's logit when it is removed, `(n,)`."""
    return leverages / (1 - leverages) * gap


def _margins(logits: jax.Array, y: ArrayLike) -> tuple[jax.Array, jax.Array]:
    sign = 2 * jnp.asarray(y, logits.dtype) - 1
    # Beyond, quotients would overflow that belong to curvatures of 0.
    most = -0.9 * float(np.log(np.finfo(logits.dtype).tiny))
    return sign, jnp.maximum(sign * logits, -most)


def check_solved(training: Training, found: jax.Array) -> None:
    """Refuses an answer for which conjugate gradients did not converge."""
    if not isinstance(training.solver, IterativeSolver) or is_traced(found):
        return
    if bool(jnp.isfinite(found).all()):
        return
    raise ValueError(
        f"conjugate gradients did not converge in {MOST_ITERATIONS} steps at "
        f"l2={float(training.solver.l2):g} in {found.dtype}: {_remedy(found.dtype)}, or "
        "another solver, if need be with a greater memory_limit"
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
        remedy += ", or compute in float64 (jax.enable_x64)"
    return remedy
