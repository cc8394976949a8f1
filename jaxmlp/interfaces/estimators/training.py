"""From the estimator's parameters and rows to trained networks."""

import itertools
import math
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from jaxmlp.core import Layer, Params, init_params
from jaxmlp.interfaces.estimators.base import (
    Rows,
    check_weighted,
    compute_dtype,
    networks_of,
)
from jaxmlp.interfaces.estimators.epochs import (
    Record,
    Rules,
    Task,
    train_epochs,
    train_lbfgs,
)
from jaxmlp.interfaces.estimators.options import hidden_sizes, optimizer_of
from jaxmlp.training.arrays import check_data, weight_exponent
from jaxmlp.training.state import Data
from jaxmlp.training.validate import find_device, make_settings


class Start(NamedTuple):
    """Where a network begins or goes on.

    Attributes:
      params: Weights, in NumPy arrays.
      record: Of the training so far.
    """

    params: Params
    record: Record


class Trained(NamedTuple):
    """A network after its training.

    Attributes:
      params: Weights, in NumPy arrays.
      record: Of all its training.
      n_iter: Epochs of this training.
      is_over: Whether it ended by itself, not by max_iter.
    """

    params: Params
    record: Record
    n_iter: int
    is_over: bool


def go_on(estimator: Any, rows: Rows, *, keep_optimizer: bool) -> list[Start]:
    """Where the networks of an earlier fit go on.

    Args:
      estimator: A fitted one.
      rows: Its new rows.
      keep_optimizer: Whether to go on with the optimiser's state too.

    Raises:
      ValueError: The parameters ask for networks of other sizes.
    """
    sizes = _layer_sizes(estimator, rows)
    wanted = [(estimator.n_ensemble, *pair) for pair in itertools.pairwise(sizes)]
    stacked = networks_of(estimator)
    found = [layer.w.shape for layer in stacked]
    if found != wanted:
        raise ValueError(
            "hidden_layer_sizes and n_ensemble must be those of the earlier fit to go on "
            f"from its networks, whose weights have shapes {found}, not {wanted}"
        )
    dtype = compute_dtype(rows.X, find_device(estimator.device))
    starts = []
    for k, record in enumerate(estimator._records):
        params = jax.tree.map(lambda array, k=k: np.asarray(array[k], dtype), stacked)
        curves = (record.loss_curve, record.val_loss_curve, record.val_scores)
        loss_curve, val_loss_curve, val_scores = map(list, curves)
        record = replace(
            record,
            loss_curve=loss_curve,
            val_loss_curve=val_loss_curve,
            val_scores=val_scores,
        )
        new = _new_record(estimator, params)
        is_same = type(new.opt_state) is type(record.opt_state)  # of the same solver
        if keep_optimizer and is_same:
            record.opt_state = jax.tree.map(
                lambda old, like: old.astype(like.dtype), record.opt_state, new.opt_state
            )
        else:
            record.opt_state, record.learning_rate = new.opt_state, new.learning_rate
        starts.append(Start(params, record))
    return starts


def train_networks(
    estimator: Any, starts: list[Start] | None, rows: Rows, val: Rows | None, rules: Rules
) -> list[Trained]:
    """Trains all networks of an estimator, one after another.

    Args:
      estimator: Its parameters count, which are right.
      starts: Where each goes on, or None to begin anew.
      rows: Training rows.
      val: Validation rows, or None.
      rules: When to stop.

    Raises:
      ValueError: Training does not come to finite weights, or the rows cannot be used.
    """
    random_state = check_random_state(estimator.random_state)
    dtype = compute_dtype(rows.X, find_device(estimator.device))
    trained = []
    for k in range(estimator.n_ensemble):
        with jax.enable_x64(dtype == np.float64):
            # The calls of the random state follow each other as scikit-learn's do.
            start = starts[k] if starts else _begin(estimator, rows, dtype, random_state)
            task = _make_task(estimator, rows, val, dtype, random_state)
            if estimator.solver == "lbfgs":
                outcome = train_lbfgs(*start, task, rules)
            else:
                outcome = train_epochs(*start, task, rules, random_state)
        params, n_iter, is_over = outcome
        if not all(np.isfinite(array).all() for array in jax.tree.leaves(params)):
            raise ValueError(
                "training gave weights that are not finite: scale the features, or take a "
                "smaller learning_rate_init"
            )
        trained.append(Trained(params, start.record, n_iter, is_over))
    return trained


