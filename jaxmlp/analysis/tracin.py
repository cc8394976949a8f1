"""Influence along the path of training."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmlp.analysis.validate import check_finite_features, check_params, check_query
from jaxmlp.core.factors import augment_features, loss_factors_augmented
from jaxmlp.core.params import Params
from jaxmlp.core.validate import check_number
from jaxmlp.gradients import inner_products
from jaxmlp.gradients.validate import check_examples


def tracin(
    checkpoints: Sequence[Params],
    learning_rates: Sequence[float],
    X_train: ArrayLike,
    y_train: ArrayLike,
    X_query: ArrayLike,
    y_query: ArrayLike,
) -> jax.Array:
    r"""Decrease of each query's loss by steps on each training row, along checkpoints.

    $$
    T_{qi} = \sum_t \eta_t \langle \nabla \ell_q(\theta_t),
    \nabla \ell_i(\theta_t) \rangle
    $$

    Sign: positive where training on the row lowered the query's loss (a proponent).
    Scale: of one step on the row by itself at each checkpoint, neither divided by the
    batch size nor by n; all layers, no damping, the penalty left out.

    Args:
      checkpoints: Parameters during training, such as `fit` gives its callback.
      learning_rates: Step size η at each, times the steps between two checkpoints if the
        scale is to be that of the whole run.
      X_train: Training features, `(n, p)`.
      y_train: Labels in {0, 1}, `(n,)`.
      X_query: Features of the queries, `(m, p)`.
      y_query: Labels of the queries, `(m,)`.

    Returns:
      `(m, n)`.

    Raises:
      ValueError: An argument is not what it should be.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (2, 1))
      >>> X, y = jnp.zeros((3, 2)), jnp.array([0, 1, 1])
      >>> tracin([params], [0.1], X, y, X[:1], y[:1])
      Array([[ 0.025, -0.025, -0.025]], dtype=float32)

    Source:
      Pruthi, Liu, Kale and Sundararajan (2020), arXiv 2002.08484.
    """
    if np.ndim(learning_rates) != 1:
        raise ValueError("learning_rates must be a sequence, one a checkpoint")
    checkpoints, rates = list(checkpoints), list(learning_rates)
    if not checkpoints or len(checkpoints) != len(rates):
        raise ValueError(
            "checkpoints and learning_rates must be as many as each other, at least one, "
            f"not {len(checkpoints)} and {len(rates)}"
        )
    if y_query is None:
        raise ValueError("y_query must hold the queries' labels, whose loss is asked for")
    check_examples(X_train, y_train, names=("X_train", "y_train"))
    total = None
    for i, (params, rate) in enumerate(zip(checkpoints, rates, strict=True)):
        check_params(params)
        check_finite_features(params, X_train, "X_train")
        check_query(params, X_query, y_query)
        check_number(
            f"learning_rates[{i}]", rate, "a finite number", lambda x: abs(x) < float("inf")
        )
        term = _products(params, X_train, y_train, X_query, y_query)
        term = jnp.asarray(rate, term.dtype) * term
        total = term if total is None else total + term
    assert total is not None
    return total


@jax.jit
def _products(
    params: Params, X: ArrayLike, y: ArrayLike, X_query: ArrayLike, y_query: ArrayLike
) -> jax.Array:
    _, rows = loss_factors_augmented(params, augment_features(params, X, "X_train"), y)
    X_query = augment_features(params, X_query, "X_query")
    _, queries = loss_factors_augmented(params, X_query, y_query)
    return inner_products(queries, rows)
