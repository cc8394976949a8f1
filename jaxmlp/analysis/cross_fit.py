"""Networks that have not seen the rows they judge: out-of-fold logits."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from jaxmlp.core import forward, init_params
from jaxmlp.core.factors import augment, loss_factors_augmented, weighted_sum

_N_KNOTS = 9
_MOST_BYTES = 2**30


def stratified_folds(key: jax.Array, y: jax.Array, n_folds: int) -> jax.Array:
    """Assigns rows to folds at random, each label's share alike in all, `(n,)`."""
    order = jnp.lexsort((jax.random.uniform(key, y.shape), y))
    turns = jnp.arange(y.shape[0], dtype=jnp.int32) % n_folds
    return jnp.zeros(y.shape, jnp.int32).at[order].set(turns)


def encodings(X: NDArray[Any]) -> list[NDArray[np.float32]]:
    r"""Two views of the features: standardised, and with piecewise-linear columns beside.

    A column with more than two values gets, for each of eight bins between its quantiles,
    the share of the bin that a value has passed, $\min(\max((x - k_j) / (k_{j+1} -
    k_j), 0), 1)$, so that the first layer can bend it; both views bend tails by
    $x / \sqrt{1 + (x / 3)^2}$.

    Source:
      Gorishniy, Rubachev and Babenko (2022), arXiv 2203.05556.
    """
    X = np.asarray(X, np.float64)
    scale = X.std(axis=0)
    plain = (X - X.mean(axis=0)) / np.where(scale > 0, scale, 1)
    plain /= np.sqrt(1 + (plain / 3) ** 2)
    views = [plain.astype(np.float32)]
    knots = [_knots(column) for column in X.T]
    width = X.shape[1] + sum(len(k) - 1 for k in knots if k is not None)
    if width > X.shape[1] and 4 * len(X) * width <= _MOST_BYTES:
        bins = [
            _bins(column, k) for column, k in zip(X.T, knots, strict=True) if k is not None
        ]
        views.append(np.concatenate([views[0], *bins], axis=1))
    return views


def _knots(column: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Quantiles between which there are bins, or None where two values need none."""
    knots = np.unique(np.quantile(column, np.linspace(0, 1, _N_KNOTS)))
    if len(knots) < 3 or len(np.unique(column)) < 3:  # a quantile may lie between values
        return None
    return knots


def _bins(column: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float32]:
    passed = np.clip((column[:, None] - knots[:-1]) / np.diff(knots), 0, 1)
    return (passed - passed.mean(axis=0)).astype(np.float32)


@partial(jax.jit, static_argnames=("n_folds", "hidden_size", "n_epochs", "batch_size"))
def out_of_fold_logits(
    key: jax.Array,
    X: jax.Array,
    targets: jax.Array,
    folds: jax.Array,
    *,
    n_folds: int,
    hidden_size: int,
    n_epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
) -> jax.Array:
    """Trains one network for each fold and repetition, on all rows outside the fold.

    AdamW with a step size that falls to 0 by a cosine; one hidden layer.

    Args:
      key: JAX random key.
      X: Features, `(n, p)`.
      targets: Probabilities of label 1 to learn, `(n,)`, in [0, 1].
      folds: Fold of each row, `(r, n)`, one line a repetition.
      n_folds: Number of folds.
      hidden_size: Width q.
      n_epochs: Passes through the rows.
      batch_size: Rows a step, those of the fold among them, which do not count.
      learning_rate: Step size at the start.
      weight_decay: Of AdamW, times the step size.

    Returns:
      Mean over the repetitions of the logits of the network that left the row out,
      `(n,)`.
    """
    n, p = X.shape
    rows = augment(X)
    n_batches = max(1, n // batch_size)
    schedule = optax.cosine_decay_schedule(learning_rate, n_batches * n_epochs)
    optimizer = optax.adamw(schedule, b2=0.95, weight_decay=weight_decay)

    def train(key: jax.Array, counts: jax.Array) -> jax.Array:
        init_key, shuffle_key = jax.random.split(key)
        params = init_params(init_key, (p, hidden_size, 1), dtype=X.dtype)

        def step(carry: Any, batch: jax.Array) -> tuple[Any, None]:
            params, state = carry
            share = counts[batch] / jnp.maximum(jnp.sum(counts[batch]), 1)
            _, factors = loss_factors_augmented(params, rows[batch], targets[batch])
            grads = weighted_sum(factors, share)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        def epoch(i: int, carry: Any) -> Any:
            order = jax.random.permutation(jax.random.fold_in(shuffle_key, i), n)
            batches = order[: n_batches * min(batch_size, n)].reshape(n_batches, -1)
            return jax.lax.scan(step, carry, batches)[0]

        carry = (params, optimizer.init(params))
        params, _ = jax.lax.fori_loop(0, n_epochs, epoch, carry)
        return forward(params, X)

    def out_of(carry: jax.Array, inputs: Any) -> tuple[jax.Array, None]:
        key, repetition, fold = inputs
        is_out = folds[repetition] == fold
        logits = train(key, (~is_out).astype(X.dtype))
        return carry + jnp.where(is_out, logits, 0), None

    n_repeats = folds.shape[0]
    inputs = (
        jax.random.split(key, n_repeats * n_folds),
        jnp.repeat(jnp.arange(n_repeats), n_folds),
        jnp.tile(jnp.arange(n_folds), n_repeats),
    )
    with jax.numpy_dtype_promotion("standard"):  # optax mixes types
        total, _ = jax.lax.scan(out_of, jnp.zeros((n,), X.dtype), inputs)
    return total / n_repeats