def _layer_sizes(estimator: Any, rows: Rows) -> tuple[int, ...]:
    return (rows.X.shape[1], *hidden_sizes(estimator.hidden_layer_sizes), 1)


def _begin(
    estimator: Any,
    rows: Rows,
    dtype: np.dtype[Any],
    random_state: np.random.RandomState,
) -> Start:
    sizes = _layer_sizes(estimator, rows)
    if estimator.init == "sklearn":
        params = _glorot(random_state, sizes, dtype)
    else:
        key = jax.random.key(random_state.randint(2**31))
        drawn = init_params(key, sizes, method=estimator.init, dtype=dtype)
        params = jax.tree.map(np.asarray, drawn)
    return Start(params, _new_record(estimator, params))


def _glorot(
    random_state: np.random.RandomState, sizes: tuple[int, ...], dtype: np.dtype[Any]
) -> Params:
    """Draws weights and biases as scikit-learn does for ReLU, in NumPy arrays."""
    layers = []
    for d_in, d_out in itertools.pairwise(sizes):
        bound = math.sqrt(6 / (d_in + d_out))
        w: Any = random_state.uniform(-bound, bound, (d_in, d_out)).astype(dtype)
        b: Any = random_state.uniform(-bound, bound, d_out).astype(dtype)
        layers.append(Layer(w, b))
    return tuple(layers)


def _new_record(estimator: Any, params: Params) -> Record:
    is_lbfgs = estimator.solver == "lbfgs"  # whose state is no use later
    opt_state = None if is_lbfgs else optimizer_of(estimator)(0.0).init(params)
    return Record(opt_state, float(estimator.learning_rate_init))


def _make_task(
    estimator: Any,
    rows: Rows,
    val: Rows | None,
    dtype: np.dtype[Any],
    random_state: np.random.RandomState,
) -> Task:
    if val is None and estimator.early_stopping and estimator.solver != "lbfgs":
        rows, val = _split(rows, estimator.validation_fraction, random_state)
    device = find_device(estimator.device)
    data = _to_device(rows, dtype, device)
    exponent = 0 if rows.weight is None else weight_exponent(rows.weight)
    settings = make_settings(
        data.X.shape[0],
        has_validation=data.X_val is not None,
        optimizer=optimizer_of(estimator),
        gradient_fn=None,
        n_epochs=1,
        batch_size=_batch_size(estimator, len(rows.X)),
        drop_last=False,
        patience=None,
        metrics=None,
        penalize_bias=False,
    )
    return Task(
        data=data,
        val=None if val is None else _to_device(val, dtype, device, is_val=True),
        l2=math.ldexp(estimator.alpha, -exponent),
        settings=settings._replace(penalize_once=True),
    )


def _to_device(
    rows: Rows, dtype: np.dtype[Any], device: jax.Device | None, *, is_val: bool = False
) -> Data:
    return check_data(
        rows.X,
        rows.y,
        dtype=dtype,
        sample_weight=rows.weight,
        augmented=not is_val,
        device=device,
        names=("X_val", "y_val") if is_val else ("X", "y"),
    )


def _split(
    rows: Rows, fraction: float, random_state: np.random.RandomState
) -> tuple[Rows, Rows]:
    training, validation = train_test_split(
        np.arange(len(rows.X)),
        random_state=random_state,
        test_size=fraction,
        stratify=rows.y,
    )
    if len(validation) < 2:
        raise ValueError(
            f"validation_fraction={fraction} sets {len(validation)} of {len(rows.X)} rows "
            "aside, too few to judge by: make it larger"
        )
    parts = rows.take(training), rows.take(validation)
    for part, name in zip(parts, ("the training part", "the validation part"), strict=True):
        check_weighted(part, f"{name}: give another validation_fraction or random_state")
    return parts


def _batch_size(estimator: Any, n_samples: int) -> int:
    if estimator.solver == "lbfgs":
        return n_samples
    if estimator.batch_size == "auto":
        return min(200, n_samples)
    if estimator.batch_size > n_samples:
        warnings.warn(
            f"batch_size={estimator.batch_size} is more than the {n_samples} training "
            "rows, which each step takes all",
            stacklevel=5,
        )
    return min(estimator.batch_size, n_samples)
