"""Whole epochs of training as one compiled program.

`fit` runs it for one network, `search` for many. The host enters only between chunks of
epochs; the bounds of a chunk are arguments of the same compiled program, so cutting a
run into chunks changes no bit of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmlp.core import Params, bce_with_logits, forward

GradientFn = Callable[
    [Params, jax.Array, jax.Array, jax.Array | None], tuple[jax.Array, Params]
]
"""`(params, X, y, sample_weight) -> (loss, grads)`, as `jaxmlp.loss_and_grads`."""

Batches = tuple[jax.Array, jax.Array | None] | None
"""Mini-batches of one epoch; see `epoch_batches`."""

History = dict[str, np.ndarray]
"""Loss curves in nats: `"train_loss"` and, with a validation part, `"val_loss"`."""

Callback = Callable[[int, History], None]
"""Called on the host with the number of epochs done and the history up to there."""


class Data(NamedTuple):
    """Training part, and validation part if there is one.

    Attributes:
      X: Features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`, in the type of X.
      sample_weight: `(n,)` or None.
      X_val: `(n_val, p)` or None.
      y_val: `(n_val,)` or None.
    """

    X: jax.Array
    y: jax.Array
    sample_weight: jax.Array | None
    X_val: jax.Array | None
    y_val: jax.Array | None


class Settings(NamedTuple):
    """What the compiled program is specialised to.

    Attributes:
      gradient_fn: Loss and gradient of a mini-batch.
      batch_size: Examples a step; from n on, each step takes all (gradient descent).
      patience: Epochs without a better validation loss after which a run stops, or None.
    """

    gradient_fn: GradientFn
    batch_size: int
    patience: int | None


class BestEpoch(NamedTuple):
    """Epoch with the lowest validation loss so far.

    Attributes:
      params: Parameters at its end.
      epoch: Its number, counted from 1; 0 as long as no epoch had a finite loss.
      val_loss: Its validation loss in nats, `()`.
    """

    params: Params
    epoch: jax.Array
    val_loss: jax.Array


class RunState(NamedTuple):
    """Everything that a run carries from epoch to epoch.

    Attributes:
      params: Parameters after the last epoch.
      opt_state: State of the optimiser.
      train_loss: Mean loss of the epoch's steps, each taken before its update,
        `(n_epochs,)`; NaN where not yet run.
      val_loss: Validation loss at the end of the epoch, `(n_epochs,)`; NaN where not yet
        run or without a validation part.
      best: None without a validation part.
    """

    params: Params
    opt_state: optax.OptState
    train_loss: jax.Array
    val_loss: jax.Array
    best: BestEpoch | None


def start_run(
    params: Params,
    optimizer: optax.GradientTransformation,
    n_epochs: int,
    *,
    has_validation: bool,
) -> RunState:
    """State before the first epoch."""
    unknown = jnp.full((n_epochs,), jnp.nan, params[0].w.dtype)
    best = BestEpoch(params, jnp.zeros((), jnp.int32), jnp.full_like(unknown[0], jnp.inf))
    return RunState(
        params=params,
        opt_state=optimizer.init(params),
        train_loss=unknown,
        val_loss=unknown,
        best=best if has_validation else None,
    )


def is_active(state: RunState, epoch: jax.Array, patience: int | None) -> jax.Array:
    """Whether the run goes on after `epoch` epochs, `()`."""
    if patience is None or state.best is None:
        return jnp.ones((), bool)
    return epoch - state.best.epoch < patience


def epoch_batches(
    key: jax.Array, epoch: jax.Array, n_samples: int, batch_size: int
) -> Batches:
    """Draws the mini-batches of one epoch.

    Args:
      key: The run's shuffle key; the epoch's own key is folded from it.
      epoch: Number of the epoch, from 0.
      n_samples: Number of training examples.
      batch_size: Examples a step.

    Returns:
      Row numbers `(r, batch_size)` of ⌈n/s⌉ mini-batches, and a mask of the same shape
      that is False on the last one's padding, or None where nothing is padded. None
      altogether if one step takes all examples: their order does not matter.
    """
    if batch_size >= n_samples:
        return None
    order = jax.random.permutation(jax.random.fold_in(key, epoch), n_samples)
    n_batches = -(-n_samples // batch_size)
    shape = (n_batches, batch_size)
    n_padded = n_batches * batch_size - n_samples
    if n_padded == 0:
        return order.reshape(shape), None
    is_real = jnp.arange(n_batches * batch_size) < n_samples
    return jnp.pad(order, (0, n_padded)).reshape(shape), is_real.reshape(shape)


def run_epoch(
    epoch: jax.Array,
    state: RunState,
    batches: Batches,
    data: Data,
    optimizer: optax.GradientTransformation,
    settings: Settings,
) -> RunState:
    """Trains for one epoch and looks at the validation part."""
    params, opt_state, loss = _train(
        state.params, state.opt_state, batches, data, optimizer, settings.gradient_fn
    )
    state = state._replace(
        params=params,
        opt_state=opt_state,
        train_loss=state.train_loss.at[epoch].set(loss),
    )
    if state.best is None or data.X_val is None or data.y_val is None:
        return state
    val_loss = jnp.mean(bce_with_logits(forward(params, data.X_val), data.y_val))
    now = BestEpoch(params, epoch + 1, val_loss)
    is_better = val_loss < state.best.val_loss  # False for NaN
    return state._replace(
        val_loss=state.val_loss.at[epoch].set(val_loss),
        best=jax.tree.map(lambda new, old: jnp.where(is_better, new, old), now, state.best),
    )


def _train(
    params: Params,
    opt_state: optax.OptState,
    batches: Batches,
    data: Data,
    optimizer: optax.GradientTransformation,
    gradient_fn: GradientFn,
) -> tuple[Params, optax.OptState, jax.Array]:
    def step(
        params: Params,
        opt_state: optax.OptState,
        X: jax.Array,
        y: jax.Array,
        weight: jax.Array | None,
    ) -> tuple[Params, optax.OptState, jax.Array]:
        loss, grads = gradient_fn(params, X, y, weight)
        updates, opt_state = optax.with_extra_args_support(optimizer).update(
            grads, opt_state, params, value=loss, grad=grads
        )
        return optax.apply_updates(params, updates), opt_state, loss

    if batches is None:
        return step(params, opt_state, data.X, data.y, data.sample_weight)

    # The losses are summed in the carry: stacking one output a step can make XLA copy
    # whole buffers (jax issue 40101).
    def scan_step(carry: Any, batch: Any) -> tuple[Any, None]:
        params, opt_state, loss_sum, weight_sum = carry
        rows, is_real = batch
        weight = _batch_weight(data, rows, is_real)
        params, opt_state, loss = step(
            params, opt_state, data.X[rows], data.y[rows], weight
        )
        share = 1 if weight is None else jnp.sum(weight)
        return (params, opt_state, loss_sum + share * loss, weight_sum + share), None

    zero = jnp.zeros((), data.X.dtype)
    carry, _ = jax.lax.scan(scan_step, (params, opt_state, zero, zero), batches)
    params, opt_state, loss_sum, weight_sum = carry
    return params, opt_state, loss_sum / weight_sum


def _batch_weight(
    data: Data, rows: jax.Array, is_real: jax.Array | None
) -> jax.Array | None:
    if data.sample_weight is None:
        return None if is_real is None else is_real.astype(data.X.dtype)
    weight = data.sample_weight[rows]
    return weight if is_real is None else jnp.where(is_real, weight, 0)


def run_epochs(
    state: RunState,
    start: jax.Array,
    stop: jax.Array,
    advance: Callable[[jax.Array, RunState], RunState],
    goes_on: Callable[[jax.Array, RunState], jax.Array],
) -> tuple[RunState, jax.Array]:
    """Runs epochs `start` to `stop`, or until `goes_on` says no; traced.

    Args:
      state: State of one run, or of many with a leading axis.
      start: Number of epochs already done.
      stop: Number of epochs to reach.
      advance: `(epoch, state) -> state`, one epoch.
      goes_on: `(epoch, state) -> bool`, asked before each epoch.

    Returns:
      The state, and the number of epochs done.
    """

    def one_more(carry: tuple[jax.Array, RunState]) -> tuple[jax.Array, RunState]:
        epoch, state = carry
        return epoch + 1, advance(epoch, state)

    epoch, state = jax.lax.while_loop(
        lambda carry: (carry[0] < stop) & goes_on(*carry),
        one_more,
        (jnp.asarray(start, jnp.int32), state),
    )
    return state, epoch


def run_in_chunks(
    run: Callable[[RunState, int, int], tuple[RunState, jax.Array]],
    state: RunState,
    n_epochs: int,
    callback: Callback | None,
    callback_every: int,
) -> tuple[RunState, int]:
    """Runs a compiled program chunk by chunk, with the callback in between.

    Returns:
      The final state, and the number of epochs done.
    """
    # Without a callback nobody looks in between, and one call does it all.
    size = n_epochs if callback is None else callback_every
    n_done = 0
    for start in range(0, n_epochs, size):
        stop = min(start + size, n_epochs)
        state, epoch = run(state, start, stop)
        n_done = int(epoch)
        if callback is not None:
            callback(n_done, history_of(state, n_done))
        if n_done < stop:
            break
    return state, n_done


def history_of(state: RunState, n_done: int) -> History:
    """Copies the loss curves of the first `n_done` epochs to the host."""
    history = {"train_loss": np.array(state.train_loss[..., :n_done])}
    if state.best is not None:
        history["val_loss"] = np.array(state.val_loss[..., :n_done])
    return history
