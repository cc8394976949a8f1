"""The training runs that the page replays, and JAX's numbers to hold it against."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from jaxmlp.core import Params, bce_with_logits, forward, init_params, loss_and_grads
from jaxmlp.gradients import loss_factors, norms
from jaxmlp.interfaces.playground.sets import PointSet
from jaxmlp.training import epoch_order, fit

Init = Literal["he", "xavier", "zero"]

CHECKS = ("train_loss", "val_loss", "mean_gradient_norm", "logit", "loss", "gradient_norm")
"""What is stored for each snapshot; the last three are of one training point in turn."""


class Grid(NamedTuple):
    """What the page switches between.

    Attributes:
      learning_rates: Step sizes η.
      widths: Numbers q of hidden units.
      batch_sizes: Mini-batch sizes s; None is the whole training part.
      inits: How weights start.
      n_epochs: Epochs of each run.
    """

    learning_rates: tuple[float, ...]
    widths: tuple[int, ...]
    batch_sizes: tuple[int | None, ...]
    inits: tuple[Init, ...]
    n_epochs: int


class Choice(NamedTuple):
    """One run of a grid; the fields' values are places in those of `Grid`."""

    width: int
    batch_size: int
    init: int
    learning_rate: int


class Run(NamedTuple):
    """A training run.

    Attributes:
      choice: Which.
      params: Parameters at each snapshot, `(S, 4 q + 1)`, in the order of W1 unit by unit
        (two numbers each), b1, W2, b2; NaN from where the run diverged.
      checks: JAX's numbers at each snapshot, `(S, 6)`; see `CHECKS`.
    """

    choice: Choice
    params: NDArray[np.float32]
    checks: NDArray[np.float64]


class Replay(NamedTuple):
    """All runs on one set of points.

    Attributes:
      points: The points.
      epochs: Number of epochs done at each snapshot, the first one 0, `(S,)`.
      checked: Which training point's numbers are among the checks, `(S,)`.
      orders: Order of the training points in the epoch after each snapshot, `(S, n)`.
      runs: One for each combination of the grid.
    """

    points: PointSet
    epochs: NDArray[np.int64]
    checked: NDArray[np.int64]
    orders: NDArray[np.int32]
    runs: list[Run]


# One object, and the step size in its state: one compiled program for all step sizes.
_SGD = optax.inject_hyperparams(optax.sgd)(learning_rate=0.0)


def snapshot_epochs(n_epochs: int, n_snapshots: int = 32) -> NDArray[np.int64]:
    """Numbers of epochs, close together at first: 0, 1, 2, … to the last one."""
    spaced = np.geomspace(1, n_epochs, n_snapshots).round().astype(np.int64)
    early = np.arange(min(n_epochs, 8) + 1)
    return np.unique(np.concatenate([early, spaced]))


def train_all(
    key: jax.Array,
    points: PointSet,
    grid: Grid,
    tell: Callable[[], None] = lambda: None,
) -> Replay:
    """Trains one network for each combination, all with the same orders.

    Args:
      key: JAX random key of weights and orders.
      points: What to learn.
      grid: What to combine.
      tell: Called after each run.
    """
    init_key, shuffle_key = jax.random.split(key)
    epochs = snapshot_epochs(grid.n_epochs)
    n = len(points.y_train)
    checked = np.arange(len(epochs)) * 37 % n  # another one each time
    runs = []
    for i, width in enumerate(grid.widths):
        trained = []
        for choice in _choices(grid, i):
            snapshots = _train(init_key, shuffle_key, points, grid, choice, epochs)
            trained.append((choice, snapshots))
            tell()
        checks = _checks([snapshots for _, snapshots in trained], points, checked)
        runs += [
            Run(choice, _flat(snapshots, width), check)
            for (choice, snapshots), check in zip(trained, checks, strict=True)
        ]
    orders = np.stack([np.asarray(epoch_order(shuffle_key, int(e), n)) for e in epochs])
    return Replay(points, epochs, checked, orders, runs)


def n_runs(grid: Grid) -> int:
    """Number of runs on each set of points."""
    return len(grid.widths) * len(_choices(grid, 0))


