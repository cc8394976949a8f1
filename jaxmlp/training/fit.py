"""Training of one network."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike, DTypeLike

from jaxmlp.core import Params
from jaxmlp.core.dropout import Dropout
from jaxmlp.core.validate import check_count
from jaxmlp.training.arrays import ClassWeight, check_data
from jaxmlp.training.diagnostics import Diagnostics
from jaxmlp.training.engine import run_alone, run_in_chunks
from jaxmlp.training.objective import GradientFn
from jaxmlp.training.orders import make_orders
from jaxmlp.training.places import (
    Place,
    any_process,
    check_same,
    copy_local,
    mesh_of,
    put,
    replicate,
)
from jaxmlp.training.state import (
    Data,
    History,
    Hyper,
    MetricFn,
    RunState,
    Settings,
    dropout_key,
    history_of,
    start_run,
)
from jaxmlp.training.validate import (
    check_key,
    check_l2,
    check_opt_state,
    check_optimizer,
    check_params,
    find_place,
    make_settings,
)


class FitResult(NamedTuple):
    """A trained network.

    Attributes:
      params: Parameters after the last epoch, or, with `patience`, after the epoch with
        the lowest validation loss.
      opt_state: State of the optimiser after the last epoch.
      history: Curves by epoch, `(n_epochs_run,)`. `"train_loss"`: the mean over the
        epoch's examples of the loss at the step that used them, before that step's
        update and without penalty. With a validation part, at the epoch's end:
        `"val_loss"`, and each metric as `"val_" + name`. With `diagnostics`, theirs.
      best_epoch: Epoch with the lowest validation loss, counted from 1; None without a
        validation part, or if no epoch had a finite one.
    """

    params: Params
    opt_state: optax.OptState
    history: History
    best_epoch: int | None


class FitProgress(NamedTuple):
    """What a callback of `fit` gets.

    Attributes:
      n_done: Epochs done.
      n_epochs: Epochs asked for.
      history: Curves up to here, as in `FitResult`.
      result: Makes the `FitResult` of a run that ended here, of copies; to be called
        before the callback returns, because the run goes on in the same memory.
    """

    n_done: int
    n_epochs: int
    history: History
    result: Callable[[], FitResult]


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
    class_weight: ClassWeight = None,
    l2: float = 0.0,
    penalize_bias: bool = False,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    patience: int | None = None,
    metrics: Mapping[str, MetricFn] | None = None,
    opt_state: optax.OptState | None = None,
    drop_last: bool = False,
    gradient_fn: GradientFn | None = None,
    compute_dtype: DTypeLike | None = None,
    diagnostics: Diagnostics | None = None,
    device: jax.Device | str | None = None,
    mesh: Mesh | None = None,
    callback: Callable[[FitProgress], object] | None = None,
    callback_every: int = 1,
) -> FitResult:
    r"""Trains a network by mini-batch stochastic gradient descent.

    $$
    \theta^{k+1} = \theta^k - \eta\,\nabla_\theta \left(\mathcal{L}(\theta^k)
    + \frac{\lambda}{2} \sum_l \lVert W_l^k \rVert^2\right)
    $$

    with the mean loss of one mini-batch, or the update rule of any other optax optimiser.
    Each epoch visits every example once, in a new order, in ⌈n / batch_size⌉ updates; if
    batch_size does not divide n, the last mini-batch is smaller and averaged over its own
    size. `batch_size=1` is the lecture's SGD, `batch_size=n` its gradient descent.

    Args:
      key: JAX random key of the epochs' orders.
      params: Starting parameters, float32 or float64, from `init_params` or an earlier
        fit; not changed. Their type is the one computed in.
      X: Training features, `(n, p)`, finite.
      y: Labels in {0, 1}, `(n,)`.
      optimizer: Any optax optimiser, with a fixed or a scheduled step size (a schedule
        counts steps). `optax.lbfgs()` wants `batch_size=n`. To clip gradients, put
        `optax.clip_by_global_norm` before it with `optax.chain`. Reuse the object in
        repeated calls: a new one is compiled anew.
      n_epochs: Passes through the training part.
      batch_size: Examples a step, at least 1; more than n counts as n.
      X_val: Validation features, `(n_val, p)`, or None.
      y_val: Validation labels, `(n_val,)`, or None.
      sample_weight: Non-negative weights, `(n,)`. A mini-batch's loss is its weighted
        mean, divided by the sum of its weights, so that only their ratios count.
      class_weight: Weights by label, `{0: w0, 1: w1}`, or `"balanced"` for n / (2 n_c);
        they multiply `sample_weight`. They weight the validation loss too, which would
        otherwise judge probabilities of another population; metrics are not weighted.
      l2: Strength λ of the penalty, per example as the loss is. scikit-learn's `alpha`
        is λ times the batch size.
      penalize_bias: Whether the penalty is on the biases too.
      dropout: Share of each hidden layer's units that a step leaves out, drawn for each
        example; the others count 1 / (1 - share) times. Rounded to 1/256. The training
        loss is that of the thinned networks.
      input_dropout: The same of the features.
      patience: Stop after this many epochs without a lower validation loss, and return
        the best epoch's parameters. Needs a validation part.
      metrics: More to measure on the validation part: functions `(logits, y) -> scalar`,
        traced by JAX, by name. Reuse the functions in repeated calls.
      opt_state: State of the optimiser to go on from, of an earlier `FitResult`; with
        schedules, their step counts too. Give another `key`, or the orders of the
        earlier epochs come again.
      drop_last: Leave out the last mini-batch of an epoch if it is smaller.
      gradient_fn: Replaces the gradient, `(params, X, y, sample_weight) -> (loss, grads)`.
        Its weights are None, or those of the mini-batch times a power of two, with zeros
        where a smaller last mini-batch is filled up. It may return each example's
        gradient norm, `(n,)`, as a third value, for `diagnostics`.
      compute_dtype: `"bfloat16"` multiplies matrices in bfloat16, halving the features'
        memory; parameters, sums and losses stay in the parameters' type. None multiplies
        in that type too. (How a GPU multiplies float32 is JAX's
        `jax_default_matmul_precision`.)
      diagnostics: What to record of the examples' gradients by epoch: quantiles of their
        norms, the share above a norm, the gradient noise scale. From the same backward
        pass, so that it costs little.
      device: A JAX device, or `"cpu"`, `"gpu"` or `"tpu"`, or with a number, `"gpu:1"`;
        None is JAX's default.
      mesh: Devices, in a mesh of one axis, that share out the rows of each mini-batch;
        instead of `device`. They need `batch_size` to be a multiple of their number. A
        mesh may reach over several processes, which all make the same call then.
      callback: Called with a `FitProgress` after every `callback_every` epochs and at the
        end; whatever it returns that is true stops the run, in all processes.
      callback_every: Epochs between two calls.

    Returns:
      A `FitResult`.

    Raises:
      ValueError: Names the argument and says what is wrong with it.

    Guarantees:
      The same key, data and machine give the same bits, with or without a callback. The
      orders of the examples are the same on every device. A mesh changes nothing but the
      order in which sums are rounded.

    Examples:
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
    key_data = check_key(key)
    n_features, dtype = check_params(params)
    check_optimizer(optimizer)
    place = find_place(device, mesh)
    check_same(
        place,
        key=key_data,
        params=params,
        X=X,
        y=y,
        n_epochs=n_epochs,
        batch_size=batch_size,
        X_val=X_val,
        y_val=y_val,
        sample_weight=sample_weight,
        class_weight=class_weight,
        l2=l2,
        dropout=(dropout, input_dropout),
        patience=patience,
        opt_state=opt_state,
        callback_every=callback is not None and callback_every,
    )
    data = check_data(
        X,
        y,
        dtype=dtype,
        compute_dtype=compute_dtype,
        n_features=n_features,
        X_val=X_val,
        y_val=y_val,
        sample_weight=sample_weight,
        class_weight=class_weight,
        augmented=gradient_fn is None,
        device=place,
    )
    settings = make_settings(
        data.X.shape[0],
        has_validation=data.X_val is not None,
        optimizer=optimizer,
        gradient_fn=gradient_fn,
        n_epochs=n_epochs,
        batch_size=batch_size,
        drop_last=drop_last,
        patience=patience,
        metrics=metrics,
        penalize_bias=penalize_bias,
        diagnostics=diagnostics,
        dropout=Dropout(dropout, input_dropout),
        mesh=mesh_of(place),
    )
    return run_fit(
        key_data,
        params,
        data,
        settings,
        l2=l2,
        opt_state=opt_state,
        device=place,
        callback=callback,
        callback_every=callback_every,
    )


