"""Checks a reader's update step and starting parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmlp.core.lecture.checks.probe import (
    NOT_FINITE,
    call,
    draw_trial,
    judge,
    same,
    take_params,
)
from jaxmlp.core.lecture.updates import sgd_update
from jaxmlp.core.params import InitMethod


def check_sgd_update(my_update: Callable[..., Any]) -> str:
    r"""Checks a step of gradient descent of your own.

    Args:
      my_update: `my_update(params, grads, eta)`; returns new parameters with the structure
        of `params`, $\theta - \eta \nabla$.

    Returns:
      A line that says that it holds.

    Raises:
      AssertionError: It does not; says how.

    Examples:
      >>> from jaxmlp.lecture import check_sgd_update, sgd_update
      >>> check_sgd_update(lambda params, grads, eta: sgd_update(params, grads, -eta))
      Traceback (most recent call last):
      AssertionError: θ - η ∇θ: yours goes uphill: the minus is missing

    Source:
      Lecture, "Stochastic Gradient Descent (SGD)".
    """
    params, grads = draw_trial(3, 4, 2).params, draw_trial(3, 4, 3).params
    returned = take_params(call(my_update, params, grads, 0.25))
    right, *others = (
        take_params(sgd_update(params, grads, eta)) for eta in (0.25, -0.25, 1.0, 0.0)
    )
    mistakes = (
        "yours goes uphill: the minus is missing",
        "the step size η is missing",
        "the parameters have not changed",
    )
    for words, other in zip(mistakes, others, strict=True):
        if all(same(returned[name], other[name]) for name in right):
            raise AssertionError(f"θ - η ∇θ: {words}")
    for name, expected in right.items():
        judge(f"θ - η ∇θ of {name}", returned[name], expected)
    return "θ - η ∇θ holds"


def check_init(
    my_init: Callable[[jax.Array, Sequence[int]], Any], method: InitMethod
) -> str:
    """Checks starting parameters of your own.

    By their distribution, and that the key and nothing else decides: your function is
    called with some twenty keys, one of them twice, for layers of 300, 60 and 1 units.

    Args:
      my_init: `my_init(key, layer_sizes)`; returns a tuple with `(w, b)` of shapes
        `(d_in, d_out)` and `(d_out,)` for each layer.
      method: Which of the lecture's two it is to be, "he" or "xavier".

    Returns:
      A line that says that it holds.

    Raises:
      AssertionError: It does not; says how.
      ValueError: The method is neither.

    Guarantees:
      `init_params` passes with both methods.

    Examples:
      >>> from jaxmlp import init_params
      >>> from jaxmlp.lecture import check_init
      >>> check_init(init_params, "he")
      'He: W ~ N(0, 2 / d_in) holds'

    Source:
      Lecture, "Initialization Methods".
    """
    if method not in _INIT_TITLES:
        raise ValueError(f"method must be 'he' or 'xavier', not {method!r}")
    draws = [_layers(call(my_init, jax.random.key(i), _SIZES)) for i in range(20)]
    again = _layers(call(my_init, jax.random.key(0), _SIZES))
    for i, d_out in enumerate(_SIZES[1:]):
        d_in, name = _SIZES[i], f"{_INIT_TITLES[method]}, layer {i + 1}"
        w = jnp.stack([_shaped(layers[i][0], (d_in, d_out), name) for layers in draws])
        biases = [_shaped(layers[i][1], (d_out,), name) for layers in draws]
        if not bool(jnp.isfinite(w).all()):
            raise AssertionError(f"{name}: {NOT_FINITE}")
        if any(bool(jnp.any(b != 0)) for b in biases):
            raise AssertionError(f"{name}: the biases must start at 0")
        _judge_keys(name, w, again[i][0])
        _judge_spread(name, w, d_in, d_out, method)
    first, second = (
        jnp.stack([layers[i][0].ravel()[:60] for layers in draws]) for i in (0, 1)
    )
    if abs(float(jnp.corrcoef(first.ravel(), second.ravel())[0, 1])) > 0.2:
        raise AssertionError("both layers are drawn with the same key; use a key once")
    return f"{_INIT_TITLES[method]} holds"


_SIZES = (300, 60, 1)
_INIT_TITLES = {
    "he": "He: W ~ N(0, 2 / d_in)",
    "xavier": "Xavier: W ~ U(-√(6 / (d_in + d_out)), √(6 / (d_in + d_out)))",
}


def _judge_keys(name: str, w: jax.Array, again: jax.Array) -> None:
    """The key, and nothing else, decides; units differ."""
    if not bool(jnp.all(w[0] == again)):
        raise AssertionError(f"{name}: the same key must give the same weights")
    if bool(jnp.all(w[0] == w[1])):
        raise AssertionError(f"{name}: two keys give the same weights; use the key")
    if w.shape[2] > 1 and bool(jnp.all(w[:, :, 0] == w[:, :, 1])):
        raise AssertionError(f"{name}: all units have the same weights, and will keep them")


def _judge_spread(
    name: str, w: jax.Array, d_in: int, d_out: int, method: InitMethod
) -> None:
    """Mean 0, variance within 15%, and the greatest weight as the distribution has it."""
    wanted = 2 / d_in if method == "he" else 2 / (d_in + d_out)
    mean, variance = float(jnp.mean(w)), float(jnp.var(w))
    if abs(variance - wanted) > 0.15 * wanted:
        near = [text for text, v in _others(wanted, d_in, d_out) if _is_near(variance, v)]
        hint = f"; {near[0]}" if near else ""
        raise AssertionError(
            f"{name}: the variance is {variance:.3g}, not {wanted:.3g}{hint}"
        )
    if abs(mean) > 5 * (wanted / w.size) ** 0.5 + 0.02 * wanted**0.5:
        raise AssertionError(f"{name}: the mean is {mean:.3g}, not 0")
    # A uniform variable stays within √3 standard deviations, a normal one does not.
    reach = float(jnp.max(jnp.abs(w))) / wanted**0.5
    if method == "he" and reach < 2:
        raise AssertionError(f"{name}: the weights are uniform, not normal")
    if method == "xavier" and reach > 1.8:
        raise AssertionError(f"{name}: the weights are normal, not uniform")


def _others(wanted: float, d_in: int, d_out: int) -> list[tuple[str, float]]:
    """Variances that mistakes give, and what they are."""
    return [
        ("that is 2 / d_out", 2 / d_out),
        ("that is 1 / d_in", 1 / d_in),
        ("that is 2 / (d_in + d_out)", 2 / (d_in + d_out)),
        ("that is 2 / d_in", 2 / d_in),
        ("you took the variance for the standard deviation, which is its root", wanted**2),
        ("the numbers are not scaled", 1.0),
        ("the numbers are not scaled", 1 / 3),
    ]


def _is_near(variance: float, other: float) -> bool:
    return abs(variance - other) <= 0.1 * other


def _layers(returned: Any) -> list[tuple[jax.Array, jax.Array]]:
    try:
        layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in returned]
    except (TypeError, ValueError) as error:
        raise AssertionError(
            f"your function must return a tuple of (w, b), one for each layer ({error})"
        ) from error
    if len(layers) != len(_SIZES) - 1:
        raise AssertionError(
            f"layer_sizes {_SIZES} makes {len(_SIZES) - 1} layers, not {len(layers)}"
        )
    return layers


def _shaped(value: jax.Array, shape: tuple[int, ...], name: str) -> jax.Array:
    if value.shape != shape:
        raise AssertionError(f"{name}: shape {value.shape}, not {shape}")
    return value.astype(jnp.float32)
