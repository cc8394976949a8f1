"""Choice of step size and width on the validation part."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxmlp.core import Params, loss_and_grads, unpad_params
from jaxmlp.core.params import InitMethod
from jaxmlp.training.engine import (
    BestEpoch,
    Callback,
    GradientFn,
    History,
    RunState,
    history_of,
    run_in_chunks,
)
from jaxmlp.training.fit import make_settings
from jaxmlp.training.grid import (
    Grid,
    HiddenSizes,
    OptimizerFactory,
    run_grid,
    start_grid,
)
from jaxmlp.training.validate import check_count, check_data


class Configuration(NamedTuple):
    """One row of the search's table.

    Attributes:
      learning_rate: Step size η.
      hidden_sizes: Widths of the hidden layers.
      epoch: Epoch with the lowest validation loss, counted from 1; 0 if none was finite.
      train_loss: Training loss of that epoch in nats; NaN if there is none.
      val_loss: Validation loss at its end in nats; infinite if there is none.
    """

    learning_rate: float
    hidden_sizes: HiddenSizes
    epoch: int
    train_loss: float
    val_loss: float


class Best(NamedTuple):
    """The chosen configuration and its trained network.

    Attributes:
      learning_rate: Step size η.
      hidden_sizes: Widths of the hidden layers.
      epoch: Epoch whose parameters these are, counted from 1.
      train_loss: Training loss of that epoch in nats.
      val_loss: Validation loss at its end in nats.
      params: Parameters at its end.
      history: Loss curves of the whole run, as in `FitResult`.
    """

    learning_rate: float
    hidden_sizes: HiddenSizes
    epoch: int
    train_loss: float
    val_loss: float
    params: Params
    history: History


class SearchResult(NamedTuple):
    """Outcome of `search`.

    Attributes:
      table: One row for each configuration, learning rates within hidden sizes, in the
        order given.
      best: The row with the lowest validation loss, with its network.
    """

    table: list[Configuration]
    best: Best


def search(
    key: jax.Array,
    X_train: ArrayLike,
    y_train: ArrayLike,
    X_val: ArrayLike,
    y_val: ArrayLike,
    *,
    learning_rates: Sequence[float],
    hidden_sizes: Sequence[int | Sequence[int]],
    n_epochs: int,
    batch_size: int,
    optimizer: OptimizerFactory = optax.sgd,
    init: InitMethod = "he",
    sample_weight: ArrayLike | None = None,
    patience: int | None = None,
    gradient_fn: GradientFn = loss_and_grads,
    callback: Callback | None = None,
    callback_every: int = 1,
    n_parallel: int | None = None,
) -> SearchResult:
    """Trains every combination of step size and width; the validation part chooses.

    All networks of the same depth train in one compiled program: narrow ones are padded
    with units that stay zero (see `pad_params`). All see the same orders of the examples,
    and equal widths start from the same parameters, so that only the configurations
    differ. Of each run, the epoch with the lowest validation loss counts. A run whose
    loss becomes NaN or infinite is kept in the table and never chosen.

    Args:
      key: JAX random key of starting parameters and orders.
      X_train: Training features, `(n, p)`, finite; float64 features (where JAX has them
        enabled) make all computation float64, all others float32.
      y_train: Labels in {0, 1}, `(n,)`.
      X_val: Validation features, `(n_val, p)`.
      y_val: Validation labels, `(n_val,)`.
      learning_rates: Step sizes η to try.
      hidden_sizes: Hidden layers to try: a width, or a sequence of widths for deeper
        networks; `()` or 0 is logistic regression.
      n_epochs: Passes through the training part.
      batch_size: Examples a step, as in `fit`.
      optimizer: Makes the optimiser from a step size, such as `optax.adam`.
      init: `"he"` or `"xavier"`.
      sample_weight: Non-negative weights, `(n,)`, as in `fit`.
      patience: Stop a run after this many epochs without a lower validation loss.
      gradient_fn: Replaces the gradient, as in `fit`.
      callback: Called as `callback(n_done, history)` between chunks of epochs, where each
        loss curve is `(n_configurations, n_done)`. Networks of different depth run one
        depth after the other, and n_done starts anew.
      callback_every: Epochs in a chunk.
      n_parallel: Networks trained side by side by `vmap`; the rest wait in a loop. None
        is 1 on a CPU, where side by side is not faster, and all on an accelerator.

    Returns:
      A `SearchResult`.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
      FloatingPointError: No run had a finite validation loss at any epoch.

    Guarantees:
      Each run equals, up to rounding, `fit` with the unpadded network and the same keys.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import search
      >>> X = jax.random.normal(jax.random.key(0), (300, 2))
      >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
      >>> result = search(
      ...     jax.random.key(1), X[:200], y[:200], X[200:], y[200:],
      ...     learning_rates=[0.01, 0.3], hidden_sizes=[4, 16], n_epochs=50, batch_size=8,
      ... )
      >>> len(result.table), result.best.learning_rate
      (4, 0.3)

    Source:
      Lecture, "Data Splits".
    """
    dtype = jnp.float64 if jnp.asarray(X_train).dtype == jnp.float64 else jnp.float32
    data = check_data(
        X_train,
        y_train,
        dtype=dtype,
        X_val=X_val,
        y_val=y_val,
        sample_weight=sample_weight,
        names=("X_train", "y_train"),
    )
    grid = Grid(
        rates=_check_learning_rates(learning_rates),
        widths=_check_hidden_sizes(hidden_sizes),
        optimizer=optimizer,
        init=init,
        n_epochs=check_count("n_epochs", n_epochs),
    )
    settings = make_settings(gradient_fn, batch_size, patience, data)
    callback_every = check_count("callback_every", callback_every)
    if n_parallel is None:
        n_parallel = 1 if jax.default_backend() == "cpu" else len(grid.configurations)
    n_parallel = check_count("n_parallel", n_parallel)
    init_key, shuffle_key = jax.random.split(key)

    table: list[Configuration] = []
    best: Best | None = None
    for group in grid.by_depth():
        state, n_done = run_in_chunks(
            partial(run_grid, data, shuffle_key, group, settings, n_parallel),
            start_grid(init_key, data, group),
            group.n_epochs,
            callback,
            callback_every,
        )
        rows = _table(state, group)
        table += rows
        candidate = _best(state, rows, n_done, patience)
        if best is None or candidate.val_loss < best.val_loss:
            best = candidate
    if best is None or not math.isfinite(best.val_loss):
        raise FloatingPointError(
            "no configuration had a finite validation loss: even the smallest learning "
            f"rate, {min(grid.rates):g}, is too large for these data"
        )
    table.sort(key=lambda row: grid.widths.index(row.hidden_sizes))
    return SearchResult(table, best)


def _best_epochs(state: RunState) -> BestEpoch:
    assert state.best is not None  # a search always has a validation part
    return state.best


def _table(state: RunState, grid: Grid) -> list[Configuration]:
    best = _best_epochs(state)
    epochs = np.asarray(best.epoch)
    train_loss = np.asarray(state.train_loss)
    val_loss = np.asarray(best.val_loss)
    return [
        Configuration(
            learning_rate=rate,
            hidden_sizes=sizes,
            epoch=int(epochs[i]),
            train_loss=float(train_loss[i, epochs[i] - 1]) if epochs[i] else math.nan,
            val_loss=float(val_loss[i]),
        )
        for i, (sizes, rate) in enumerate(grid.configurations)
    ]


def _best(
    state: RunState, rows: list[Configuration], n_done: int, patience: int | None
) -> Best:
    index = min(range(len(rows)), key=lambda i: rows[i].val_loss)
    row = rows[index]
    n_run = n_done if patience is None else min(n_done, row.epoch + patience)
    curves = history_of(state, n_run)
    return Best(
        *row,
        params=unpad_params(
            jax.tree.map(lambda array: array[index], _best_epochs(state).params),
            row.hidden_sizes,
        ),
        history={name: curve[index] for name, curve in curves.items()},
    )


def _check_learning_rates(learning_rates: Sequence[float]) -> tuple[float, ...]:
    rates = tuple(dict.fromkeys(float(rate) for rate in learning_rates))
    if not rates:
        raise ValueError("learning_rates is empty")
    for rate in rates:
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"learning_rates must be positive and finite, not {rate}")
    return rates


def _check_hidden_sizes(
    hidden_sizes: Sequence[int | Sequence[int]],
) -> tuple[HiddenSizes, ...]:
    widths = []
    for sizes in hidden_sizes:
        if isinstance(sizes, Sequence):
            widths.append(tuple(check_count("hidden_sizes", size) for size in sizes))
        else:
            width = check_count("hidden_sizes", sizes, least=0)
            widths.append((width,) if width else ())
    if not widths:
        raise ValueError("hidden_sizes is empty")
    return tuple(dict.fromkeys(widths))
