"""Checks a reader's forward and backward pass of one example."""

from collections.abc import Callable
from typing import Any

from jaxmlp.core.lecture.backward import dh_da, dL_da, dL_dh, dL_dW1, dL_dW2, dL_dz
from jaxmlp.core.lecture.checks.mistakes import title
from jaxmlp.core.lecture.checks.probe import call, draw_trial, judge, take_arrays
from jaxmlp.core.lecture.forward import Theta, relu, sigmoid

_SIZES = (3, 4, 2)


def check_forward_one(my_forward: Callable[..., Any]) -> str:
    """Checks a forward pass of one example of your own.

    Each line of "Recap - I" is judged by what your function returned for the line before
    it, so that the first mistake is named, and no other.

    Args:
      my_forward: `my_forward(W1, b1, W2, b2, x)`, all as the lecture's columns: q×p, q×1,
        1×q, 1×1 and p×1; returns `(a, h, z, y_hat)`, q×1, q×1, 1×1 and 1×1.

    Returns:
      A line that says that all four hold.

    Raises:
      AssertionError: A line is wrong; names it.

    Examples:
      >>> from jaxmlp.lecture import check_forward_one, relu, sigmoid
      >>> def my_forward(W1, b1, W2, b2, x):
      ...     a = W1 @ x + b1
      ...     z = -(W2 @ relu(a) + b2)
      ...     return a, relu(a), z, sigmoid(z)
      >>> check_forward_one(my_forward)
      Traceback (most recent call last):
      AssertionError: z = W2 h + b2: the sign is turned

    Source:
      Lecture, "Recap - I".
    """
    trial = draw_trial(*_SIZES)
    theta = Theta.from_params(trial.params)
    for x in (trial.X[0][:, None], trial.X[1][:, None]):
        returned = call(my_forward, *theta, x)
        a, h, z, y_hat = take_arrays(returned, ("a", "h", "z", "y_hat"))
        judge("a = W1 x + b1", a, theta.W1 @ x + theta.b1)
        judge("h = ReLU(a)", h, relu(a))
        judge("z = W2 h + b2", z, theta.W2 @ h + theta.b2)
        judge("ŷ = σ(z)", y_hat, sigmoid(z))
    return "the forward pass holds"


def check_backward_one(my_backward: Callable[..., Any]) -> str:
    """Checks a backward pass of one example of your own.

    Each equation is judged by what your function returned for those before it, so that
    the first mistake is named, and none that only follows from it.

    Args:
      my_backward: `my_backward(W1, b1, W2, b2, x, y)`, all as the lecture's columns: q×p,
        q×1, 1×q, 1×1, p×1 and a number; returns equations (1) to (7) in this order, as a
        tuple or a mapping: `dL_dz` 1×1, `dL_dW2` 1×q, `dL_db2` 1×1, `dL_dh` q×1, `dL_da`
        q×1, `dL_dW1` q×p, `dL_db1` q×1.

    Returns:
      A line that says that all seven hold.

    Raises:
      AssertionError: An equation is wrong; names it.

    Guarantees:
      `backward_one(...)._asdict()` passes.

    Examples:
      >>> from jaxmlp.lecture import Theta, backward_one, check_backward_one
      >>> def my_backward(W1, b1, W2, b2, x, y):
      ...     one = backward_one(Theta(W1, b1, W2, b2).to_params(), x, y)
      ...     return {**one._asdict(), "dL_db1": -one.dL_da}
      >>> check_backward_one(my_backward)
      Traceback (most recent call last):
      AssertionError: equation (7), ∂L/∂b1 = ∂L/∂a: the sign is turned

    Source:
      Lecture, equations (1) to (7).
    """
    trial = draw_trial(*_SIZES)
    theta = Theta.from_params(trial.params)
    names = ("dL_dz", "dL_dW2", "dL_db2", "dL_dh", "dL_da", "dL_dW1", "dL_db1")
    for x, y in zip(trial.X[:, :, None], trial.y, strict=True):
        a = theta.W1 @ x + theta.b1
        h = relu(a)
        y_hat = sigmoid(theta.W2 @ h + theta.b2)
        returned = call(my_backward, *theta, x, float(y))
        z_, W2_, b2_, h_, a_, W1_, b1_ = take_arrays(returned, names)
        judge(title("(1)"), z_, dL_dz(y_hat, y))
        judge(title("(2)"), W2_, dL_dW2(z_, h))
        judge(title("(3)"), b2_, z_)
        judge(title("(4)"), h_, dL_dh(z_, theta.W2))
        judge(title("(5)"), a_, dL_da(h_, dh_da(a)))
        judge(title("(6)"), W1_, dL_dW1(a_, x))
        judge(title("(7)"), b1_, a_)
    return "equations (1) to (7) hold"
