"""What the network would say without some of its training rows."""

from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmlp.analysis.curvature import (
    MEMORY_LIMIT,
    SolverName,
    Training,
    check_solved,
    fit_curvature,
    query_factors,
)
from jaxmlp.analysis.rows import take
from jaxmlp.analysis.validate import check_query, check_training
from jaxmlp.core.factors import Factors
from jaxmlp.core.losses import bce_with_logits, output_delta
from jaxmlp.core.params import Params

Output = Literal["logit", "probability", "loss"]


def influence(
    params: Params,
    X_train: ArrayLike,
    y_train: ArrayLike,
    X_query: ArrayLike,
    *,
    l2: ArrayLike,
    sample_weight: ArrayLike | None = None,
    output: Output = "logit",
    y_query: ArrayLike | None = None,
    newton: bool = True,
    groups: Sequence[ArrayLike] | None = None,
    solver: SolverName = "auto",
    memory_limit: int = MEMORY_LIMIT,
) -> jax.Array:
    r"""Change of each query's output when each training row is removed.

    Sign: output without the row, minus output with it. Scale: of the removal of the whole
    row; the mean loss is still divided by n, so that the penalty keeps its strength beside
    the other rows. Damping: none beside λ. In the Gauss-Newton model, linear in the
    parameters, whose matrix is

    $$
    H = \sum_i d_i \nabla z_i \nabla z_i^\top + \lambda I, \qquad
    d_i = c_i\,\hat y_i (1 - \hat y_i), \quad c_i = \tfrac1n
    \;\text{ or }\; \tfrac{w_i}{\sum_j w_j}
    $$

    removing row i changes the logit of query q by

    $$
    \Delta_{qi} = \nabla z_q^\top H^{-1} \nabla z_i \;
    \frac{c_i (\hat y_i - y_i)}{1 - h_i}, \qquad
    h_i = d_i \nabla z_i^\top H^{-1} \nabla z_i
    $$

    which is one Newton step from the optimum of all rows; first order is the same without
    the leverage $h_i$. Removing a group takes the matrix of its rows in the place of
    $1 - h_i$.

    Exact for that model at the given parameters, not for retraining. It assumes them to be
    a minimum of the loss with $\frac{\lambda}{2} \lVert \theta \rVert^2$ of weights
    and biases (see `optimum`); elsewhere, what further training would have changed
    anyway is left out.

    Args:
      params: Network parameters; float64 is recommended.
      X_train: Training features, `(n, p)`.
      y_train: Labels in {0, 1}, `(n,)`.
      X_query: Features of the queries, `(m, p)`.
      l2: Strength λ of the penalty that the network was trained with, above 0 (0 works
        for networks without hidden layer and with more rows than parameters).
      sample_weight: Non-negative weights of the training rows, `(n,)`, or None.
      output: `"logit"`, `"probability"`, or `"loss"`, which needs `y_query`. The latter
        two are those of the changed logit, or, at first order, linear in the change.
      y_query: Labels of the queries, `(m,)`.
      newton: Whether to take the Newton step, or first order.
      groups: Row numbers of groups to remove, instead of each row by itself.
      solver: `"gram"` factorises an n × n matrix, `"parameters"` P × P, `"cg"` none (one
        run of conjugate gradients a query, and for `newton` one a training row);
        `"auto"` takes the cheapest of the first two that fits, else `"cg"` if that is at
        most 1,000 runs.
      memory_limit: Bytes that a factorised matrix and its copies may take; the result
        and the `(m, n)` arrays that it is made of, about four, come on top.

    Returns:
      `(m, n)`, or `(m, n_groups)`.

    Raises:
      ValueError: An argument is not what it should be, the solver does not fit into
        memory, the matrix is not positive definite, or conjugate gradients do not
        converge (under `jax.jit`, the last two give NaN).

    Guarantees:
      In float64 and away from singularity, all solvers agree with the explicit inverse to
      1e-8 of the greatest value, also for rows whose curvature underflows. Under `jit`,
      `vmap` and differentiation as without, values checked where there are any.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (2, 4, 1))
      >>> X, y = jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([0, 1, 1])
      >>> influence(params, X, y, X[:1], l2=0.1).shape
      (1, 3)

    Source:
      Cook and Weisberg (1982) for the leverage; Koh and Liang (2017), arXiv 1703.04730;
      Martens (2020), arXiv 1412.1193, for the Gauss-Newton matrix.
    """
    check_training(params, X_train, y_train, sample_weight, ("X_train", "y_train"))
    _check_output(output, y_query)
    check_query(params, X_query, y_query)
    m, n = np.shape(X_query)[0], np.shape(X_train)[0]
    members = None if groups is None else _pad_groups(groups, n)
    n_removed = n if members is None else members[0].size
    training = fit_curvature(
        params,
        X_train,
        y_train,
        l2=l2,
        sample_weight=sample_weight,
        solver=solver,
        memory_limit=memory_limit,
        n_solutions=m + (n_removed if newton else 0),
    )
    logits, factors = query_factors(params, X_query)
    if members is None:
        change = _of_rows(training, factors, newton)
    else:
        change = _of_groups(training, factors, *members, newton)
    check_solved(training, change)
    labels = None if y_query is None else jnp.asarray(y_query, logits.dtype)
    return in_output(change, logits, labels, output, newton)


