"""What a step descends on: the mini-batch's loss, and an L2 penalty if wanted."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmlp.core import Layer, Params

GradientFn = Callable[
    [Params, jax.Array, jax.Array, jax.Array | None],
    tuple[jax.Array, Params] | tuple[jax.Array, Params, jax.Array],
]
"""`(params, X, y, sample_weight) -> (loss, grads)`, as `jaxmlp.loss_and_grads`, or
`(loss, grads, norms)` with each example's gradient norm, `(n,)`."""


class Evaluation(NamedTuple):
    """The objective and its gradient on one mini-batch.

    Attributes:
      loss: Without the penalty.
      value: With it.
      grads: Gradient of the value.
      loss_grads: Gradient of the loss.
      norms: Norm of each example's gradient, if the gradient function tells.
    """

    loss: jax.Array
    value: jax.Array
    grads: Params
    loss_grads: Params
    norms: jax.Array | None


class Objective(NamedTuple):
    r"""The function $\mathcal{L} + \frac{\lambda}{2} \lVert w \rVert^2$.

    Attributes:
      evaluate: `(params, X, y, sample_weight) -> Evaluation`.
      value: `(params, X, y, sample_weight) -> value`, differentiable by JAX, which gets
        the same hand-written gradient.
    """

    evaluate: Callable[[Params, jax.Array, jax.Array, jax.Array | None], Evaluation]
    value: Callable[[Params, jax.Array, jax.Array, jax.Array | None], jax.Array]


def penalized(
    gradient_fn: GradientFn,
    l2: jax.Array | None,
    penalize_bias: bool,
    penalize_once: bool = False,
) -> Objective:
    r"""Adds an L2 penalty to a loss and its gradient.

    Args:
      gradient_fn: Loss and gradient.
      l2: Strength λ of the penalty, `()`, or None for none.
      penalize_bias: Whether the biases are penalised too.
      penalize_once: Whether the penalty counts once a mini-batch and not once an example:
        it is then divided by the sum of the mini-batch's weights (its size without any;
        without any above zero there is no penalty), as scikit-learn's `alpha` is.
    """

    def evaluate(
        params: Params, X: jax.Array, y: jax.Array, weight: jax.Array | None
    ) -> Evaluation:
        loss, grads, *rest = gradient_fn(params, X, y, weight)
        norms = rest[0] if rest else None
        if l2 is None:
            return Evaluation(loss, loss, grads, grads, norms)
        strength = _share(l2, y, weight) if penalize_once else l2
        slopes = tuple(
            Layer(
                strength * layer.w,
                strength * layer.b if penalize_bias else jnp.zeros_like(layer.b),
            )
            for layer in params
        )
        squares = jax.tree.map(jnp.vdot, slopes, params)
        value = loss + sum(jax.tree.leaves(squares), start=jnp.zeros_like(loss)) / 2
        total = jax.tree.map(jnp.add, grads, slopes)
        return Evaluation(loss, value, total, grads, norms)

    def value(
        params: Params, X: jax.Array, y: jax.Array, weight: jax.Array | None
    ) -> jax.Array:
        @jax.custom_jvp
        def of(params: Params) -> jax.Array:
            return evaluate(params, X, y, weight).value

        @of.defjvp
        def _(
            primals: tuple[Params], tangents: tuple[Params]
        ) -> tuple[jax.Array, jax.Array]:
            found = evaluate(*primals, X, y, weight)
            products = jax.tree.map(jnp.vdot, found.grads, tangents[0])
            slope = sum(jax.tree.leaves(products), start=jnp.zeros_like(found.value))
            return found.value, slope

        return of(params)

    return Objective(evaluate, value)


def _share(l2: jax.Array, y: jax.Array, weight: jax.Array | None) -> jax.Array:
    """The penalty of a mini-batch as that of an example."""
    if weight is None:
        return l2 / y.shape[0]
    total = jnp.sum(weight)
    return jnp.where(total > 0, l2 / jnp.where(total > 0, total, 1), 0)
