"""Checks a reader's backward pass of a mini-batch, and names the equation that is wrong."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmlp.core.lecture.checks.mistakes import (
    MISTAKES,
    OF_PARAMETER,
    Batch,
    Grads,
    title,
)
from jaxmlp.core.lecture.checks.probe import (
    NOT_FINITE,
    Trial,
    call,
    draw_trial,
    same,
    take_params,
)
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
    for sizes in (_SIZES, (2, 3, 1)):
        trial = draw_trial(*sizes)
        try:
            returned = call(my_backward, *trial)
        except AssertionError as error:
            if error.__cause__ is None:  # it returned None
                raise
            if sizes != _SIZES:
                raise AssertionError(f"with p, q, s = {sizes}: {error}") from error
            raise AssertionError(_by_other_sizes(my_backward, str(error))) from error
        found = _differences(take_params(returned), trial)
        if found:
            raise AssertionError("\n".join(found))
    return "equations (1) to (7), averaged over the mini-batch, hold"


_SIZES = (3, 4, 6)
_NOT_A_COLUMN = "ŷ is (s, 1) and y is (s,): their difference is s × s; take y[:, None]"


def _by_other_sizes(my_backward: MyBackward, error: str) -> str:
    """What is wrong with a function that raises, by the sizes at which it does not."""
    missing = "a transpose is missing: the product wants"
    fitting = (
        ((3, 1, 5), f"{title('(4)')}: {missing} W2ᵀ; or one is too many in z = H W2 + b2"),
        ((4, 3, 3), f"{title('(2)')}: {missing} Hᵀ"),
        ((3, 4, 3), f"{title('(6)')}: {missing} Xᵀ"),
        (
            (3, 4, 1),
            f"{title('(1)')}: it goes through with one example only; {_NOT_A_COLUMN}",
        ),
    )
    for sizes, words in fitting:
        try:
            call(my_backward, *draw_trial(*sizes))
        except AssertionError:
            continue
        return f"{words} ({error})"
    return error


Told = tuple[list[str], set[str]]
"""Lines, and the gradients that they explain."""


def _differences(grads: Grads, trial: Trial) -> list[str]:
    """One line for each thing that is wrong, those nearest to the output first."""
    batch = Batch.of(*trial)
    right = batch.grads()
    wrong = {name for name in right if not same(grads[name], right[name])}
    lines = []
    for look in (_infinite, _in_other_order, _scaled, _mistaken, _misshapen, _elsewhere):
        found, explained = look(grads, right, wrong, batch)
        lines += found
        wrong = wrong - explained
    return lines


def _infinite(grads: Grads, right: Grads, wrong: set[str], batch: Batch) -> Told:
    told = {name for name in wrong if not bool(jnp.isfinite(grads[name]).all())}
    return [f"{_titles(told)}: {NOT_FINITE}"] if told else [], told


def _in_other_order(grads: Grads, right: Grads, wrong: set[str], batch: Batch) -> Told:
    orders = {
        "the layers are in the wrong order": ("W2", "b2", "W1", "b1"),
        "w and b of each layer are in the wrong order": ("b1", "W1", "b2", "W2"),
    }
    for words, order in orders.items():
        pairs = zip(("W1", "b1", "W2", "b2"), order, strict=True)
        if all(grads[name].shape == right[other].shape for name, other in pairs):
            return [f"{words}: return ((W1, b1), (W2, b2))"], wrong
    return [], set()


_NO_MEAN = "the 1/s of the mean over the mini-batch is missing"


def _scaled(grads: Grads, right: Grads, wrong: set[str], batch: Batch) -> Told:
    """Gradients that are the right ones times a number."""
    s = float(batch.X.shape[0])
    if all(same(grads[name], -right[name]) for name in right):
        return [], set()  # equation (1) turns all four
    factors = (
        (-1.0, "the sign is turned"),
        (s, _NO_MEAN),
        (1 / s, "the 1/s of the mean over the mini-batch is taken twice"),
        (-s, f"the sign is turned, and {_NO_MEAN}"),
    )
    lines: list[str] = []
    told: set[str] = set()
    for factor, words in factors:
        scaled = {n for n in wrong - told if same(grads[n], factor * right[n])}
        if scaled:
            lines.append(f"{_titles(scaled)}: {words}")
            told |= scaled
    factor = _ratio(grads["b2"], right["b2"])
    if not told and all(same(grads[n], factor * right[n]) for n in right):
        return [
            f"all four are {factor:.4g} times what they should be"
        ] if wrong else [], wrong
    return lines, told


def _ratio(a: jax.Array, b: jax.Array) -> float:
    return float(a.ravel()[0] / b.ravel()[0]) if a.size and a.shape == b.shape else 1.0


def _mistaken(grads: Grads, right: Grads, wrong: set[str], batch: Batch) -> Told:
    """Gradients as a well-known mistake makes them, with or without the mean's 1/s."""
    lines: list[str] = []
    told: set[str] = set()
    for mistake in MISTAKES:
        made = mistake.grads(batch)
        names = {name for name in made if not same(made[name], right[name])}
        if not names or not names <= wrong - told:
            continue
        for factor, more in ((1.0, ""), (float(batch.X.shape[0]), f"; and {_NO_MEAN}")):
            if all(same(grads[name], factor * made[name]) for name in names):
                lines.append(f"{title(mistake.equation)}: {mistake.words}{more}")
                told |= names
                break
    return lines, told


def _misshapen(grads: Grads, right: Grads, wrong: set[str], batch: Batch) -> Told:
    s, q = batch.A.shape
    if "W2" in wrong and grads["W2"].shape == (q, s):
        return [f"{title('(1)')}: {_NOT_A_COLUMN}"], wrong
    told = [n for n in right if n in wrong and grads[n].shape != right[n].shape]
    return [_of_shape(name, grads[name].shape, right[name].shape, s) for name in told], {
        *told
    }


def _of_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...], s: int) -> str:
    words = f"the gradient of {name} has shape {shape}, {name} has {wanted}"
    if shape == wanted[::-1]:
        words += "; a transpose is missing"
    elif s in shape:
        words += f"; it is not summed over the s = {s} examples"
    return f"{_titles({name})}: {words}"


def _elsewhere(grads: Grads, right: Grads, wrong: set[str], batch: Batch) -> Told:
    """Where what remains must come from, by which gradients are wrong."""
    other = "another value stands there"
    if {"W2", "b2"} <= wrong:
        line = (
            f"{title('(1)')}, or the forward pass before it: {other}, and all that follows"
        )
        return [f"{line} is wrong"], wrong
    lines = []
    if {"W1", "b1"} <= wrong:
        lines.append(f"{title('(4)')}, or {title('(5)')}: {other}")
        wrong = wrong - {"W1", "b1"}
    return [*lines, *(f"{_titles({name})}: {other}" for name in sorted(wrong))], wrong


def _titles(names: set[str]) -> str:
    """The equations of the gradients of some parameters."""
    numbers = sorted(OF_PARAMETER[name] for name in names)
    if len(numbers) == 1:
        return title(numbers[0])
    return f"equations {', '.join(numbers[:-1])} and {numbers[-1]}"