def _choices(grid: Grid, width: int) -> list[Choice]:
    return [
        Choice(width, batch_size, init, learning_rate)
        for batch_size in range(len(grid.batch_sizes))
        for init in range(len(grid.inits))
        for learning_rate in range(len(grid.learning_rates))
    ]


def _train(
    init_key: jax.Array,
    shuffle_key: jax.Array,
    points: PointSet,
    grid: Grid,
    choice: Choice,
    epochs: NDArray[np.int64],
) -> Params:
    """Parameters of a run at each snapshot, with a leading axis of size S."""
    params = start_params(init_key, grid.widths[choice.width], grid.inits[choice.init])
    rate = jnp.asarray(grid.learning_rates[choice.learning_rate], jnp.float32)
    snapshots, wanted = [params], set(epochs.tolist())
    state = _SGD.init(params)
    fit(
        shuffle_key,
        params,
        points.X_train,
        points.y_train,
        optimizer=_SGD,
        opt_state=state._replace(hyperparams={"learning_rate": rate}),
        n_epochs=grid.n_epochs,
        batch_size=grid.batch_sizes[choice.batch_size] or len(points.y_train),
        callback=lambda now: (
            snapshots.append(now.result().params) if now.n_done in wanted else None
        ),
    )
    # A run whose loss is no longer finite ends early, with numbers that are none.
    lost = jax.tree.map(lambda p: np.full_like(p, np.nan), params)
    snapshots += [lost] * (len(epochs) - len(snapshots))
    sound = [one if _is_finite(one) else lost for one in snapshots]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *sound)


def _is_finite(params: Params) -> bool:
    return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))


def start_params(key: jax.Array, width: int, init: Init) -> Params:
    """Starting parameters of a network with two features."""
    params = init_params(key, (2, width, 1), method="he" if init == "zero" else init)
    return jax.tree.map(jnp.zeros_like, params) if init == "zero" else params


def _flat(params: Params, width: int) -> NDArray[np.float32]:
    hidden, output = params
    n = len(hidden.w)
    w1 = np.swapaxes(hidden.w, 1, 2).reshape(n, 2 * width)  # the lecture's W1, row by row
    return np.concatenate([w1, hidden.b, output.w[:, :, 0], output.b], axis=1)


def _checks(
    snapshots: Sequence[Params], points: PointSet, checked: NDArray[np.int64]
) -> NDArray[np.float64]:
    """JAX's numbers at each snapshot of some runs of one width, `(runs, S, 6)`."""
    params = jax.tree.map(lambda *leaves: np.concatenate(leaves), *snapshots)
    chosen = np.tile(checked, len(snapshots))
    data = (points.X_train, points.y_train, points.X_val, points.y_val)
    with jax.enable_x64(True):  # the page computes in 64 bits
        wide = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
        X, y, X_val, y_val = (jnp.asarray(a, jnp.float64) for a in data)
        one = partial(_check, X=X, y=y, X_val=X_val, y_val=y_val)
        found = jax.jit(jax.vmap(one))(wide, jnp.asarray(chosen))
        stacked = np.stack([np.asarray(column) for column in found], axis=-1)
    return stacked.reshape(len(snapshots), len(checked), len(CHECKS))


def _check(
    params: Params,
    i: jax.Array,
    *,
    X: jax.Array,
    y: jax.Array,
    X_val: jax.Array,
    y_val: jax.Array,
) -> tuple[jax.Array, ...]:
    loss, grads = loss_and_grads(params, X, y)
    val_loss = jnp.mean(bce_with_logits(forward(params, X_val), y_val))
    squares = jax.tree.map(lambda g: jnp.sum(g**2), grads)
    norm = jnp.sqrt(sum(jax.tree.leaves(squares)))
    x, y_i = X[i][None], y[i][None]
    logit = forward(params, x)
    own = bce_with_logits(logit, y_i)[0]
    own_norm = norms(loss_factors(params, x, y_i))[0]
    return loss, val_loss, norm, logit[0], own, own_norm
