"""Is what the analysis predicts what retraining does?"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmlp.analysis.influence import influence
from jaxmlp.analysis.label_errors import LabelErrors, label_errors
from jaxmlp.analysis.optimum import descend
from jaxmlp.analysis.validate import check_l2, check_query, check_training
from jaxmlp.core import forward
from jaxmlp.core.factors import augment_features
from jaxmlp.core.params import Params
from jaxmlp.core.validate import check_count, check_number
from jaxmlp.gradients.validate import check_examples, check_values

_CHUNK = 8
"""Networks retrained side by side: more gain nothing on a CPU, and keep memory small."""


class LeaveOneOutCheck(NamedTuple):
    """Predicted against retrained changes of logits.

    Attributes:
      own: Correlation over the removed rows of the changes of their own logits.
      others: Correlation over the removed rows of the changes of another row's logit, in
        the median over the rows whose logit changes.
      predicted: Changes by `influence`, `(k, n)`: of all rows' logits (n) when each of
        the chosen rows (k) is removed.
      retrained: The same by retraining, `(k, n)`.
    """

    own: float
    others: float
    predicted: jax.Array
    retrained: jax.Array


def retrain(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    row_weights: ArrayLike,
    *,
    l2: float,
    n_steps: int = 5000,
) -> Params:
    r"""Trains on from a network once for each set of row weights, as one program.

    Each run minimises $\frac1n \sum_i w_i \ell_i + \frac{\lambda}{2} \lVert \theta
    \rVert^2$ from the same parameters, as `optimum` does; weight 0 removes a row. The
    brute force that `influence` is held against.

    Args:
      params: Where each run starts: a minimum for all rows, for changes by removal.
      X: Features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      row_weights: Non-negative weights, `(k, n)`, divided by n whatever they sum to.
      l2: Strength λ.
      n_steps: Steps of each run.

    Returns:
      Parameters with leading axis k.

    Raises:
      ValueError: An argument is not what it should be.

    Source:
      The brute force of Koh and Liang (2017), arXiv 1703.04730.
    """
    check_training(params, X, y, None, ("X", "y"))
    check_l2(params, l2, may_be_zero=True)
    if jnp.ndim(row_weights) != 2 or jnp.shape(row_weights)[1] != jnp.shape(X)[0]:
        raise ValueError(
            f"row_weights must have shape (k, {jnp.shape(X)[0]}), not "
            f"{jnp.shape(row_weights)}"
        )
    is_right = lambda w: jnp.isfinite(w) & (w >= 0)
    check_values("row_weights", row_weights, is_right, "must be finite and not negative")
    return _retrain(params, X, y, row_weights, l2, check_count("n_steps", n_steps))


@partial(jax.jit, static_argnames="n_steps")
def _retrain(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    row_weights: ArrayLike,
    l2: ArrayLike,
    n_steps: int,
) -> Params:
    X = augment_features(params, X)
    y, l2 = jnp.asarray(y, X.dtype), jnp.asarray(l2, X.dtype)
    shares = jnp.asarray(row_weights, X.dtype) / X.shape[0]

    def of_one(share: jax.Array) -> Params:
        return descend(params, X, y, share, l2, n_steps).params

    return jax.lax.map(of_one, shares, batch_size=_CHUNK)


def leave_one_out_check(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    l2: float,
    rows: ArrayLike,
    newton: bool = True,
    n_steps: int = 5000,
) -> LeaveOneOutCheck:
    """Compares influence with retraining without each of some rows.

    Changes are taken from a run with all rows, of as many steps, so that what further
    training does anyway is not counted.

    Args:
      params: Network at its minimum (see `optimum`).
      X: Features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      l2: Strength λ.
      rows: Numbers of the rows to remove, one at a time, `(k,)`, at least 3.
      newton: As in `influence`.
      n_steps: Steps of each run.

    Returns:
      A `LeaveOneOutCheck`.

    Raises:
      ValueError: An argument is not what it should be.
    """
    check_training(params, X, y, None, ("X", "y"))
    rows = np.asarray(rows)
    n = np.shape(X)[0]
    is_right = rows.ndim == 1 and rows.dtype.kind in "iu" and len(rows) >= 3
    if (
        not is_right
        or len(np.unique(rows)) < len(rows)
        or not np.isin(rows, range(n)).all()
    ):
        raise ValueError(f"rows must be at least 3 different row numbers from 0 to {n - 1}")
    weights = np.ones((len(rows) + 1, n))
    weights[np.arange(len(rows)), rows] = 0
    networks = retrain(params, X, y, weights, l2=l2, n_steps=n_steps)
    logits = jax.vmap(forward, (0, None))(networks, X)
    retrained = logits[:-1] - logits[-1:]
    predicted = influence(params, X, y, X, l2=l2, newton=newton)[:, rows].T
    k = np.arange(len(rows))
    own = _correlation(predicted[k, rows], retrained[k, rows])
    is_own = np.zeros((len(rows), n), bool)
    is_own[k, rows] = True
    # A row's own change, far greater than the others, is left out.
    columns = jax.vmap(_correlation, (1, 1, 1))(predicted, retrained, ~is_own)
    return LeaveOneOutCheck(float(own), float(jnp.nanmedian(columns)), predicted, retrained)


def linear_datamodeling_score(
    key: jax.Array,
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    X_query: ArrayLike,
    *,
    l2: float,
    scores: ArrayLike | None = None,
    n_subsets: int = 50,
    fraction: float = 0.5,
    n_steps: int = 5000,
) -> jax.Array:
    """Rank correlation of logits predicted and retrained on random subsets, by query.

    The prediction for a subset is the sum of the scores of the rows left out.

    Args:
      key: JAX random key of the subsets.
      params: Network at its minimum; runs start from it.
      X: Features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      X_query: Features of the queries, `(m, p)`.
      l2: Strength λ.
      scores: Change of each query's logit by removing each row, `(m, n)`, by any method;
        None for `influence`.
      n_subsets: Number of subsets.
      fraction: Share of the rows in each.
      n_steps: Steps of each run.

    Returns:
      Spearman correlations over the subsets, `(m,)`; their mean is the score.

    Raises:
      ValueError: An argument is not what it should be.

    Source:
      Park, Georgiev, Ilyas, Leclerc and Madry (2023), arXiv 2303.14186.
    """
    check_training(params, X, y, None, ("X", "y"))
    check_query(params, X_query)
    n_subsets = check_count("n_subsets", n_subsets, least=3)
    check_number("fraction", fraction, "between 0 and 1", lambda x: 0 < x < 1)
    n = np.shape(X)[0]
    if scores is None:
        scores = influence(params, X, y, X_query, l2=l2)
    elif np.shape(scores) != (np.shape(X_query)[0], n):
        raise ValueError(
            f"scores must have shape {(np.shape(X_query)[0], n)}, not {np.shape(scores)}"
        )
    check_values("scores", scores, jnp.isfinite, "must be finite")
    n_kept = max(1, round(fraction * n))
    orders = jax.vmap(lambda key: jax.random.permutation(key, n))(
        jax.random.split(key, n_subsets)
    )
    # The mean over the subset, as in training on it: its rows weigh n / n_kept.
    scores = jnp.asarray(scores)
    is_kept = (orders < n_kept).astype(scores.dtype)
    networks = retrain(params, X, y, is_kept * (n / n_kept), l2=l2, n_steps=n_steps)
    logits = jax.vmap(forward, (0, None))(networks, X_query)
    predicted = (1 - is_kept) @ scores.T
    ranks = [jax.scipy.stats.rankdata(a, axis=0) for a in (predicted, logits)]
    return jax.vmap(_correlation, (1, 1))(*ranks)


def label_error_check(
    key: jax.Array,
    X: ArrayLike,
    y: ArrayLike,
    *,
    fraction: float = 0.1,
    rank: Callable[[jax.Array, ArrayLike, ArrayLike], LabelErrors] = label_errors,
) -> float:
    """Average precision with which labels flipped on purpose are found again.

    Args:
      key: JAX random key of the flips and the search.
      X: Features, `(n, p)`.
      y: Labels in {0, 1} to trust, `(n,)`; errors among them count as false alarms.
      fraction: Share of labels to flip, drawn at random.
      rank: `(key, X, y) -> LabelErrors`.

    Returns:
      Average precision in (0, 1]; that of a random order is about `fraction`.

    Raises:
      ValueError: An argument is not what it should be.
    """
    from sklearn.metrics import average_precision_score

    check_examples(X, y)
    check_number("fraction", fraction, "between 0 and 1/2", lambda x: 0 < x < 0.5)
    flip_key, rank_key = jax.random.split(key)
    n = np.shape(X)[0]
    n_flipped = max(1, round(fraction * n))
    is_flipped = np.asarray(jax.random.permutation(flip_key, n)) < n_flipped
    labels = np.asarray(y).astype(np.int32)
    found = rank(rank_key, X, np.where(is_flipped, 1 - labels, labels))
    return float(average_precision_score(is_flipped, found.probability_wrong))


def _correlation(a: jax.Array, b: jax.Array, where: ArrayLike | None = None) -> jax.Array:
    """Pearson's, over the places that count."""
    where = jnp.ones(a.shape, bool) if where is None else jnp.asarray(where)
    weight = where.astype(a.dtype)
    share = weight / jnp.sum(weight)
    a, b = (jnp.where(where, v - jnp.sum(share * v), 0) for v in (a, b))
    return jnp.vdot(a, b) / jnp.sqrt(jnp.vdot(a, a) * jnp.vdot(b, b))
