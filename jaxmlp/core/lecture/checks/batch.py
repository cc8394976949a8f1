"""Checks a reader's backward pass of a mini-batch, and names the equation that is wrong."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxmlp.core.lecture.checks.mistakes import (
    EQUATIONS,
    MISTAKES,
    OF_PARAMETER,
    Batch,
    Grads,
)
from jaxmlp.core.lecture.checks.probe import Trial, call, draw_trial, same
from jaxmlp.core.params import Params

MyBackward = Callable[[Params, jax.Array, jax.Array], Any]
"""`(params, X (s, p), y (s,)) -> ((W1, b1), (W2, b2))`."""


def check_backward(my_backward: MyBackward) -> str:
    r"""Checks a backward pass of your own: the gradient of a mini-batch's mean loss.

    Your function is called with a few networks and mini-batches, and what it returns is
    held against equations (1) to (7), averaged over the s examples. Where it differs, the
    message names the equation and, if the difference is that of a well-known mistake,
    says which.

    Args:
      my_backward: `my_backward(params, X, y)` with `params` from `init_params`, one hidden
        layer, `X` of shape `(s, p)` and `y` of `(s,)`; returns the mean gradient with the
        structure of `params`, `((W1, b1), (W2, b2))` of shapes `(p, q)`, `(q,)`, `(q, 1)`
        and `(1,)`. It may use JAX or NumPy.

    Returns:
      A line that says that all equations hold.

    Raises:
      AssertionError: The gradients are wrong, or are none; names the equation.

    Guarantees:
      `minibatch_loop`, `minibatch_vmap`, `minibatch_matrix` and `jax.grad` pass.

    Examples:
      >>> from jaxmlp.lecture import check_backward, minibatch_matrix
      >>> def my_backward(params, X, y):
      ...     loss, ((W1, b1), (W2, b2)) = minibatch_matrix(params, X, y)
      ...     return (W1, b1), (-W2, b2)
      >>> check_backward(my_backward)
      Traceback (most recent call last):
      AssertionError: equation (2), ∂L/∂W2 = (ŷ - y) hᵀ: the sign is turned

    Source:
      Lecture, equations (1) to (7) and "SGD with mini-batch size s > 1 - II".
    """
    for p, q, s in ((3, 4, 6), (2, 3, 1)):
        trial = draw_trial(p, q, s)
        try:
            returned = call(my_backward, *trial)
        except AssertionError as error:
            if error.__cause__ is None:  # it returned None
                raise
            raise AssertionError(_missing_transpose(my_backward) or str(error)) from error
        found = list(_differences(_by_name(returned), trial))
        if found:
            raise AssertionError("\n".join(found))
    return "equations (1) to (7), averaged over the mini-batch, hold"


# Sizes (p, q, s) at which a product goes through though a transpose is missing.
_LUCKY_SIZES = (
    ("(4)", (3, 1, 5), "W2ᵀ"),
    ("(2)", (4, 3, 3), "Hᵀ"),
    ("(6)", (3, 4, 3), "Xᵀ"),
)


def _missing_transpose(my_backward: MyBackward) -> str | None:
    """Which transpose is missing where a function raises, if that is why it does."""
    for equation, sizes, transpose in _LUCKY_SIZES:
        try:
            call(my_backward, *draw_trial(*sizes))
        except AssertionError:
            continue
        return (
            f"{_title(equation)}: a transpose is missing: the product wants {transpose}; "
            f"without it, the shapes only fit where p, q, s = {sizes}"
        )
    return None


def _by_name(returned: Any) -> Grads:
    try:
        (W1, b1), (W2, b2) = returned
        arrays = {"W2": W2, "b2": b2, "W1": W1, "b1": b1}
        return {name: jnp.asarray(g, jnp.float32) for name, g in arrays.items()}
    except (TypeError, ValueError) as error:
        raise AssertionError(
            "your function must return ((W1, b1), (W2, b2)), gradients in the structure of "
            f"params, not {type(returned).__name__} ({error})"
        ) from error


def _differences(grads: Grads, trial: Trial) -> Iterator[str]:
    """One line for each thing that is wrong, those nearest to the output first."""
    batch = Batch.of(*trial)
    right = batch.grads()
    wrong = {name for name in right if not same(grads[name], right[name])}
    yield from _of_scale(grads, right, wrong, batch)
    for mistake in MISTAKES:
        made = mistake.grads(batch)
        told = {name for name in made if not same(made[name], right[name])}
        if not told or not told <= wrong:
            continue
        for factor, more in ((1.0, ""), (float(len(trial.y)), f"; and {_NO_MEAN}")):
            if all(same(grads[name], factor * made[name]) for name in told):
                yield f"{_title(mistake.equation)}: {mistake.words}{more}"
                wrong -= told
                break
    yield from _of_shape(grads, right, wrong, batch)
    yield from _of_place(wrong)


_NO_MEAN = "the 1/s of the mean over the mini-batch is missing"


def _of_scale(grads: Grads, right: Grads, wrong: set[str], batch: Batch) -> Iterator[str]:
    s = batch.X.shape[0]
    is_turned = {name: same(grads[name], -right[name]) for name in right}
    factors = (
        (-1.0, "the sign is turned"),
        (float(s), _NO_MEAN),
        (1.0 / s, "the 1/s of the mean over the mini-batch is taken twice"),
        (-float(s), f"the sign is turned, and {_NO_MEAN}"),
    )
    for factor, words in factors:
        scaled = {name for name in wrong if same(grads[name], factor * right[name])}
        if all(is_turned.values()) or not scaled:
            continue  # all four are turned by equation (1)
        yield f"{_titles(scaled)}: {words}"
        wrong -= scaled


def _of_shape(grads: Grads, right: Grads, wrong: set[str], batch: Batch) -> Iterator[str]:
    s = batch.X.shape[0]
    for name in [name for name in right if name in wrong]:
        shape, wanted = grads[name].shape, right[name].shape
        if shape == wanted:
            continue
        words = f"the gradient of {name} has shape {shape}, {name} has {wanted}"
        if shape == wanted[::-1]:
            words += "; a transpose is missing"
        elif s in shape:
            words += f"; it is not summed over the s = {s} examples"
        yield f"{_titles({name})}: {words}"
        wrong.discard(name)


def _of_place(wrong: set[str]) -> Iterator[str]:
    """Where what remains must come from, by which gradients are wrong."""
    if {"W2", "b2"} <= wrong:
        yield f"{_title('(1)')}: another value stands there, and all that follows is wrong"
        return
    if {"W1", "b1"} <= wrong:
        yield f"{_title('(4)')}, or {_title('(5)')}: another value stands there"
        wrong = wrong - {"W1", "b1"}
    for name in sorted(wrong):
        yield f"{_titles({name})}: another value stands there"


def _title(equation: str) -> str:
    return f"equation {equation}, {EQUATIONS[equation]}"


def _titles(names: set[str]) -> str:
    """The equations of the gradients of some parameters."""
    numbers = sorted(OF_PARAMETER[name] for name in names)
    if len(numbers) == 1:
        return _title(numbers[0])
    return f"equations {', '.join(numbers[:-1])} and {numbers[-1]}"