def run_fit(
    key_data: ArrayLike,
    params: Params,
    data: Data,
    settings: Settings,
    *,
    l2: float,
    opt_state: optax.OptState | None,
    device: Place,
    callback: Callable[[FitProgress], object] | None,
    callback_every: int,
) -> FitResult:
    """Trains one network as `settings` say; arguments else as of `fit`."""
    l2 = check_l2("l2", l2)
    dtype = params[0].w.dtype
    penalty = np.asarray(l2, dtype) if l2 else None
    hyper = Hyper(None, *put((penalty, dropout_key(key_data, settings)), device))
    callback_every = check_count("callback_every", callback_every)
    if device is not None:
        params, opt_state = put((params, opt_state), device)
    if opt_state is not None:
        assert isinstance(settings.optimizer, optax.GradientTransformation)
        check_opt_state(opt_state, params, settings.optimizer)
    state = _start(params, opt_state, settings, has_validation=data.X_val is not None)
    chunks = run_in_chunks(
        lambda state, orders, bounds: run_alone(
            state, hyper, orders, data, bounds, settings
        ),
        state,
        make_orders(key_data, settings.plan, device),
        settings.plan,
        None if callback is None else callback_every,
    )
    n_done = n_seen = 0
    for state, n_done, _ in chunks:
        # Patience that runs out at the end of a chunk shows in the next, which is empty.
        is_new, n_seen = n_done > n_seen, n_done
        if callback and is_new:
            has_enough = callback(progress_of(state, n_done, settings))
            if any_process(has_enough, settings.mesh):
                break
    return result_of(state, n_done, settings.patience)


