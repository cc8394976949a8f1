"""Whole epochs of training as one compiled program.

`fit` runs it for one network, `search` for many. The host enters only between chunks of
epochs; the bounds of a chunk are arguments of the same compiled program, so cutting a
run into chunks changes no bit of it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxmlp.core import Params, bce_with_logits, forward
from jaxmlp.core.dropout import Masks, draw_masks, loss_and_grads_dropped
from jaxmlp.core.losses import mean_weights
from jaxmlp.training.diagnostics import StepRecord, record_step, summarize
from jaxmlp.training.objective import Objective, penalized
from jaxmlp.training.orders import Orders, Plan, PoissonPlan
from jaxmlp.training.places import replicate, share_out
from jaxmlp.training.state import (
    BestEpoch,
    Data,
    Hyper,
    RunState,
    Settings,
    make_optimizer,
)


def is_active(state: RunState, epoch: jax.Array, settings: Settings) -> jax.Array:
    """Whether the run goes on after `epoch` epochs, `()`: not if its loss is not finite."""
    losses = state.history["train_loss"]
    is_sound = (epoch == 0) | jnp.isfinite(losses[jnp.maximum(epoch - 1, 0)])
    if settings.patience is None or state.best is None:
        return is_sound
    best = state.best.epoch
    patience = jnp.asarray(settings.patience, best.dtype)
    if settings.grows_patient:
        patience = jnp.maximum(patience, best // 2)
    return is_sound & (epoch - best < patience)


class Validation(NamedTuple):
    """Rows that judge an epoch.

    Attributes:
      X: Features, `(n_val, p)`.
      y: Labels, `(n_val,)`.
      weight: Weights, `(n_val,)`, or None.
    """

    X: jax.Array
    y: jax.Array
    weight: jax.Array | None


class Sums(NamedTuple):
    """What a run carries from step to step of an epoch.

    Attributes:
      params: Parameters after the last step.
      opt_state: State of the optimiser.
      loss: Sum of the steps' losses, each times its share, `()`.
      share: Sum of the shares, `()`: of the rows' weights, or their number.
    """

    params: Params
    opt_state: optax.OptState
    loss: jax.Array
    share: jax.Array


_Batch = tuple[jax.Array, jax.Array, jax.Array | None]


def start_sums(params: Params, opt_state: optax.OptState) -> Sums:
    """Sums before an epoch's first step."""
    zero = jnp.zeros((), params[0].w.dtype)
    return Sums(params, opt_state, zero, zero)


def run_epoch(
    epoch: jax.Array,
    state: RunState,
    hyper: Hyper,
    order: jax.Array,
    data: Data,
    settings: Settings,
) -> RunState:
    """Trains for one epoch and looks at the validation part.

    Args:
      epoch: Number of the epoch, from 0.
      state: State before it.
      hyper: Step size and penalty.
      order: Row numbers of its mini-batches, `(n_batches * batch_size,)`.
      data: Training and validation part.
      settings: What the program is specialised to.
    """
    first_step = epoch * settings.plan.n_batches
    sums, records = run_steps(
        first_step,
        start_sums(state.params, state.opt_state),
        hyper,
        order,
        data,
        settings,
    )
    validation = None
    if data.X_val is not None and data.y_val is not None:
        validation = Validation(data.X_val, data.y_val, data.val_weight)
    return end_epoch(epoch, sums, records, state.history, state.best, validation, settings)


