"""Training of one network on a stream of rows."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike, DTypeLike

from jaxmlp.core import Params
from jaxmlp.core.dropout import Dropout
from jaxmlp.core.validate import check_count
from jaxmlp.training.arrays import check_validation, class_weights, find_compute_dtype
from jaxmlp.training.checkpoints import Checkpoints
from jaxmlp.training.engine import Validation
from jaxmlp.training.fit import FitProgress, FitResult, progress_of, result_of
from jaxmlp.training.objective import GradientFn
from jaxmlp.training.orders import seed_of
from jaxmlp.training.places import Place, any_process, check_same, mesh_of, put
from jaxmlp.training.resume import keep_checkpoints
from jaxmlp.training.state import Hyper, MetricFn, dropout_key
from jaxmlp.training.stream import (
    Course,
    Stream,
    as_run_state,
    start_runs,
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
from jaxmlp.training.windows import Layout, Rows, as_blocks

WINDOW_SIZE = 2**18
"""Rows in memory at a time by default."""


def fit_stream(
    key: jax.Array,
    params: Params,
    stream: Rows,
    *,
    optimizer: optax.GradientTransformation,
    n_epochs: int,
    batch_size: int,
    window_size: int = WINDOW_SIZE,
    X_val: ArrayLike | None = None,
    y_val: ArrayLike | None = None,
    class_weight: Mapping[int, float] | None = None,
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
    device: jax.Device | str | None = None,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    stop: Callable[[], object] | None = None,
    callback: Callable[[FitProgress], object] | None = None,
) -> FitResult:
    """Trains a network on rows that come in blocks and need not fit into memory; as `fit`.

    Blocks are gathered to windows of `window_size` rows, and each window's rows are
    visited in a random order, while the next window is read. Rows are mixed within a
    window only: blocks should come in another order in each epoch, as a function of the
    epoch can give them, unless their order is random anyway.

    Args:
      key: As of `fit`.
      params: As of `fit`.
      stream: Blocks `(X, y)` or `(X, y, sample_weight)` of any sizes: arrays `(n, p)`,
        `(n,)` and `(n,)`. An iterable that starts anew each time it is iterated, such as
        a list; or a function of the epoch, from 0, that makes an iterator. It runs on
        another thread. Several processes must be given the same; to have each read its
        own rows, give an object with a method `blocks(epoch, skip)` that leaves out the
        first `skip` rows, and gives `jaxmlp.training.Elsewhere` for those of others.
      optimizer: As of `fit`.
      n_epochs: Passes through the stream.
      batch_size: As of `fit`, at most `window_size`.
      window_size: Rows in memory at a time, rounded down to a multiple of `batch_size`;
        three windows are held: in use, next, and being read.
      X_val: As of `fit`.
      y_val: As of `fit`.
      class_weight: Weights by label, `{0: w0, 1: w1}`.
      l2: As of `fit`.
      penalize_bias: As of `fit`.
      dropout: As of `fit`.
      input_dropout: As of `fit`.
      patience: As of `fit`.
      metrics: As of `fit`.
      opt_state: As of `fit`.
      drop_last: Leave out an epoch's last mini-batch if it is smaller.
      gradient_fn: As of `fit`.
      compute_dtype: As of `fit`.
      device: As of `fit`.
      mesh: As of `fit`.
      checkpoints: Where to keep what the run needs to go on after an end that nobody
        planned, and how often; None keeps nothing.
      stop: Asked after each window; whatever it returns that is true saves a checkpoint
        and raises `Stopped`.
      callback: Called with a `FitProgress` after each epoch; whatever it returns that is
        true stops the run.

    Returns:
      A `FitResult`. A run whose loss becomes NaN or infinite ends at once, with that loss
      as the last of its history.

    Raises:
      ValueError: Names the argument, or the block and its row, and says what is wrong.
      CheckpointError: A checkpoint cannot be written, belongs to another run, or none can
        be read.
      Stopped: Told to.

    Guarantees:
      If one window holds all rows, the same bits as `fit`. Sizes of blocks change nothing.
      A run that goes on from a checkpoint ends with the bits of one that never stopped,
      on the same devices; on others, with the same mini-batches.

    Examples:
      >>> import jax, numpy as np, optax
      >>> from jaxmlp import fit_stream, init_params
      >>> def blocks(epoch):
      ...     rng = np.random.default_rng(epoch)
      ...     for _ in range(10):
      ...         X = rng.normal(size=(1000, 2))
      ...         yield X, X[:, 0] * X[:, 1] > 0
      >>> params = init_params(jax.random.key(0), (2, 16, 1))
      >>> result = fit_stream(
      ...     jax.random.key(1), params, blocks, optimizer=optax.sgd(0.3), n_epochs=5,
      ...     batch_size=20, window_size=4000,
      ... )
      >>> bool(result.history["train_loss"][-1] < 0.3)
      True
    """
    key_data = check_key(key)
    n_features, dtype = check_params(params)
    check_optimizer(optimizer)
    place = find_place(device, mesh)
    check_same(
        place,
        key=key_data,
        params=params,
        n_epochs=n_epochs,
        batch_size=batch_size,
        window_size=window_size,
        X_val=X_val,
        y_val=y_val,
        class_weight=class_weight,
        l2=l2,
        dropout=(dropout, input_dropout),
        patience=patience,
        opt_state=opt_state,
        callback=callback is not None,
        stop=stop is not None,
    )
    source = make_stream(
        stream,
        seed_of(key_data),
        n_features=n_features,
        dtype=dtype,
        n_epochs=n_epochs,
        batch_size=batch_size,
        window_size=window_size,
        class_weight=class_weight,
        X_val=X_val,
        y_val=y_val,
        drop_last=drop_last,
        augmented=gradient_fn is None,
        compute_dtype=compute_dtype,
        place=place,
    )
    settings = make_settings(
        source.layout.n_rows,
        has_validation=source.validation is not None,
        optimizer=optimizer,
        gradient_fn=gradient_fn,
        n_epochs=n_epochs,
        batch_size=batch_size,
        drop_last=drop_last,
        patience=patience,
        metrics=metrics,
        penalize_bias=penalize_bias,
        dropout=Dropout(dropout, input_dropout),
        mesh=mesh_of(place),
    )
    l2 = check_l2("l2", l2)
    penalty = np.asarray(l2, dtype) if l2 else None
    hyper = Hyper(None, *put((penalty, dropout_key(key_data, settings)), place))
    if opt_state is not None:
        check_opt_state(opt_state, params, optimizer)
    courses = [Course(hyper, settings)]
    params, opt_state = put((params, opt_state), place)
    start = start_runs(courses, [params], [opt_state], source)
    n_done, run = 0, as_run_state(start.runs[0])
    for state in keep_checkpoints(courses, start, source, checkpoints, stop):
        n_before, n_done = n_done, state.ended[0] or state.epoch
        run = as_run_state(state.runs[0])
        if callback and n_done > n_before:
            has_enough = callback(progress_of(run, n_done, settings))
            if any_process(has_enough, settings.mesh):
                break
    return result_of(run, n_done, settings.patience)


def make_stream(
    stream: Rows,
    seed: tuple[int, ...],
    *,
    n_features: int,
    dtype: np.dtype[Any],
    n_epochs: int,
    batch_size: int,
    window_size: int,
    class_weight: Mapping[int, float] | None,
    X_val: ArrayLike | None,
    y_val: ArrayLike | None,
    drop_last: bool = False,
    augmented: bool,
    compute_dtype: DTypeLike | None,
    place: Place,
) -> Stream:
    """Validates what `fit_stream` and `search_stream` train on.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
    """
    batch_size = check_count("batch_size", batch_size)
    window_size = check_count("window_size", window_size)
    if window_size < batch_size:
        raise ValueError(
            f"window_size of {window_size} rows holds no mini-batch of {batch_size}"
        )
    by_label = None if class_weight is None else class_weights(class_weight)
    validation = check_validation(X_val, y_val, n_features, dtype, by_label)
    layout = Layout(
        n_rows=window_size - window_size % batch_size,
        batch_size=batch_size,
        n_epochs=check_count("n_epochs", n_epochs),
        drop_last=drop_last,
        n_features=n_features,
        augmented=augmented,
        dtype=dtype,
        compute_dtype=find_compute_dtype(compute_dtype, dtype),
        class_weight=by_label,
        is_shared=hasattr(stream, "blocks") and jax.process_count() > 1,
    )
    part = None if validation is None else Validation(*put(validation, place))
    return Stream(as_blocks(stream), layout, seed, part, place)
