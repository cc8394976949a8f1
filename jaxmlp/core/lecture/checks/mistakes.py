"""Gradients of a mini-batch as well-known mistakes make them, one part after the other."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmlp.core.lecture.forward import relu, sigmoid
from jaxmlp.core.params import Params

Grads = dict[str, jax.Array]
"""Gradients by the lecture's name of the parameter: W1, b1, W2, b2, in row convention."""

EQUATIONS = {
    "(1)": "dL/dz = ŷ - y",
    "(2)": "∂L/∂W2 = (ŷ - y) hᵀ",
    "(3)": "dL/db2 = ŷ - y",
    "(4)": "∂L/∂h = W2ᵀ (ŷ - y)",
    "(5)": "∂L/∂a = ∂L/∂h ⊙ 1_{a>0}",
    "(6)": "∂L/∂W1 = ∂L/∂a xᵀ",
    "(7)": "∂L/∂b1 = ∂L/∂a",
}
"""The lecture's numbered equations."""


def title(number: str) -> str:
    """How a message names an equation."""
    return f"equation {number}, {EQUATIONS[number]}"


OF_PARAMETER = {"W2": "(2)", "b2": "(3)", "W1": "(6)", "b1": "(7)"}
"""The equation of each parameter's gradient."""


class Batch(NamedTuple):
    """A mini-batch, and what a backward pass is made of.

    Attributes:
      X: Features, `(s, p)`.
      W1: Weights of the hidden layer, `(p, q)`.
      A: Pre-activations, `(s, q)`.
      H: Activations, `(s, q)`.
      Z: Logits, `(s, 1)`.
      Y_hat: Probabilities, `(s, 1)`.
      delta2: ŷ - y, `(s, 1)`.
      grad_H: Gradient with respect to h, `(s, q)`.
      mask: Derivative of ReLU, `(s, q)`.
    """

    X: jax.Array
    W1: jax.Array
    A: jax.Array
    H: jax.Array
    Z: jax.Array
    Y_hat: jax.Array
    delta2: jax.Array
    grad_H: jax.Array
    mask: jax.Array

    @classmethod
    def of(cls, params: Params, X: jax.Array, y: jax.Array) -> "Batch":
        """The forward pass of a mini-batch, and equations (1), (4) and (5)."""
        (W1, b1), (W2, b2) = params
        A = X @ W1 + b1[None, :]
        H = relu(A)
        Z = H @ W2 + b2[None, :]
        Y_hat = sigmoid(Z)
        delta2 = Y_hat - y[:, None]
        mask = (A > 0).astype(A.dtype)
        return cls(X, W1, A, H, Z, Y_hat, delta2, delta2 @ W2.T, mask)

    def with_delta2(self, delta2: jax.Array) -> "Batch":
        """The same with another equation (1), on which (4) stands."""
        # W2 is not kept: (4) is linear in delta2.
        grad_H = self.grad_H * (delta2 / self.delta2)
        return self._replace(delta2=delta2, grad_H=grad_H)

    def grads(self) -> Grads:
        """Equations (2), (3), (6) and (7), averaged over the mini-batch."""
        s = self.X.shape[0]
        delta1 = self.grad_H * self.mask
        return {
            "W2": self.H.T @ self.delta2 / s,
            "b2": jnp.sum(self.delta2, axis=0) / s,
            "W1": self.X.T @ delta1 / s,
            "b1": jnp.sum(delta1, axis=0) / s,
        }


class Mistake(NamedTuple):
    """A mistake and how its gradients are told.

    Attributes:
      equation: Where it is.
      words: What is wrong.
      grads: The gradients that it makes wrong, from a right batch.
    """

    equation: str
    words: str
    grads: Callable[[Batch], Grads]


def _all(change: Callable[[Batch], Batch]) -> Callable[[Batch], Grads]:
    return lambda batch: change(batch).grads()


def _only(names: str, change: Callable[[Batch], Batch]) -> Callable[[Batch], Grads]:
    return lambda batch: {name: change(batch).grads()[name] for name in names.split()}


