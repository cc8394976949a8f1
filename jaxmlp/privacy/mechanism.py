"""The private step: clipped gradients, divided by the expected size, and their noise."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmlp.core import Params
from jaxmlp.core.factors import loss_factors_augmented
from jaxmlp.core.losses import mean_weights
from jaxmlp.gradients import clipped_sum


@dataclass(frozen=True)
class ClippedMean:
    """Sum of clipped gradients by the expected batch size, as a `GradientFn`.

    Attributes:
      max_norm: Norm to which each example's gradient is clipped.
      expected_size: What the sum is divided by.
    """

    max_norm: float
    expected_size: float

    def __call__(
        self, params: Params, X: jax.Array, y: jax.Array, weight: jax.Array | None
    ) -> tuple[jax.Array, Params, jax.Array]:
        """Takes features that end in ones, and weights 1 or, where there is no row, 0."""
        losses, factors = loss_factors_augmented(params, X, y)
        if weight is not None:
            factors = factors._replace(scale=factors.scale * weight)
        clipped = clipped_sum(factors, self.max_norm)
        grads = jax.tree.map(lambda total: total / self.expected_size, clipped.sum)
        shares = mean_weights(losses, weight, losses.dtype)
        loss = jnp.sum(jnp.where(shares > 0, losses * shares, 0))
        return loss, grads, clipped.norms


class PrivateState(NamedTuple):
    """State of a private optimiser.

    Attributes:
      key: Key of the noise of the steps to come.
      inner: State of the optimiser that sees the noisy gradients.
    """

    key: jax.Array
    inner: optax.OptState


@functools.lru_cache(maxsize=32)
def add_noise_before(
    optimizer: optax.GradientTransformation, stddev: float, key_impl: str
) -> optax.GradientTransformation:
    """Adds noise before an optimiser; kept, because a new object is compiled anew."""

    def init(params: Params) -> PrivateState:
        return PrivateState(jax.random.key(0, impl=key_impl), optimizer.init(params))

    # The other arguments that training passes, such as the loss, are not private.
    def update(
        grads: Params, state: PrivateState, params: Params, **_: Any
    ) -> tuple[Params, PrivateState]:
        leaves, structure = jax.tree.flatten(grads)
        key, *keys = jax.random.split(state.key, 1 + len(leaves))
        if stddev:
            # One draw for each array: cut from one for all, it would be written and read
            # once more, which takes twice as long in a large network.
            leaves = [
                leaf + stddev * jax.random.normal(k, leaf.shape, leaf.dtype)
                for leaf, k in zip(leaves, keys, strict=True)
            ]
            grads = jax.tree.unflatten(structure, leaves)
        updates, inner = optimizer.update(grads, state.inner, params)
        return updates, PrivateState(key, inner)

    return optax.GradientTransformationExtraArgs(init, update)