@partial(jax.jit, static_argnames=("settings", "has_validation"))
def _start(
    params: Params,
    opt_state: optax.OptState | None,
    settings: Settings,
    *,
    has_validation: bool,
) -> RunState:
    if opt_state is None:
        assert isinstance(settings.optimizer, optax.GradientTransformation)
        opt_state = settings.optimizer.init(params)
    state = start_run(params, opt_state, settings, has_validation=has_validation)
    return replicate(state, settings.mesh)


def progress_of(state: RunState, n_done: int, settings: Settings) -> FitProgress:
    """What a callback gets after `n_done` epochs."""
    return FitProgress(
        n_done=n_done,
        n_epochs=settings.plan.n_epochs,
        history=history_of(state, n_done),
        # Copied, because the next chunk takes over (donates) the arrays of the state.
        result=lambda: result_of(_copy(state), n_done, settings.patience),
    )


def _copy(state: RunState) -> RunState:
    if any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):
        raise RuntimeError("FitProgress.result is to be called within the callback")
    if all(leaf.is_fully_addressable for leaf in jax.tree.leaves(state)):
        return _copy_arrays(state)
    return copy_local(state)


@jax.jit
def _copy_arrays(state: RunState) -> RunState:
    return jax.tree.map(jnp.copy, state)


def result_of(state: RunState, n_done: int, patience: int | None) -> FitResult:
    """The result of a run that ended after `n_done` epochs."""
    best = state.best
    return FitResult(
        params=state.params if best is None or patience is None else best.params,
        opt_state=state.opt_state,
        history=history_of(state, n_done),
        best_epoch=None if best is None else int(best.epoch) or None,
    )
