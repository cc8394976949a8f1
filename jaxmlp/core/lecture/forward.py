"""The lecture's parameters and its forward pass of one example."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.params import Layer, Params


class Theta(NamedTuple):
    r"""The lecture's parameters $\theta = (W_1, b_1, W_2, b_2)$.

    Attributes:
      W1: q×p.
      b1: q×1.
      W2: 1×q.
      b2: 1×1.
    """

    W1: jax.Array
    b1: jax.Array
    W2: jax.Array
    b2: jax.Array

    @classmethod
    def from_params(cls, params: Params) -> "Theta":
        """Turns row-convention parameters, or gradients, into the lecture's.

        Raises:
          ValueError: The network does not have exactly one hidden layer.
        """
        if len(params) != 2:
            raise ValueError(
                "params: the lecture's network has one hidden layer (two layers of "
                f"weights), this one has {len(params)} layers of weights"
            )
        hidden, output = params
        return cls(hidden.w.T, hidden.b[:, None], output.w.T, output.b[:, None])

    def to_params(self) -> Params:
        """Turns the lecture's parameters, or gradients, into row convention."""
        return (
            Layer(w=self.W1.T, b=self.b1[:, 0]),
            Layer(w=self.W2.T, b=self.b2[:, 0]),
        )


def relu(t: jax.Array) -> jax.Array:
    r"""ReLU activation, $\sigma(t) = \max(0, t)$; derivative 0 at 0."""
    return jax.nn.relu(t)


def sigmoid(z: jax.Array) -> jax.Array:
    r"""Sigmoid activation, $\sigma(z) = 1 / (1 + e^{-z})$."""
    return jax.nn.sigmoid(z)


class Forward(NamedTuple):
    r"""Every intermediate of the forward pass, in the order of the recap table.

    Attributes:
      a: $a = W_1 x + b_1$, q×1.
      h: $h = \mathrm{ReLU}(a)$, q×1.
      z: $z = W_2 h + b_2$, 1×1.
      y_hat: $\hat y = \sigma(z)$, 1×1.
    """

    a: jax.Array
    h: jax.Array
    z: jax.Array
    y_hat: jax.Array


def forward_one(params: Params, x: ArrayLike) -> Forward:
    """Forward pass of one example.

    Args:
      params: Network with one hidden layer, `(p, q, 1)`.
      x: Features of the example, `(p,)` or p×1.

    Returns:
      a, h, z and ŷ as columns.

    Raises:
      ValueError: The network does not have exactly one hidden layer, or x not p values.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (3, 2, 1))
      >>> one = forward_one(params, jnp.ones(3))
      >>> one.a.shape, one.h.shape, one.z.shape, one.y_hat.shape
      ((2, 1), (2, 1), (1, 1), (1, 1))

    Source:
      Lecture, "Forward Pass for a single layer MLP" and "Recap - I".
    """
    theta = Theta.from_params(params)
    a = theta.W1 @ column(x, theta) + theta.b1
    h = relu(a)
    z = theta.W2 @ h + theta.b2
    return Forward(a=a, h=h, z=z, y_hat=sigmoid(z))


def column(x: ArrayLike, theta: Theta) -> jax.Array:
    """Turns the features of one example, `(p,)` or p×1, into a p×1 column."""
    p = theta.W1.shape[1]
    x = jnp.asarray(x, theta.W1.dtype)
    if x.shape not in ((p,), (p, 1)):
        raise ValueError(f"x must have shape ({p},) or ({p}, 1), not {x.shape}")
    return x.reshape(p, 1)