@partial(jax.jit, static_argnames="newton")
def _of_rows(training: Training, factors: Factors, newton: bool) -> jax.Array:
    weights = training.working
    if newton:
        weights = weights / (1 - training.solver.leverages())
    return training.solver.cross(factors) * weights[None, :]


@partial(jax.jit, static_argnames="newton")
def _of_groups(
    training: Training,
    factors: Factors,
    rows: jax.Array,
    is_member: jax.Array,
    newton: bool,
) -> jax.Array:
    solver = training.solver
    cross = solver.cross(factors)

    def of_group(group: tuple[jax.Array, jax.Array]) -> jax.Array:
        rows, is_member = group
        weights = jnp.where(is_member, training.working[rows], 0)
        if newton:
            block = solver.cross(take(solver.rows, rows))[:, rows]
            block = jnp.where(is_member[:, None] & is_member[None, :], block, 0)
            weights = jnp.linalg.solve(
                jnp.eye(len(rows), dtype=block.dtype) - block, weights
            )
        return cross[:, rows] @ weights

    return jax.lax.map(of_group, (rows, is_member)).T


@partial(jax.jit, static_argnames=("output", "newton"))
def in_output(
    change: jax.Array,
    logits: jax.Array,
    labels: jax.Array | None,
    output: Output,
    newton: bool,
) -> jax.Array:
    """Turns changes of logits, `(m,)` or `(m, k)`, into changes of what is asked for."""
    shape = (-1,) + (1,) * (change.ndim - 1)
    before = logits.reshape(shape)
    if output == "logit":
        return change
    if output == "probability":
        if newton:
            return jax.nn.sigmoid(before + change) - jax.nn.sigmoid(before)
        return jax.nn.sigmoid(before) * jax.nn.sigmoid(-before) * change
    assert labels is not None
    if newton:
        y = jnp.broadcast_to(labels.reshape(shape), change.shape).ravel()
        after = bce_with_logits((before + change).ravel(), y).reshape(change.shape)
        return after - bce_with_logits(logits, labels).reshape(shape)
    return output_delta(logits, labels).reshape(shape) * change


def _check_output(output: str, y_query: ArrayLike | None) -> None:
    if output not in get_args(Output):
        names = ", ".join(get_args(Output))
        raise ValueError(f"output must be one of {names}, not {output!r}")
    if (output == "loss") != (y_query is not None):
        raise ValueError(
            "y_query, the queries' labels, must be given for output='loss' and only there"
        )


def _pad_groups(groups: Sequence[ArrayLike], n: int) -> tuple[jax.Array, jax.Array]:
    """Row numbers, `(n_groups, largest)`, and which of them are meant."""
    arrays = [np.atleast_1d(np.asarray(group)) for group in groups]
    for i, rows in enumerate(arrays):
        is_whole = rows.ndim == 1 and rows.dtype.kind in "iu"
        if not is_whole or not rows.size or rows.min() < 0 or rows.max() >= n:
            raise ValueError(
                f"groups[{i}] must hold row numbers from 0 to {n - 1}, at least one"
            )
        if len(np.unique(rows)) < len(rows):
            raise ValueError(f"groups[{i}] names a row twice")
    if not arrays:
        raise ValueError("groups must hold at least one group of row numbers")
    largest = max(map(len, arrays))
    rows = np.zeros((len(arrays), largest), np.int32)
    is_member = np.zeros((len(arrays), largest), bool)
    for i, group in enumerate(arrays):
        rows[i, : len(group)] = group
        is_member[i, : len(group)] = True
    return jnp.asarray(rows), jnp.asarray(is_member)
