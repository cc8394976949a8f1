"""The estimator's training: scikit-learn's stopping and step sizes around the engine.

Each epoch, or step of L-BFGS, is one call of the compiled program that `jaxmlp.fit` runs.
The host looks at the loss after each, because scikit-learn decides then whether to stop.
The program knows neither the step size nor the penalty nor the number of epochs, so that
it is compiled once for all their values.
"""

import math
import time
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import shuffle

from jaxmlp.core import Params, bce_with_logits, forward
from jaxmlp.training.engine import run_alone
from jaxmlp.training.state import Data, Hyper, RunState, Settings

ScheduleName = Literal["constant", "invscaling", "adaptive"]

LBFGS = optax.lbfgs()
"""One object, so that it is compiled once for each shape."""

_SMALLEST_RATE = 1e-6  # at which "adaptive" gives up
_SMALLEST_DECREASE = 1e7 * np.finfo(float).eps  # L-BFGS-B's in SciPy


class Rules(NamedTuple):
    """When training ends and how step sizes fall, as the estimator's parameters say.

    Attributes:
      max_iter: Most epochs, or steps of L-BFGS.
      tol: Least improvement that counts; of L-BFGS the greatest slope at the end.
      n_iter_no_change: Epochs without one that are let pass.
      max_fun: Most evaluations of the loss by L-BFGS.
      schedule: How the step size falls.
      learning_rate_init: Step size η at the start.
      power_t: Exponent of `"invscaling"`.
      shuffle: Whether each epoch has a new order.
      verbose: Whether each epoch prints a line.
    """

    max_iter: int
    tol: float
    n_iter_no_change: float
    max_fun: int
    schedule: ScheduleName
    learning_rate_init: float
    power_t: float
    shuffle: bool
    verbose: bool


class Task(NamedTuple):
    """What one network trains on.

    Attributes:
      data: Training part, on the device.
      val: Validation part in the same form, its X without the column of ones, or None.
      l2: scikit-learn's alpha in units of the data's weights.
      settings: What the program is specialised to, a plan of one epoch among them.
    """

    data: Data
    val: Data | None
    l2: float
    settings: Settings

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type to compute in."""
        return self.data.y.dtype


@dataclass
class Record:
    """What a network keeps from epoch to epoch, and from fit to fit, beside its weights.

    Attributes:
      opt_state: State of the optimiser, in NumPy arrays.
      learning_rate: Step size of the next epoch.
      n_seen: Examples seen so far.
      n_stale: Epochs since the last improvement.
      loss_curve: Training loss of each epoch.
      best_loss: The lowest of them.
      val_loss_curve: Validation loss after each epoch.
      val_scores: Accuracy on the validation part after each epoch.
      best_score: The highest of them.
    """

    opt_state: Any
    learning_rate: float
    n_seen: int = 0
    n_stale: int = 0
    loss_curve: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    val_loss_curve: list[float] = field(default_factory=list)
    val_scores: list[float] = field(default_factory=list)
    best_score: float = -math.inf


def train_epochs(
    params: Params,
    record: Record,
    task: Task,
    rules: Rules,
    random_state: np.random.RandomState,
) -> tuple[Params, int, bool]:
    """Trains by mini-batches until nothing improves.

    Args:
      params: Weights to start from, in NumPy arrays.
      record: Of the training so far; brought up to date.
      task: What to train on.
      rules: When to stop.
      random_state: Draws the orders as scikit-learn draws them.

    Returns:
      Weights in NumPy arrays, with a validation part those of the highest score; the
      number of epochs; and whether improvement ended before max_iter did.
    """
    n_samples = task.settings.plan.n_samples
    rows = np.arange(n_samples)
    state = _start(params, record.opt_state, task)
    best, n_iter, is_over = params, 0, False
    while n_iter < rules.max_iter and not is_over:
        began = time.perf_counter()
        if rules.shuffle:
            rows = shuffle(rows, random_state=random_state)
        state, loss = _run_epoch(state, record.learning_rate, rows, task)
        n_iter += 1
        record.n_seen += n_samples
        record.loss_curve.append(loss)
        if task.val is None:
            _note_loss(record, loss, rules.tol)
        elif _note_score(record, *_judge(state.params, task.val), rules.tol):
            best = _to_host(state.params)
        is_over = _next_rate(record, rules) or math.isnan(loss)
        if rules.verbose:
            _print_epoch(n_iter, record, time.perf_counter() - began)
    record.opt_state = _to_host(state.opt_state)
    return _to_host(state.params) if task.val is None else best, n_iter, is_over


def _start(params: Params, opt_state: Any, task: Task) -> RunState:
    history: Any = {"train_loss": np.zeros(1, task.dtype)}
    return RunState(params, opt_state, history, None)


def _run_epoch(
    state: RunState, learning_rate: float, rows: NDArray[np.integer], task: Task
) -> tuple[RunState, float]:
    rate: Any = np.asarray(learning_rate, task.dtype)
    l2: Any = np.asarray(task.l2, task.dtype)
    plan = task.settings.plan
    order: Any = np.zeros((1, 0), np.int32)
    if not plan.is_full_batch:
        order = np.full((1, plan.n_batches * plan.batch_size), -1, np.int32)
        order[0, : len(rows)] = rows
    bounds = (np.int32(0), np.int32(1))
    hyper = Hyper(rate, l2)
    state, _ = run_alone(state, hyper, order, task.data, bounds, task.settings)
    return state, float(np.asarray(state.history["train_loss"])[0])


def _judge(params: Params, val: Data) -> tuple[float, float]:
    """Mean log loss and accuracy on the validation part."""
    loss, right, total = np.asarray(_sums(params, val)).tolist()
    return loss / total, right / total


@jax.jit
def _sums(params: Params, val: Data) -> jax.Array:
    logits = forward(params, val.X)
    losses = bce_with_logits(logits, val.y)
    weight = jnp.ones_like(losses) if val.sample_weight is None else val.sample_weight
    is_right = (logits > 0) == (val.y > 0)
    terms = jnp.stack([losses, is_right.astype(losses.dtype), jnp.ones_like(losses)])
    return jnp.sum(terms * weight[None, :], axis=1)


def _note_loss(record: Record, loss: float, tol: float) -> None:
    record.n_stale = record.n_stale + 1 if loss > record.best_loss - tol else 0
    record.best_loss = min(record.best_loss, loss)


def _note_score(record: Record, val_loss: float, score: float, tol: float) -> bool:
    """Notes an epoch's scores; whether its accuracy is the highest so far."""
    record.val_loss_curve.append(val_loss)
    record.val_scores.append(score)
    record.n_stale = record.n_stale + 1 if score < record.best_score + tol else 0
    is_best = score > record.best_score
    record.best_score = max(record.best_score, score)
    return is_best


