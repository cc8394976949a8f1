"""Checks a reader's update step and starting parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmlp.core.lecture.checks.probe import call, draw_trial, judge, same
from jaxmlp.core.lecture.updates import sgd_update
from jaxmlp.core.params import InitMethod, Params


def check_sgd_update(my_update: Callable[..., Any]) -> str:
    r"""Checks a step of gradient descent of your own.

    Args:
      my_update: `my_update(params, grads, eta)`; returns new parameters with the structure
        of `params`, $\theta - \eta \nabla$.

    Returns:
      A line that says that it holds.

    Raises:
      AssertionError: It does not; says how.

    Source:
      Lecture, "Stochastic Gradient Descent (SGD)".
    """
    params, grads = draw_trial(3, 4, 2).params, draw_trial(3, 4, 3).params
    returned = call(my_update, params, grads, 0.25)
    title = "θ - η ∇θ"
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(returned)]
    if shapes != [leaf.shape for leaf in jax.tree.leaves(params)]:
        raise AssertionError(f"{title}: the result must have the structure of params")
    steps = {
        "yours goes uphill: the minus is missing": -0.25,
        "the step size η is missing": 1.0,
        "the parameters have not changed": 0.0,
    }
    for words, eta in steps.items():
        if _all_same(returned, sgd_update(params, grads, eta)):
            raise AssertionError(f"{title}: {words}")
    for mine, right in zip(
        jax.tree.leaves(returned),
        jax.tree.leaves(sgd_update(params, grads, 0.25)),
        strict=True,
    ):
        judge(title, jnp.asarray(mine, jnp.float32), right)
    return "θ - η ∇θ holds"


def check_init(
    my_init: Callable[[jax.Array, Sequence[int]], Any], method: InitMethod
) -> str:
    """Checks starting parameters of your own by their distribution.

    Args:
      my_init: `my_init(key, layer_sizes)`; returns a tuple with `(w, b)` of shapes
        `(d_in, d_out)` and `(d_out,)` for each layer.
      method: Which of the lecture's two it is to be, "he" or "xavier".

    Returns:
      A line that says that it holds.

    Raises:
      AssertionError: It does not; says how.

    Source:
      Lecture, "Initialization Methods".
    """
    sizes = (300, 60, 1)
    draws = [_layers(call(my_init, jax.random.key(i), sizes)) for i in range(20)]
    for i, (d_in, d_out) in enumerate(((300, 60), (60, 1))):
        title = f"{_INIT_TITLES[method]}, layer {i + 1}"
        w = jnp.stack([_shaped(layers[i][0], (d_in, d_out), title) for layers in draws])
        biases = [_shaped(layers[i][1], (d_out,), title) for layers in draws]
        if any(bool(jnp.any(b != 0)) for b in biases):
            raise AssertionError(f"{title}: the biases must start at 0")
        if bool(jnp.all(w[0] == w[1])):
            raise AssertionError(f"{title}: two keys give the same weights; use the key")
        _judge_spread(title, w, d_in, d_out, method)
    return f"{_INIT_TITLES[method]} holds"


_INIT_TITLES = {
    "he": "He: W ~ N(0, 2 / d_in)",
    "xavier": "Xavier: W ~ U(-√(6 / (d_in + d_out)), √(6 / (d_in + d_out)))",
}


def _judge_spread(
    title: str, w: jax.Array, d_in: int, d_out: int, method: InitMethod
) -> None:
    """Variance within 15%, and the greatest weight as the distribution has it."""
    wanted = 2 / d_in if method == "he" else 2 / (d_in + d_out)
    variance = float(jnp.var(w))
    others = {
        "2 / d_out": 2 / d_out,
        "1 / d_in": 1 / d_in,
        "(2 / d_in)²: that is the variance, not the standard deviation": wanted**2,
        "2 / (d_in + d_out)": 2 / (d_in + d_out),
        "1": 1.0,
        "0": 0.0,
    }
    if abs(variance - wanted) > 0.15 * wanted:
        near = [text for text, v in others.items() if abs(variance - v) <= 0.1 * v]
        hint = f", as if it were {near[0]}" if near else ""
        raise AssertionError(
            f"{title}: the variance is {variance:.3g}, not {wanted:.3g}{hint}"
        )
    # A uniform variable stays within √3 standard deviations, a normal one does not.
    reach = float(jnp.max(jnp.abs(w))) / wanted**0.5
    if method == "he" and reach < 2:
        raise AssertionError(f"{title}: the weights are uniform, not normal")
    if method == "xavier" and reach > 1.8:
        raise AssertionError(f"{title}: the weights are normal, not uniform")


def _layers(returned: Any) -> list[tuple[jax.Array, jax.Array]]:
    try:
        return [(jnp.asarray(w), jnp.asarray(b)) for w, b in returned]
    except (TypeError, ValueError) as error:
        raise AssertionError(
            f"your function must return a tuple of (w, b), one for each layer ({error})"
        ) from error


def _shaped(value: jax.Array, shape: tuple[int, ...], title: str) -> jax.Array:
    if value.shape != shape:
        raise AssertionError(f"{title}: shape {value.shape}, not {shape}")
    return value.astype(jnp.float32)


def _all_same(a: Any, b: Params) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(same(jnp.asarray(one, jnp.float32), other) for one, other in pairs)
