"""Many networks of the same depth, trained as one compiled program."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from jaxmlp.core import Params, init_params, pad_params
from jaxmlp.core.params import InitMethod
from jaxmlp.training.engine import (
    Data,
    RunState,
    Settings,
    epoch_batches,
    is_active,
    run_epoch,
    run_epochs,
    start_run,
)

OptimizerFactory = Callable[..., optax.GradientTransformation]
"""`learning_rate -> optimiser`, such as `optax.sgd` or `optax.adam`."""

HiddenSizes = tuple[int, ...]
"""Widths of the hidden layers; `()` is logistic regression."""


class Grid(NamedTuple):
    """The configurations of a search; hashable, so that a program can be compiled for it.

    Attributes:
      rates: Step sizes.
      widths: Widths of the hidden layers.
      optimizer: Makes the optimiser from a step size.
      init: How starting parameters are drawn.
      n_epochs: Length of each run.
    """

    rates: tuple[float, ...]
    widths: tuple[HiddenSizes, ...]
    optimizer: OptimizerFactory
    init: InitMethod
    n_epochs: int

    @property
    def configurations(self) -> list[tuple[HiddenSizes, float]]:
        """All pairs, rates within widths."""
        return list(itertools.product(self.widths, self.rates))

    def by_depth(self) -> list["Grid"]:
        """One grid for each number of hidden layers: what can share one program."""
        depths = sorted({len(sizes) for sizes in self.widths})
        return [
            self._replace(widths=tuple(w for w in self.widths if len(w) == depth))
            for depth in depths
        ]


@partial(jax.jit, static_argnames="grid")
def start_grid(key: jax.Array, data: Data, grid: Grid) -> RunState:
    """States of all runs before the first epoch, stacked along a leading axis."""
    n_features, dtype = data.X.shape[1], data.X.dtype
    widest = [max(column) for column in zip(*grid.widths, strict=True)]
    params = [
        pad_params(
            init_params(key, (n_features, *sizes, 1), method=grid.init, dtype=dtype), widest
        )
        for sizes in grid.widths
    ]
    stacked = jax.tree.map(
        lambda *arrays: jnp.repeat(jnp.stack(arrays), len(grid.rates), axis=0), *params
    )

    def start(rate: jax.Array, params: Params) -> RunState:
        optimizer = grid.optimizer(rate)
        return start_run(params, optimizer, grid.n_epochs, has_validation=True)

    return jax.vmap(start)(_rates(grid, dtype), stacked)


@partial(
    jax.jit,
    static_argnames=("grid", "settings", "n_parallel"),
    donate_argnames="state",
)
def run_grid(
    data: Data,
    key: jax.Array,
    grid: Grid,
    settings: Settings,
    n_parallel: int,
    state: RunState,
    start: jax.Array,
    stop: jax.Array,
) -> tuple[RunState, jax.Array]:
    """Trains all runs for epochs `start` to `stop`, or until each has run out of patience.

    Returns:
      The states, and the number of epochs done.
    """
    rates = _rates(grid, data.X.dtype)

    def advance(epoch: jax.Array, state: RunState) -> RunState:
        batches = epoch_batches(key, epoch, data.X.shape[0], settings.batch_size)

        def one(run: tuple[jax.Array, RunState]) -> RunState:
            rate, state = run
            return jax.lax.cond(
                is_active(state, epoch, settings.patience),
                lambda s: run_epoch(
                    epoch, s, batches, data, grid.optimizer(rate), settings
                ),
                lambda s: s,
                state,
            )

        batch_size = n_parallel if n_parallel > 1 else None
        return jax.lax.map(one, (rates, state), batch_size=batch_size)

    def goes_on(epoch: jax.Array, state: RunState) -> jax.Array:
        return jnp.any(jax.vmap(lambda s: is_active(s, epoch, settings.patience))(state))

    return run_epochs(state, start, stop, advance, goes_on)


def _rates(grid: Grid, dtype: DTypeLike) -> jax.Array:
    return jnp.asarray([rate for _, rate in grid.configurations], dtype)
