"""Whole epochs of training as one compiled program.

`fit` runs it for one network, `search` for many. The host enters only between chunks of
epochs; the bounds of a chunk are arguments of the same compiled program, so cutting a
run into chunks changes no bit of it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxmlp.core import Params, bce_with_logits, forward
from jaxmlp.training.objective import GradientFn, Objective, penalized
from jaxmlp.training.orders import Orders, Plan

MetricFn = Callable[[jax.Array, jax.Array], jax.Array]
"""`(logits (n,), y (n,)) -> scalar`."""

OptimizerFactory = Callable[..., optax.GradientTransformation]
"""`learning_rate -> optimiser`, such as `optax.sgd` or `optax.adam`."""

History = dict[str, np.ndarray]
"""Curves by epoch: `"train_loss"` and, with a validation part, `"val_loss"` in nats, and
the metrics asked for as `"val_" + name`."""


class Data(NamedTuple):
    """Training part, and validation part if there is one.

    Attributes:
      X: Features, `(n, p)`, or `(n, p + 1)` with a last column of ones for the
        library's own gradient; in the type to multiply in.
      y: Labels in {0, 1}, `(n,)`, in the parameters' type.
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
      optimizer: An optimiser, or what makes one from `Hyper.learning_rate`.
      gradient_fn: Loss and gradient of a mini-batch.
      plan: How epochs are cut into mini-batches.
      patience: Epochs without a better validation loss after which a run stops, or None.
      metrics: Names and functions of what is measured on the validation part.
      penalize_bias: Whether the L2 penalty is on the biases too.
    """

    optimizer: optax.GradientTransformation | OptimizerFactory
    gradient_fn: GradientFn
    plan: Plan
    patience: int | None
    metrics: tuple[tuple[str, MetricFn], ...]
    penalize_bias: bool


class Hyper(NamedTuple):
    """Numbers that one compiled program takes many values of.

    Attributes:
      learning_rate: Step size for an optimiser factory, `()`, or None.
      l2: Strength of the L2 penalty, `()`, or None for no penalty.
    """

    learning_rate: jax.Array | None
    l2: jax.Array | None


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
      history: Curves, each `(n_epochs,)`; NaN where not yet run. `"train_loss"` is the
        mean loss of the epoch's steps, each taken before its update and without penalty.
      best: None without a validation part.
    """

    params: Params
    opt_state: optax.OptState
    history: dict[str, jax.Array]
    best: BestEpoch | None


def make_optimizer(settings: Settings, hyper: Hyper) -> optax.GradientTransformation:
    """The optimiser itself, made from the step size where settings hold a factory."""
    if isinstance(settings.optimizer, optax.GradientTransformation):
        return settings.optimizer
    return settings.optimizer(hyper.learning_rate)


def start_run(
    params: Params,
    opt_state: optax.OptState,
    settings: Settings,
    *,
    has_validation: bool,
) -> RunState:
    """State before the first epoch; its arrays are new ones."""
    params, opt_state = jax.tree.map(jnp.copy, (params, opt_state))
    dtype = params[0].w.dtype
    names = ["train_loss"]
    best = None
    if has_validation:
        names += ["val_loss", *(f"val_{name}" for name, _ in settings.metrics)]
        best = BestEpoch(
            jax.tree.map(jnp.copy, params),
            jnp.zeros((), jnp.int32),
            jnp.full((), jnp.inf, dtype),
        )
    history = {name: jnp.full((settings.plan.n_epochs,), jnp.nan, dtype) for name in names}
    return RunState(params, opt_state, history, best)


def is_active(state: RunState, epoch: jax.Array, patience: int | None) -> jax.Array:
    """Whether the run goes on after `epoch` epochs, `()`."""
    if patience is None or state.best is None:
        return jnp.ones((), bool)
    return epoch - state.best.epoch < patience


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
    params, opt_state, loss = _train(
        state.params, state.opt_state, hyper, order, data, settings
    )
    measured = {"train_loss": loss}
    best = state.best
    if best is not None and data.X_val is not None and data.y_val is not None:
        logits = forward(params, data.X_val)
        val_loss = jnp.mean(bce_with_logits(logits, data.y_val))
        measured["val_loss"] = val_loss
        for name, metric in settings.metrics:
            measured[f"val_{name}"] = metric(logits, data.y_val)
        now = BestEpoch(params, epoch + 1, val_loss)
        is_better = val_loss < best.val_loss  # False for NaN
        best = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), now, best)
    history = {
        name: curve.at[epoch].set(measured[name].astype(curve.dtype))
        for name, curve in state.history.items()
    }
    return RunState(params, opt_state, history, best)