def _next_rate(record: Record, rules: Rules) -> bool:
    """Sets the step size of the next epoch; whether there shall be none."""
    if rules.schedule == "invscaling":
        decay = (record.n_seen + 1) ** rules.power_t
        record.learning_rate = rules.learning_rate_init / decay
    if record.n_stale <= rules.n_iter_no_change:
        return False
    if rules.schedule != "adaptive" or record.learning_rate <= _SMALLEST_RATE:
        return True
    record.learning_rate /= 5
    record.n_stale = 0
    return False


def train_lbfgs(
    params: Params, record: Record, task: Task, rules: Rules
) -> tuple[Params, int, bool]:
    """Trains by L-BFGS until the loss is flat; as `train_epochs`, one iteration a step.

    The end is SciPy's: no slope above tol, or a step that lowers the loss by less than
    2.2e-9 of it (in float32, by less than rounding).
    """
    state = _start(params, jax.jit(LBFGS.init)(params), task)
    least = max(_SMALLEST_DECREASE, float(np.finfo(task.dtype).eps))
    n_iter, n_calls, last, is_over = 0, 0, math.inf, False
    rows = np.arange(0)
    while n_iter < rules.max_iter and n_calls < rules.max_fun and not is_over:
        state, _ = _run_epoch(state, 1.0, rows, task)
        search = optax.tree_utils.tree_get(state.opt_state, "ScaleByZoomLinesearchState")
        loss, slopes, n_tried = jax.device_get(
            (search.value, search.grad, search.info.num_linesearch_steps)
        )
        n_iter += 1
        n_calls += 1 + int(n_tried)
        slope = max(float(np.abs(g).max()) for g in jax.tree.leaves(slopes))
        loss = float(loss)
        is_flat = last - loss <= least * max(abs(last), abs(loss), 1)
        is_over = slope <= rules.tol or (n_iter > 1 and is_flat) or math.isnan(loss)
        last = loss
        record.loss_curve.append(loss)
        if rules.verbose:
            print(f"step {n_iter}: loss {loss:.6f}, slope {slope:.2g}, {n_tried} tries")
    record.best_loss = min(record.loss_curve)
    return _to_host(state.params), n_iter, is_over


def warn_unfinished(max_iter: int) -> None:
    """Warns that training has not ended by itself."""
    warnings.warn(
        f"training reached max_iter={max_iter} or max_fun and still improved: raise it, "
        "scale the features, or take a larger learning_rate_init",
        ConvergenceWarning,
        stacklevel=3,
    )


def _print_epoch(n_iter: int, record: Record, seconds: float) -> None:
    line = f"epoch {n_iter}: loss {record.loss_curve[-1]:.6f}"
    if record.val_scores:
        line += f", validation loss {record.val_loss_curve[-1]:.6f}"
        line += f", accuracy {record.val_scores[-1]:.4f}"
    print(f"{line}, {seconds:.3f} s")


def _to_host(tree: Any) -> Any:
    # Copies: the next epoch takes over the device's arrays.
    return jax.tree.map(np.array, tree)
