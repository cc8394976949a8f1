"""What the network would say of each training row without that row."""

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
    without_themselves,
)
from jaxmlp.analysis.influence import in_output
from jaxmlp.analysis.validate import check_training
from jaxmlp.core.params import Params


def leave_one_out(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    l2: ArrayLike,
    sample_weight: ArrayLike | None = None,
    solver: SolverName = "auto",
    memory_limit: int = MEMORY_LIMIT,
) -> jax.Array:
    r"""Logit of each training row, had the network been trained without it.

    $$
    z_i + \frac{h_i}{1 - h_i} \cdot
    \frac{\hat y_i - y_i}{\hat y_i (1 - \hat y_i)}
    $$

    The diagonal of `influence` (one Newton step), added to the logits, without the n × n
    matrix of all influences; with the same assumptions. Where its sign contradicts the
    label, the rest of the data does.

    Args:
      params: Network parameters; float64 is recommended.
      X: Training features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      l2: As in `influence`.
      sample_weight: As in `influence`; a row of weight 0 keeps its logit.
      solver: As in `influence`; `"cg"` takes one run a row.
      memory_limit: As in `influence`.

    Returns:
      Logits, `(n,)`.

    Raises:
      ValueError: As in `influence`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (2, 4, 1))
      >>> X, y = jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([0, 1, 1])
      >>> leave_one_out(params, X, y, l2=0.1).shape
      (3,)

    Source:
      Pregibon (1981) for logistic regression; Rad and Maleki (2020), arXiv 1801.10243.
    """
    training = _fit_on(params, X, y, l2, sample_weight, solver, memory_limit)
    change = _own_change(training)
    check_solved(training, change)
    return training.logits + change


def self_influence(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    l2: ArrayLike,
    sample_weight: ArrayLike | None = None,
    newton: bool = True,
    solver: SolverName = "auto",
    memory_limit: int = MEMORY_LIMIT,
) -> jax.Array:
    r"""Change of each training row's own loss when it is removed, in nats.

    The diagonal of `influence` with `output="loss"`, never negative up to rounding: high
    for rows that are predicted right only because they were learned by heart. At first
    order, $c_i (\hat y_i - y_i)^2\, \nabla z_i^\top H^{-1} \nabla z_i$.

    Args:
      params: Network parameters; float64 is recommended.
      X: Training features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      l2: As in `influence`.
      sample_weight: As in `influence`.
      newton: As in `influence`.
      solver: As in `influence`.
      memory_limit: As in `influence`.

    Returns:
      `(n,)`.

    Raises:
      ValueError: As in `influence`.

    Source:
      Koh and Liang (2017), arXiv 1703.04730; Feldman and Zhang (2020), arXiv 2008.03703,
      for what it tells.
    """
    training = _fit_on(params, X, y, l2, sample_weight, solver, memory_limit)
    labels = jnp.asarray(y, training.logits.dtype)
    change = _own_change(training) if newton else _own_change_at_first_order(training)
    check_solved(training, change)
    return in_output(change, training.logits, labels, "loss", newton)


def _fit_on(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    l2: ArrayLike,
    sample_weight: ArrayLike | None,
    solver: SolverName,
    memory_limit: int,
) -> Training:
    check_training(params, X, y, sample_weight, ("X", "y"))
    return fit_curvature(
        params,
        X,
        y,
        l2=l2,
        sample_weight=sample_weight,
        solver=solver,
        memory_limit=memory_limit,
        n_solutions=np.shape(X)[0],
    )


@jax.jit
def _own_change(training: Training) -> jax.Array:
    return without_themselves(training.solver.leverages(), training.gap)


@jax.jit
def _own_change_at_first_order(training: Training) -> jax.Array:
    return training.solver.leverages() * training.gap