def run_steps(
    first_step: ArrayLike,
    sums: Sums,
    hyper: Hyper,
    order: jax.Array | None,
    data: Data,
    settings: Settings,
) -> tuple[Sums, StepRecord | None]:
    """Takes the steps of an epoch, or, where rows come in windows, those of a window.

    Args:
      first_step: Number of the first of them in the run, from 0.
      sums: Sums of the epoch before them.
      hyper: Step size and penalty.
      order: Row numbers of the mini-batches, `(n_batches * batch_size,)`.
      data: The rows; or, laid out already, the mini-batches themselves (see `lay_out`),
        which have an axis more and need no order.
      settings: What the program is specialised to.
    """
    optimizer = optax.with_extra_args_support(make_optimizer(settings, hyper))
    plan = settings.plan
    step = partial(_step, optimizer=optimizer, settings=settings)

    def objective(i: ArrayLike, params: Params) -> Objective:
        gradient_fn = settings.gradient_fn
        if settings.dropout is not None and hyper.dropout_key is not None:
            key = jax.random.fold_in(hyper.dropout_key, first_step + i)
            masks = _masks(key, params, settings)
            gradient_fn = partial(loss_and_grads_dropped, masks=masks)
        return penalized(
            gradient_fn, hyper.l2, settings.penalize_bias, settings.penalize_once
        )

    if plan.is_full_batch:
        features, labels = share_out((data.X, data.y), settings.mesh)
        batch = (features, labels, replicate(data.sample_weight, settings.mesh))
        params, opt_state, loss, record = step(
            sums.params, sums.opt_state, batch, objective(0, sums.params)
        )
        return Sums(params, opt_state, loss, jnp.ones_like(loss)), record

    # The losses are summed in the carry: stacking one output a step can make XLA copy
    # whole buffers (jax issue 40101).
    def add_step(
        sums: Sums, i: jax.Array, batch: _Batch, is_real: jax.Array | None
    ) -> tuple[Sums, StepRecord | None]:
        params, opt_state, loss, record = step(
            sums.params, sums.opt_state, batch, objective(i, sums.params)
        )
        counted = is_real if settings.penalize_once else batch[2]
        share = jnp.asarray(plan.batch_size, loss.dtype)
        if counted is not None:
            share = jnp.sum(counted.astype(loss.dtype))
        loss_sum = sums.loss + share * loss
        return Sums(params, opt_state, loss_sum, sums.share + share), record

    def take_laid_out(sums: Sums, inputs: Any) -> tuple[Sums, StepRecord | None]:
        i, X, y, weight = inputs
        weight = replicate(weight, settings.mesh)
        return add_step(sums, i, (*share_out((X, y), settings.mesh), weight), None)

    def take_rows(
        sums: Sums, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[Sums, StepRecord | None]:
        i, rows = inputs
        # Each device looks at the weights of all rows, so that none waits for their sum.
        rows = replicate(rows, settings.mesh)
        is_real = replicate(rows >= 0 if plan.has_padding else None, settings.mesh)
        weight = replicate(_batch_weight(data, rows, is_real), settings.mesh)
        rows = share_out(rows, settings.mesh)
        # Row -1, where there is no example, is the last row; its weight is 0.
        return add_step(sums, i, (data.X[rows], data.y[rows], weight), is_real)

    numbers = jnp.arange(plan.n_batches, dtype=jnp.int32)
    if data.X.ndim == 3:
        batches = (numbers, data.X, data.y, data.sample_weight)
        return jax.lax.scan(take_laid_out, sums, batches)
    assert order is not None
    rows = order.reshape(plan.n_batches, plan.batch_size)
    return jax.lax.scan(take_rows, sums, (numbers, rows))


def end_epoch(
    epoch: jax.Array,
    sums: Sums,
    records: StepRecord | None,
    history: dict[str, jax.Array],
    best: BestEpoch | None,
    validation: Validation | None,
    settings: Settings,
) -> RunState:
    """Enters an epoch's loss into the history and looks at the validation part.

    Args:
      epoch: Number of the epoch, from 0.
      sums: Sums over its steps.
      records: What the steps recorded of the examples' gradients.
      history: Curves before it.
      best: Best epoch before it.
      validation: The validation part, if there is one.
      settings: What the program is specialised to.
    """
    # As a mini-batch does, an epoch without weight has a loss of 0.
    measured = {"train_loss": sums.loss / jnp.where(sums.share > 0, sums.share, 1)}
    if settings.diagnostics is not None and records is not None:
        measured |= summarize(settings.diagnostics, records)
    if best is not None and validation is not None:
        X, y, weight = validation
        logits = _val_logits(sums.params, X, settings)
        losses = bce_with_logits(logits, y)
        shares = mean_weights(losses, weight, losses.dtype)
        val_loss = jnp.sum(losses * shares)
        measured["val_loss"] = val_loss
        for name, metric in settings.metrics:
            measured[f"val_{name}"] = value = jnp.asarray(metric(logits, y))
            if value.shape:
                raise ValueError(
                    f"metrics: {name!r} must return a scalar, not shape {value.shape}"
                )
        now = BestEpoch(sums.params, epoch + 1, val_loss)
        is_better = val_loss < best.val_loss  # False for NaN
        best = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), now, best)
    history = {
        name: curve.at[epoch].set(measured[name].astype(curve.dtype))
        for name, curve in history.items()
    }
    return RunState(sums.params, sums.opt_state, history, best)


