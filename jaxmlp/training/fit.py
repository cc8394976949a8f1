"""Training of one network."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxmlp.core import Params, loss_and_grads
from jaxmlp.training.engine import (
    Callback,
    Data,
    GradientFn,
    History,
    RunState,
    Settings,
    epoch_batches,
    history_of,
    is_active,
    run_epoch,
    run_epochs,
    run_in_chunks,
    start_run,
)
from jaxmlp.training.validate import check_count, check_data


class FitResult(NamedTuple):
    """A trained network.

    Attributes:
      params: Parameters after the last epoch, or, with `patience`, after the epoch with
        the lowest validation loss.
      opt_state: State of the optimiser after the last epoch.
      history: `"train_loss"`: for each epoch, `(n_epochs_run,)`, the mean over its
        examples of the loss at the step that used them, before that step's update.
        `"val_loss"`: the validation loss at the epoch's end; absent without a validation
        part.
      best_epoch: Epoch with the lowest validation loss, counted from 1; None without a
        validation part, or if no epoch had a finite one.
    """

    params: Params
    opt_state: optax.OptState
    history: History
    best_epoch: int | None


def fit(
    key: jax.Array,
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: optax.GradientTransformation,
    n_epochs: int,
    batch_size: int,
    X_val: ArrayLike | None = None,
    y_val: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    patience: int | None = None,
    gradient_fn: GradientFn = loss_and_grads,
    callback: Callback | None = None,
    callback_every: int = 1,
) -> FitResult:
    r"""Trains a network by mini-batch stochastic gradient descent.

    .. math:: \theta^{k+1} = \theta^k - \eta\,\nabla_\theta \mathcal{L}(\theta^k)

    with the mean loss of one mini-batch, or the update rule of any other optax optimiser.
    Each epoch visits every example once, in a new order, in ⌈n / batch_size⌉ updates; if
    batch_size does not divide n, the last mini-batch is smaller and averaged over its own
    size. `batch_size=1` is the lecture's SGD, `batch_size=n` its gradient descent.

    Args:
      key: JAX random key of the epochs' orders.
      params: Starting parameters, from `init_params` or an earlier fit; not changed.
        Their floating-point type is the one computed in.
      X: Training features, `(n, p)`, finite.
      y: Labels in {0, 1}, `(n,)`.
      optimizer: Any optax optimiser, such as `optax.sgd(0.1)`, but for those that search
        along a line and so call the loss themselves (`optax.lbfgs`). Reuse the object
        in repeated calls: a new one is compiled anew.
      n_epochs: Passes through the training part.
      batch_size: Examples a step, at least 1; more than n counts as n.
      X_val: Validation features, `(n_val, p)`, or None.
      y_val: Validation labels, `(n_val,)`, or None.
      sample_weight: Non-negative weights, `(n,)`. A mini-batch's loss is its weighted
        mean, divided by the sum of its weights.
      patience: Stop after this many epochs without a lower validation loss, and return
        the best epoch's parameters. Needs a validation part.
      gradient_fn: Replaces the gradient, `(params, X, y, sample_weight) -> (loss, grads)`.
      callback: Called as `callback(n_done, history)` between chunks of epochs.
      callback_every: Epochs in a chunk.

    Returns:
      A `FitResult`.

    Raises:
      ValueError: Names the argument and says what is wrong with it.

    Guarantees:
      The same key, data and machine give the same bits, with or without a callback.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from jaxmlp import fit, init_params
      >>> X = jnp.linspace(-1, 1, 64)[:, None]
      >>> y = (jnp.abs(X[:, 0]) < 0.5).astype(int)
      >>> init_key, shuffle_key = jax.random.split(jax.random.key(0))
      >>> params = init_params(init_key, (1, 16, 1))
      >>> sgd = optax.sgd(0.5)
      >>> result = fit(
      ...     shuffle_key, params, X, y, optimizer=sgd, n_epochs=200, batch_size=8
      ... )
      >>> bool(result.history["train_loss"][-1] < 0.2)
      True

    Source:
      Lecture, "Stochastic Gradient Descent (SGD)" and "Terminology: Epoch".
    """
    data = check_data(
        X,
        y,
        dtype=params[0].w.dtype,
        X_val=X_val,
        y_val=y_val,
        sample_weight=sample_weight,
    )
    if data.X.shape[1] != params[0].w.shape[0]:
        raise ValueError(
            f"X has {data.X.shape[1]} columns, params take {params[0].w.shape[0]}"
        )
    n_epochs = check_count("n_epochs", n_epochs)
    has_validation = data.X_val is not None
    settings = make_settings(gradient_fn, batch_size, patience, data)
    # Copied, because the compiled loop takes over (donates) the arrays of its state.
    state = jax.tree.map(
        jnp.copy, start_run(params, optimizer, n_epochs, has_validation=has_validation)
    )
    state, n_done = run_in_chunks(
        lambda state, start, stop: _run(state, data, key, start, stop, optimizer, settings),
        state,
        n_epochs,
        callback,
        check_count("callback_every", callback_every),
    )
    best = state.best
    return FitResult(
        params=state.params if best is None or patience is None else best.params,
        opt_state=state.opt_state,
        history=history_of(state, n_done),
        best_epoch=None if best is None else int(best.epoch) or None,
    )


def make_settings(
    gradient_fn: GradientFn, batch_size: int, patience: int | None, data: Data
) -> Settings:
    """Validates what the compiled program is specialised to."""
    if patience is not None:
        patience = check_count("patience", patience)
        if data.X_val is None:
            raise ValueError("patience needs a validation part: give X_val and y_val")
    batch_size = min(check_count("batch_size", batch_size), data.X.shape[0])
    return Settings(gradient_fn, batch_size, patience)


@partial(jax.jit, static_argnames=("optimizer", "settings"), donate_argnames="state")
def _run(
    state: RunState,
    data: Data,
    key: jax.Array,
    start: jax.Array,
    stop: jax.Array,
    optimizer: optax.GradientTransformation,
    settings: Settings,
) -> tuple[RunState, jax.Array]:
    def advance(epoch: jax.Array, state: RunState) -> RunState:
        batches = epoch_batches(key, epoch, data.X.shape[0], settings.batch_size)
        return run_epoch(epoch, state, batches, data, optimizer, settings)

    def goes_on(epoch: jax.Array, state: RunState) -> jax.Array:
        return is_active(state, epoch, settings.patience)

    return run_epochs(state, start, stop, advance, goes_on)
