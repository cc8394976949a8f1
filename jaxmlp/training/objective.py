"""What a step descends on: the mini-batch's loss, and an L2 penalty if wanted."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmlp.core import Layer, Params

GradientFn = Callable[
    [Params, jax.Array, jax.Array, jax.Array | None], tuple[jax.Array, Params]
]
"""`(params, X, y, sample_weight) -> (loss, grads)`, as `jaxmlp.loss_and_grads`."""


class Objective(NamedTuple):
    r"""The function :math:`\mathcal{L} + \frac{\lambda}{2} \lVert w \rVert^2`.

    Attributes:
      evaluate: `(params, X, y, sample_weight) -> (loss, value, grads)`: the loss without
        the penalty, the value with it, and the gradient of the value.
      value: `(params, X, y, sample_weight) -> value`, differentiable by JAX, which gets
        the same hand-written gradient.
    """

    evaluate: Callable[
        [Params, jax.Array, jax.Array, jax.Array | None],
        tuple[jax.Array, jax.Array, Params],
    ]
    value: Callable[[Params, jax.Array, jax.Array, jax.Array | None], jax.Array]


def penalized(
    gradient_fn: GradientFn, l2: jax.Array | None, penalize_bias: bool
) -> Objective:
    """Adds an L2 penalty to a loss and its gradient.

    Args:
      gradient_fn: Loss and gradient.
      l2: Strength λ of the penalty, `()`, or None for none.
      penalize_bias: Whether the biases are penalised too.
    """

    def evaluate(
        params: Params, X: jax.Array, y: jax.Array, weight: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, Params]:
        loss, grads = gradient_fn(params, X, y, weight)
        if l2 is None:
            return loss, loss, grads
        slopes = tuple(
            Layer(l2 * layer.w, l2 * layer.b if penalize_bias else jnp.zeros_like(layer.b))
            for layer in params
        )
        squares = jax.tree.map(jnp.vdot, slopes, params)
        value = loss + sum(jax.tree.leaves(squares), start=jnp.zeros_like(loss)) / 2
        return loss, value, jax.tree.map(jnp.add, grads, slopes)

    def value(
        params: Params, X: jax.Array, y: jax.Array, weight: jax.Array | None
    ) -> jax.Array:
        @jax.custom_jvp
        def of(params: Params) -> jax.Array:
            return evaluate(params, X, y, weight)[1]

        @of.defjvp
        def _(
            primals: tuple[Params], tangents: tuple[Params]
        ) -> tuple[jax.Array, jax.Array]:
            _, value, grads = evaluate(*primals, X, y, weight)
            products = jax.tree.map(jnp.vdot, grads, tangents[0])
            return value, sum(jax.tree.leaves(products), start=jnp.zeros_like(value))

        return of(params)

    return Objective(evaluate, value)