def _val_logits(params: Params, X: jax.Array, settings: Settings) -> jax.Array:
    """Logits of the validation part, of which each device computes its share."""
    if settings.mesh is None:
        return forward(params, X)
    n_empty = -X.shape[0] % settings.mesh.size
    padded = share_out(jnp.pad(X, ((0, n_empty), (0, 0))), settings.mesh)
    return replicate(forward(params, padded), settings.mesh)[: X.shape[0]]


def _step(
    params: Params,
    opt_state: optax.OptState,
    batch: _Batch,
    objective: Objective,
    *,
    optimizer: optax.GradientTransformationExtraArgs,
    settings: Settings,
) -> tuple[Params, optax.OptState, jax.Array, StepRecord | None]:
    found = objective.evaluate(params, *batch)
    diagnostics, record = settings.diagnostics, None
    if diagnostics is not None:
        if found.norms is None:
            raise ValueError(
                "diagnostics need a gradient_fn that returns (loss, grads, norms)"
            )
        record = record_step(diagnostics, found.norms, found.loss_grads, batch[2])
    updates, opt_state = optimizer.update(
        found.grads,
        opt_state,
        params,
        # For optimisers that look at the loss, or search along a line; others drop them.
        value=found.value,
        grad=found.grads,
        value_fn=lambda params: objective.value(params, *batch),
    )
    loss = found.value if settings.penalize_once else found.loss
    return optax.apply_updates(params, updates), opt_state, loss, record


def _masks(key: jax.Array, params: Params, settings: Settings) -> Masks:
    plan = settings.plan
    assert settings.dropout is not None
    if settings.mesh is None:
        return draw_masks(key, params, plan.batch_size, settings.dropout)
    n_drawn = min(plan.batch_size, plan.n_samples)
    masks = draw_masks(key, params, n_drawn, settings.dropout)
    drawn = masks._replace(scales=())
    if n_drawn % (4 * settings.mesh.size):
        # A random word serves four rows: where these are not one device's, each device
        # draws all of them rather than sends them.
        drawn = replicate(drawn, settings.mesh)
    # Drawn without the places left empty, a row's mask is the same on any mesh.
    n_empty = plan.batch_size - n_drawn
    drawn = jax.tree.map(lambda mask: jnp.pad(mask, ((0, n_empty), (0, 0))), drawn)
    return share_out(drawn, settings.mesh)._replace(scales=masks.scales)


def _batch_weight(
    data: Data, rows: jax.Array, is_real: jax.Array | None
) -> jax.Array | None:
    if data.sample_weight is None:
        return None if is_real is None else is_real.astype(data.y.dtype)
    weight = data.sample_weight[rows]
    return weight if is_real is None else jnp.where(is_real, weight, 0)