def _train(
    params: Params,
    opt_state: optax.OptState,
    hyper: Hyper,
    order: jax.Array,
    data: Data,
    settings: Settings,
) -> tuple[Params, optax.OptState, jax.Array]:
    objective = penalized(settings.gradient_fn, hyper.l2, settings.penalize_bias)
    optimizer = optax.with_extra_args_support(make_optimizer(settings, hyper))
    plan = settings.plan
    if plan.is_full_batch:
        batch = (data.X, data.y, data.sample_weight)
        return _step(params, opt_state, batch, objective, optimizer)

    # The losses are summed in the carry: stacking one output a step can make XLA copy
    # whole buffers (jax issue 40101).
    def scan_step(carry: Any, rows_and_mask: Any) -> tuple[Any, None]:
        params, opt_state, loss_sum, weight_sum = carry
        rows, is_real = rows_and_mask
        weight = _batch_weight(data, rows, is_real)
        batch = (data.X[rows], data.y[rows], weight)
        params, opt_state, loss = _step(params, opt_state, batch, objective, optimizer)
        share = 1 if weight is None else jnp.sum(weight)
        return (params, opt_state, loss_sum + share * loss, weight_sum + share), None

    shape = (plan.n_batches, plan.batch_size)
    is_real = None
    if plan.n_padding:
        is_real = (jnp.arange(order.shape[0]) < plan.n_samples).reshape(shape)
    zero = jnp.zeros((), data.y.dtype)
    carry = (params, opt_state, zero, zero)
    carry, _ = jax.lax.scan(scan_step, carry, (order.reshape(shape), is_real))
    params, opt_state, loss_sum, weight_sum = carry
    return params, opt_state, loss_sum / weight_sum


def _step(
    params: Params,
    opt_state: optax.OptState,
    batch: tuple[jax.Array, jax.Array, jax.Array | None],
    objective: Objective,
    optimizer: optax.GradientTransformationExtraArgs,
) -> tuple[Params, optax.OptState, jax.Array]:
    loss, value, grads = objective.evaluate(params, *batch)
    updates, opt_state = optimizer.update(
        grads,
        opt_state,
        params,
        # For optimisers that look at the loss, or search along a line; others drop them.
        value=value,
        grad=grads,
        value_fn=lambda params: objective.value(params, *batch),
    )
    return optax.apply_updates(params, updates), opt_state, loss


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
        return run_epoch(epoch, state, hyper, order, data, settings)

    def goes_on(epoch: jax.Array, state: RunState) -> jax.Array:
        return is_active(state, epoch, settings.patience)

    return _loop(state, bounds, advance, goes_on)


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
            goes_on = is_active(state, epoch, settings.patience)
            return jax.tree.map(lambda a, b: jnp.where(goes_on, a, b), new, state)

        return jax.vmap(one)(state, hyper)

    def goes_on(epoch: jax.Array, state: RunState) -> jax.Array:
        return jnp.any(jax.vmap(lambda s: is_active(s, epoch, settings.patience))(state))

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
    run: RunChunk, state: RunState, orders: Orders, plan: Plan, every: int | None
) -> Iterator[tuple[RunState, int]]:
    """Runs a compiled program chunk by chunk.

    Args:
      run: Runs epochs of one block.
      state: State before the first epoch.
      orders: Draws the orders.
      plan: How epochs are cut.
      every: Epochs after which the caller wants to look, or None for the end only.

    Yields:
      The state and the number of epochs done, after every so many epochs and at the end.
    """
    block = plan.n_epochs if plan.is_full_batch else plan.block
    every = every or plan.n_epochs
    n_done = 0
    while n_done < plan.n_epochs:
        next_look = (n_done // every + 1) * every
        stop = min((n_done // block + 1) * block, next_look, plan.n_epochs)
        bounds = (np.int32(n_done), np.int32(stop))
        state, epoch = run(state, orders(n_done), bounds)
        if stop < plan.n_epochs:
            orders(stop)  # drawn while the device computes
        n_done = int(epoch)
        has_ended = n_done < stop or stop == plan.n_epochs
        if has_ended or n_done == next_look:
            yield state, n_done
        if has_ended:
            return


def history_of(state: RunState, n_done: int) -> History:
    """Copies the curves of the first `n_done` epochs to the host."""
    return {
        name: np.asarray(curve)[..., :n_done].copy()
        for name, curve in state.history.items()
    }
