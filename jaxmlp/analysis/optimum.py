"""The minimum of the penalised loss, where influence and Laplace are at home."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxmlp.analysis.validate import check_finite, check_l2, check_training
from jaxmlp.core.factors import augment_features, loss_factors_augmented, weighted_sum
from jaxmlp.core.losses import mean_weights
from jaxmlp.core.params import Params
from jaxmlp.core.validate import check_count
from jaxmlp.training.objective import Objective, penalized


class Optimum(NamedTuple):
    r"""A network at, or near, a minimum.

    Attributes:
      params: Its parameters.
      value: Penalised mean loss, in nats.
      gradient_norm: Norm of the gradient that is left. With hidden layers it stays above
        0 at a minimum: pre-activations of some rows sit at exactly 0 there, where the
        gradient jumps.
      last_decrease: By how much the last tenth of Adam's steps lowered the value (without
        hidden layers, the last step): near 0 at a minimum.
    """

    params: Params
    value: jax.Array
    gradient_norm: jax.Array
    last_decrease: jax.Array


def optimum(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    l2: float,
    sample_weight: ArrayLike | None = None,
    n_steps: int = 10_000,
) -> Optimum:
    r"""Brings a network to a minimum of its penalised loss.

    $$
    \sum_i c_i \ell_i + \frac{\lambda}{2} \lVert \theta \rVert^2, \qquad
    c_i = \tfrac1n \;\text{ or }\; \tfrac{w_i}{\sum_j w_j}
    $$

    Weights and biases are penalised, as `influence` and `laplace` assume. All rows at
    each step: first L-BFGS, at most a tenth of the steps, which ends where line searches
    fail at ReLU's kinks; then, with hidden layers, Adam with a step size that falls
    to 0 by a cosine, which settles on them.

    Args:
      params: Parameters to start from; float64 is recommended.
      X: Features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      l2: Strength λ of the penalty.
      sample_weight: Non-negative weights, `(n,)`, or None.
      n_steps: Steps at most, all in all.

    Returns:
      An `Optimum`, never of a higher value than at the start.

    Raises:
      ValueError: An argument is not what it should be.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (2, 1))
      >>> X, y = jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([0, 1, 1])
      >>> bool(optimum(params, X, y, l2=0.1, n_steps=50).gradient_norm < 1e-4)
      True

    Source:
      Lewis and Overton (2013), "Nonsmooth optimization via quasi-Newton methods", for
      what happens at kinks.
    """
    check_training(params, X, y, sample_weight, ("X", "y"))
    check_l2(params, l2, may_be_zero=True)
    n_steps = check_count("n_steps", n_steps)
    found = _optimum(params, X, y, l2, sample_weight, n_steps)
    check_finite(found.gradient_norm)
    return found


@partial(jax.jit, static_argnames="n_steps")
def _optimum(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    l2: ArrayLike,
    sample_weight: ArrayLike | None,
    n_steps: int,
) -> Optimum:
    X = augment_features(params, X)
    y = jnp.asarray(y, X.dtype)
    share = mean_weights(y, sample_weight, X.dtype)
    return descend(params, X, y, share, jnp.asarray(l2, X.dtype), n_steps)


def descend(
    params: Params,
    X: jax.Array,
    y: jax.Array,
    share: jax.Array,
    l2: jax.Array,
    n_steps: int,
) -> Optimum:
    """As `optimum`, of rows that end in ones and their shares in the loss; traced."""
    objective = penalized(_weighted_loss, l2, penalize_bias=True)
    data = (X, y, share)
    is_smooth = len(params) == 1
    n_first = n_steps if is_smooth else n_steps // 10
    with jax.numpy_dtype_promotion("standard"):  # optax mixes types
        found, before = _lbfgs(params, objective, data, n_first)
        if not is_smooth:
            found, before = _anneal(found, objective, data, n_steps - n_first)
    at_start = objective.evaluate(params, *data).value
    value = objective.evaluate(found, *data).value
    is_better = value <= at_start
    best = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), found, params)
    end = objective.evaluate(best, *data)
    norm = optax.tree.norm(end.grads)
    return Optimum(best, end.value, norm, jnp.maximum(before - end.value, 0))


def _weighted_loss(
    params: Params, X: jax.Array, y: jax.Array, share: jax.Array | None
) -> tuple[jax.Array, Params]:
    """A sum over the rows by their shares, whatever these sum to."""
    assert share is not None
    losses, factors = loss_factors_augmented(params, X, y)
    return jnp.sum(share * losses), weighted_sum(factors, share)


_Data = tuple[jax.Array, jax.Array, jax.Array]


def _lbfgs(
    params: Params, objective: Objective, data: _Data, n_steps: int
) -> tuple[Params, jax.Array]:
    """Steps until gradient or progress vanish; and the value before the last step."""
    optimizer = optax.lbfgs(memory_size=20)

    def value_of(params: Params) -> jax.Array:
        return objective.value(params, *data)

    def goes_on(carry: Any) -> jax.Array:
        k, _, _, found, before = carry
        tiny = float(np.finfo(found.value.dtype).eps)
        has_moved = (before - found.value) > tiny * jnp.abs(found.value)
        return (k < n_steps) & ((k == 0) | has_moved) & (optax.tree.norm(found.grads) > 0)

    def step(carry: Any) -> Any:
        k, params, state, found, _ = carry
        updates, state = optimizer.update(
            found.grads,
            state,
            params,
            value=found.value,
            grad=found.grads,
            value_fn=value_of,
        )
        params = optax.apply_updates(params, updates)
        return k + 1, params, state, objective.evaluate(params, *data), found.value

    first = objective.evaluate(params, *data)
    carry = (jnp.asarray(0), params, optimizer.init(params), first, first.value)
    _, params, _, _, before = jax.lax.while_loop(goes_on, step, carry)
    return params, before


def _anneal(
    params: Params, objective: Objective, data: _Data, n_steps: int
) -> tuple[Params, jax.Array]:
    """Adam with a step size that falls to 0; and the value before the last tenth."""
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, n_steps))

    def step(_: int, carry: Any) -> Any:
        params, state = carry
        updates, state = optimizer.update(
            objective.evaluate(params, *data).grads, state, params
        )
        return optax.apply_updates(params, updates), state

    n_first = n_steps - n_steps // 10
    carry = jax.lax.fori_loop(0, n_first, step, (params, optimizer.init(params)))
    before = objective.evaluate(carry[0], *data).value
    params, _ = jax.lax.fori_loop(n_first, n_steps, step, carry)
    return params, before