def run_one(
    state: RunState,
    hyper: Hyper,
    orders: jax.Array,
    data: Data,
    bounds: tuple[ArrayLike, ArrayLike],
    settings: Settings,
) -> tuple[RunState, jax.Array]:
    """Trains one network for some epochs of a block, or until out of patience; traced.

    Args:
      state: State after the epochs done.
      hyper: Step size and penalty.
      orders: Row numbers of all epochs of the block, `(block, n_batches * batch_size)`.
      data: Training and validation part.
      bounds: Number of epochs already done, and number to reach.
      settings: What the program is specialised to.

    Returns:
      The state, and the number of epochs done.
    """

    def advance(epoch: jax.Array, state: RunState) -> RunState:
        order = orders[epoch % orders.shape[0]]
        state = run_epoch(epoch, state, hyper, order, data, settings)
        return replicate(state, settings.mesh)

    def goes_on(epoch: jax.Array, state: RunState) -> jax.Array:
        return is_active(state, epoch, settings)

    return _loop(state, bounds, advance, goes_on)


run_alone = jax.jit(run_one, static_argnames="settings", donate_argnames="state")
"""`run_one`, compiled; takes over the arrays of the state."""


def run_many(
    state: RunState,
    hyper: Hyper,
    orders: jax.Array,
    data: Data,
    bounds: tuple[ArrayLike, ArrayLike],
    settings: Settings,
) -> tuple[RunState, jax.Array]:
    """Trains networks side by side; as `run_one`, with a leading axis; traced.

    All see the same orders, so that the first layer multiplies one mini-batch by the
    weights of all networks at once. A network out of patience keeps its state, and the
    loop ends when all are.
    """

    def advance(epoch: jax.Array, state: RunState) -> RunState:
        order = orders[epoch % orders.shape[0]]

        def one(state: RunState, hyper: Hyper) -> RunState:
            new = run_epoch(epoch, state, hyper, order, data, settings)
            goes_on = is_active(state, epoch, settings)
            return jax.tree.map(lambda a, b: jnp.where(goes_on, a, b), new, state)

        return jax.vmap(one)(state, hyper)

    def goes_on(epoch: jax.Array, state: RunState) -> jax.Array:
        return jnp.any(jax.vmap(lambda s: is_active(s, epoch, settings))(state))

    return _loop(state, bounds, advance, goes_on)


def _loop(
    state: RunState,
    bounds: tuple[ArrayLike, ArrayLike],
    advance: Callable[[jax.Array, RunState], RunState],
    goes_on: Callable[[jax.Array, RunState], jax.Array],
) -> tuple[RunState, jax.Array]:
    start, stop = bounds

    def one_more(carry: tuple[jax.Array, RunState]) -> tuple[jax.Array, RunState]:
        epoch, state = carry
        return epoch + 1, advance(epoch, state)

    epoch, state = jax.lax.while_loop(
        lambda carry: (carry[0] < stop) & goes_on(*carry),
        one_more,
        (jnp.asarray(start, jnp.int32), state),
    )
    return state, epoch


RunChunk = Callable[
    [RunState, jax.Array, tuple[ArrayLike, ArrayLike]], tuple[RunState, jax.Array]
]
"""`(state, orders of the block, (start, stop)) -> (state, n_done)`, compiled."""


def run_in_chunks(
    run: RunChunk,
    state: RunState,
    orders: Orders,
    plan: Plan | PoissonPlan,
    every: int | None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[RunState, int, bool]]:
    """Runs a compiled program chunk by chunk.

    Args:
      run: Runs epochs of one block.
      state: State before the first epoch.
      orders: Draws the orders.
      plan: How epochs are cut.
      every: Epochs after which the caller wants to look, or None for the end only.
      is_stopped: Asked after each block; when true, the run ends there.

    Yields:
      The state, the number of epochs done and whether the run has ended, after every so
      many epochs and at the end.
    """
    every = every or plan.n_epochs
    n_done = 0
    while n_done < plan.n_epochs:
        next_look = (n_done // every + 1) * every
        stop = min((n_done // plan.block + 1) * plan.block, next_look, plan.n_epochs)
        bounds = (np.int32(n_done), np.int32(stop))
        state, epoch = run(state, orders(n_done), bounds)
        if stop < plan.n_epochs:
            orders(stop)  # drawn while the device computes
        n_done = int(epoch)
        has_ended = n_done < stop or stop == plan.n_epochs or is_stopped()
        if has_ended or n_done == next_look:
            yield state, n_done, has_ended
        if has_ended:
            return