def _masked(mask: Callable[[Batch], jax.Array]) -> Callable[[Batch], Grads]:
    def change(batch: Batch) -> Batch:
        wrong = jnp.broadcast_to(mask(batch), batch.mask.shape)
        return batch._replace(mask=wrong.astype(batch.mask.dtype))

    return _only("W1 b1", change)


def _slope(batch: Batch) -> jax.Array:
    return batch.Y_hat * (1 - batch.Y_hat)


def _mask_of_weights(batch: Batch) -> Grads:
    unmasked = batch.X.T @ batch.grad_H / batch.X.shape[0]
    return {"W1": unmasked * (batch.W1 > 0).astype(unmasked.dtype)}


def _mask_on_output(batch: Batch) -> Batch:
    is_on = (batch.Z > 0).astype(batch.Z.dtype)
    masked = batch.with_delta2(batch.delta2 * is_on)
    return masked._replace(mask=jnp.ones_like(batch.mask))


MISTAKES = (
    Mistake(
        "(1)",
        "the sign is turned: yours starts from y - ŷ",
        _all(lambda b: b.with_delta2(-b.delta2)),
    ),
    Mistake(
        "(1)",
        "the sigmoid's derivative ŷ (1 - ŷ) is taken twice; it is in ŷ - y already",
        _all(lambda b: b.with_delta2(b.delta2 * _slope(b))),
    ),
    Mistake(
        "(1)",
        "yours is dL/dŷ; the sigmoid's derivative dŷ/dz = ŷ (1 - ŷ) is missing",
        _all(lambda b: b.with_delta2(b.delta2 / _slope(b))),
    ),
    Mistake(
        "(5)",
        "the mask is on the output: it is 1_{a>0}, of the hidden layer, not of z",
        _all(_mask_on_output),
    ),
    Mistake(
        "(4)",
        "W2 is missing: yours hands ŷ - y to every hidden unit",
        _only("W1 b1", lambda b: b._replace(grad_H=jnp.tile(b.delta2, b.A.shape[1:]))),
    ),
    Mistake("(5)", "the mask 1_{a>0} is missing", _masked(lambda b: jnp.ones_like(b.A))),
    Mistake(
        "(5)", "the mask is 1_{a≥0}; at a = 0 it must be 0", _masked(lambda b: b.A >= 0)
    ),
    Mistake(
        "(5)",
        "the mask is taken of ∂L/∂h; it is of a, where the derivative stands",
        _masked(lambda b: b.grad_H > 0),
    ),
    Mistake(
        "(5)", "the mask is taken of ŷ - y; it is of a", _masked(lambda b: b.delta2 > 0)
    ),
    Mistake("(5)", "the mask is taken of z; it is of a", _masked(lambda b: b.Z > 0)),
    Mistake("(5)", "the mask is taken of W1; it is of a", _mask_of_weights),
    Mistake(
        "(5)",
        "yours multiplies by h = ReLU(a); the mask is ReLU's derivative, 0 or 1",
        _masked(lambda b: b.H),
    ),
    Mistake(
        "(5)",
        "yours multiplies by h (1 - h), the derivative of a sigmoid; h is a ReLU",
        _masked(lambda b: b.H * (1 - b.H)),
    ),
    Mistake(
        "(2)",
        "a stands in place of h",
        _only("W2", lambda b: b._replace(H=b.A)),
    ),
    Mistake(
        "(2)",
        "x stands in place of h",
        _only("W2", lambda b: b._replace(H=b.X)),
    ),
    Mistake(
        "(6)",
        "h stands in place of x",
        _only("W1", lambda b: b._replace(X=b.H)),
    ),
    Mistake(
        "(6)",
        "∂L/∂h stands in place of ∂L/∂a: the mask is in (7) but not here",
        _only("W1", lambda b: b._replace(mask=jnp.ones_like(b.mask))),
    ),
    Mistake(
        "(7)",
        "∂L/∂h stands in place of ∂L/∂a: the mask is in (6) but not here",
        _only("b1", lambda b: b._replace(mask=jnp.ones_like(b.mask))),
    ),
)
"""From the output to the input, as the lecture goes; the first one that fits is told."""
