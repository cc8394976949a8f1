"""Networks of one depth, trained as one compiled program."""

import itertools
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jaxmlp.core import Layer, Params
from jaxmlp.core.params import InitMethod, draw_weights, n_weights, shape_draws
from jaxmlp.training.engine import run_many, run_one
from jaxmlp.training.state import Data, Hyper, RunState, Settings, make_optimizer, start_run

HiddenSizes = tuple[int, ...]
"""Widths of the hidden layers; `()` is logistic regression."""


class Choice(NamedTuple):
    """What distinguishes one network of a search.

    Attributes:
      hidden_sizes: Widths of the hidden layers.
      learning_rate: Step size η.
      l2: Strength of the L2 penalty.
      seed: Number of its starting weights, from 0.
    """

    hidden_sizes: HiddenSizes
    learning_rate: float
    l2: float
    seed: int


class Draws(NamedTuple):
    """Starting weights of all networks, before they are cut into layers and scaled.

    Attributes:
      values: One row a seed, `(n_seeds, n)` for the largest network's n.
      n_features: Input width p.
      method: How they were drawn.
    """

    values: NDArray[np.floating]
    n_features: int
    method: InitMethod

    def params(self, choice: Choice) -> Params:
        """Starting parameters of one network, in NumPy arrays for `stack_params`."""
        sizes = (self.n_features, *choice.hidden_sizes, 1)
        weights = shape_draws(self.values[choice.seed], sizes, method=self.method)
        layers = [
            Layer(cast(Any, w), cast(Any, np.zeros(w.shape[1], w.dtype))) for w in weights
        ]
        return tuple(layers)


def draw_starts(
    key: jax.Array, choices: list[Choice], n_features: int, method: InitMethod, dtype: str
) -> tuple[Draws, NDArray[np.uint32]]:
    """Draws the starting weights of all networks, those of a seed from one key.

    Returns:
      The draws, and the data of the key for the orders.
    """
    most = max(n_weights((n_features, *c.hidden_sizes, 1)) for c in choices)
    n_seeds = 1 + max(choice.seed for choice in choices)
    values, shuffle_data = jax.device_get(draw_values(key, n_seeds, most, method, dtype))
    return Draws(values, n_features, method), shuffle_data


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def draw_values(
    key: jax.Array, n_seeds: int, n_draws: int, method: InitMethod, dtype: str
) -> tuple[jax.Array, jax.Array]:
    """Draws `Draws.values`, and the data of a key for the orders."""
    init_key, shuffle_key = jax.random.split(key)

    def one(seed: jax.Array) -> jax.Array:
        seed_key = jax.random.fold_in(init_key, seed)
        return draw_weights(seed_key, n_draws, method=method, dtype=dtype)

    return jax.vmap(one)(jnp.arange(n_seeds)), jax.random.key_data(shuffle_key)


@partial(jax.jit, static_argnames="settings")
def start_chunk(params: Params, hyper: Hyper, settings: Settings) -> RunState:
    """States of a chunk's runs before the first epoch, with a leading axis."""

    def start(params: Params, hyper: Hyper) -> RunState:
        opt_state = make_optimizer(settings, hyper).init(params)
        return start_run(params, opt_state, settings, has_validation=True)

    return jax.vmap(start)(params, hyper)


@partial(jax.jit, static_argnames="settings", donate_argnames="state")
def run_chunk(
    state: RunState,
    hyper: Hyper,
    orders: jax.Array,
    data: Data,
    bounds: tuple[ArrayLike, ArrayLike],
    settings: Settings,
) -> tuple[RunState, jax.Array]:
    """Trains a chunk; arguments and results as of `run_many`."""
    if state.history["train_loss"].shape[0] > 1:
        return run_many(state, hyper, orders, data, bounds, settings)
    # XLA has faster code for a matrix than for a stack of one.
    alone, hyper = jax.tree.map(lambda array: array[0], (state, hyper))
    alone, n_done = run_one(alone, hyper, orders, data, bounds, settings)
    return jax.tree.map(lambda array: array[None], alone), n_done


class Footprint(NamedTuple):
    """Bytes on the device while networks train, at most, beside the data they share.

    Attributes:
      network: Parameters, gradient, update, best epoch and optimiser state, each twice,
        because XLA may keep the old and the new; curves; activations and their gradients
        of one mini-batch, or activations of the validation part.
      batch: A mini-batch, gathered from the features.
      gathers: Whether a network alone needs one: not if it takes all features as they are.
    """

    network: int
    batch: int
    gathers: bool

    def of_chunk(self, n_networks: int, *, on_mesh: bool = False) -> int:
        """Bytes of networks side by side.

        Beside the gathered mini-batch, each is given one of its own, as XLA does where an
        optimiser searches along a line. (On a mesh, one network is a chunk of one, in the
        same program as more.)
        """
        is_chunk = n_networks > 1 or on_mesh
        n_batches = self.gathers + (n_networks if is_chunk else 0)
        return n_networks * self.network + n_batches * self.batch


def footprint(layer_sizes: tuple[int, ...], data: Data, settings: Settings) -> Footprint:
    """Estimates what networks of these widths need, from above."""
    dtype = data.y.dtype

    def start(rate: jax.Array) -> tuple[Params, optax.OptState]:
        params = tuple(
            Layer(jnp.zeros((d_in, d_out), dtype), jnp.zeros((d_out,), dtype))
            for d_in, d_out in itertools.pairwise(layer_sizes)
        )
        return params, make_optimizer(settings, Hyper(rate, None)).init(params)

    params, opt_state = jax.eval_shape(start, jax.ShapeDtypeStruct((), dtype))
    n_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    state_bytes = sum(
        leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(opt_state)
    )
    n_rows = settings.plan.batch_size
    n_val = 0 if data.X_val is None else data.X_val.shape[0]
    n_activations = max(4 * n_rows, 3 * n_val) * (1 + sum(layer_sizes[1:]))
    curves = (2 + len(settings.metrics)) * settings.plan.n_epochs
    is_low = data.X.dtype != dtype
    # A CPU multiplies bfloat16 in float32, and XLA may keep several copies of that.
    feature_bytes = data.X.dtype.itemsize + (3 * dtype.itemsize if is_low else 0)
    return Footprint(
        network=2 * state_bytes
        + dtype.itemsize * (8 * n_params + n_activations + 2 * curves),
        batch=n_rows * (data.X.shape[1] * feature_bytes + 4 * dtype.itemsize),
        gathers=is_low or not settings.plan.is_full_batch,
    )
