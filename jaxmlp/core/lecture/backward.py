"""The lecture's backward pass of one example, equations (1) to (7)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.lecture.forward import Theta, column, forward_one
from jaxmlp.core.losses import bce
from jaxmlp.core.params import Params


def dL_dyhat(y_hat: jax.Array, y: ArrayLike) -> jax.Array:
    r"""Before (1): $d\mathcal{L}/d\hat y = -y/\hat y + (1-y)/(1-\hat y)$, 1×1.

    Not defined where ŷ has rounded to 0 or 1; equation (1) is.
    """
    y = jnp.asarray(y, y_hat.dtype)
    return -y / y_hat + (1 - y) / (1 - y_hat)


def dyhat_dz(y_hat: jax.Array) -> jax.Array:
    r"""Before (1): $d\hat y/dz = \hat y (1 - \hat y)$, 1×1."""
    return y_hat * (1 - y_hat)


def dL_dz(y_hat: jax.Array, y: ArrayLike) -> jax.Array:
    r"""Equation (1): $d\mathcal{L}/dz = \hat y - y$, 1×1.

    The product of `dL_dyhat` and `dyhat_dz`, simplified.
    """
    return y_hat - jnp.asarray(y, y_hat.dtype)


def dL_dW2(dL_dz: jax.Array, h: jax.Array) -> jax.Array:
    r"""Equation (2): $\partial\mathcal{L}/\partial W_2=(\hat y-y)h^\top$, 1×q."""
    return dL_dz @ h.T


def dL_db2(dL_dz: jax.Array) -> jax.Array:
    r"""Equation (3): $d\mathcal{L}/db_2 = \hat y - y$, 1×1.

    The lecture prints a third factor 1; it is $dz/db_2$ itself.
    """
    return dL_dz


def dL_dh(dL_dz: jax.Array, W2: jax.Array) -> jax.Array:
    r"""Equation (4): $\partial\mathcal{L}/\partial h=(\hat y-y)W_2^\top$, q×1."""
    return W2.T @ dL_dz


def dh_da(a: jax.Array) -> jax.Array:
    r"""Before (5): $\partial h/\partial a = \mathbf{1}_{a>0}$, element-wise, q×1.

    0 at a = 0, where ReLU has no derivative.
    """
    return (a > 0).astype(a.dtype)


def dL_da(dL_dh: jax.Array, dh_da: jax.Array) -> jax.Array:
    r"""Equation (5): $\partial\mathcal{L}/\partial a =
    \partial\mathcal{L}/\partial h \odot \mathbf{1}_{a>0}$, q×1.

    The lecture writes the mask as $\mathbf{1}_{\mathrm{ReLU}}(a)$; it means the
    derivative of ReLU at a, not its value.
    """
    return dL_dh * dh_da


def dL_dW1(dL_da: jax.Array, x: jax.Array) -> jax.Array:
    r"""Equation (6): $\partial\mathcal{L}/\partial W_1 =
    (\partial\mathcal{L}/\partial a)\, x^\top$, q×p.
    """
    return dL_da @ x.T


def dL_db1(dL_da: jax.Array) -> jax.Array:
    r"""Equation (7): $\partial\mathcal{L}/\partial b_1 =
    \partial\mathcal{L}/\partial a$, q×1.
    """
    return dL_da


class Backward(NamedTuple):
    r"""Every intermediate of the backward pass, in the order of the lecture.

    Attributes:
      loss: $\mathcal{L}_{BCE}$, 1×1, in nats.
      dL_dyhat: before (1), 1×1.
      dyhat_dz: before (1), 1×1.
      dL_dz: equation (1), 1×1.
      dL_dW2: equation (2), 1×q.
      dL_db2: equation (3), 1×1.
      dL_dh: equation (4), q×1.
      dh_da: before (5), q×1.
      dL_da: equation (5), q×1.
      dL_dW1: equation (6), q×p.
      dL_db1: equation (7), q×1.
    """

    loss: jax.Array
    dL_dyhat: jax.Array
    dyhat_dz: jax.Array
    dL_dz: jax.Array
    dL_dW2: jax.Array
    dL_db2: jax.Array
    dL_dh: jax.Array
    dh_da: jax.Array
    dL_da: jax.Array
    dL_dW1: jax.Array
    dL_db1: jax.Array

    def to_grads(self) -> Params:
        """The four parameter gradients in the structure of `Params`."""
        return Theta(self.dL_dW1, self.dL_db1, self.dL_dW2, self.dL_db2).to_params()


def backward_one(params: Params, x: ArrayLike, y_i: ArrayLike) -> Backward:
    """Forward and backward pass of one example, equations (1) to (7).

    Args:
      params: Network with one hidden layer, `(p, q, 1)`.
      x: Features of the example, `(p,)` or p×1.
      y_i: Its label in {0, 1}, a scalar.

    Returns:
      Loss and every derivative by name, as columns; gradients of this example's loss.

    Raises:
      ValueError: The network does not have exactly one hidden layer, or x not p values.

    Guarantees:
      The four gradients equal `jax.grad` of the example's loss.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (3, 2, 1))
      >>> backward = backward_one(params, jnp.ones(3), 1)
      >>> backward.dL_dW1.shape, backward.dL_db1.shape, backward.dL_dW2.shape
      ((2, 3), (2, 1), (1, 2))

    Source:
      Lecture, equations (1) to (7), "Recap - II" and "Recap - III".
    """
    theta = Theta.from_params(params)
    a, h, _, y_hat = forward_one(params, x)
    delta = dL_dz(y_hat, y_i)
    grad_h = dL_dh(delta, theta.W2)
    mask = dh_da(a)
    grad_a = dL_da(grad_h, mask)
    return Backward(
        loss=_bce_one(y_hat, y_i),
        dL_dyhat=dL_dyhat(y_hat, y_i),
        dyhat_dz=dyhat_dz(y_hat),
        dL_dz=delta,
        dL_dW2=dL_dW2(delta, h),
        dL_db2=dL_db2(delta),
        dL_dh=grad_h,
        dh_da=mask,
        dL_da=grad_a,
        dL_dW1=dL_dW1(grad_a, column(x, theta)),
        dL_db1=dL_db1(grad_a),
    )


def _bce_one(y_hat: jax.Array, y: ArrayLike) -> jax.Array:
    y = jnp.asarray(y, y_hat.dtype).reshape(1)
    return bce(y_hat[:, 0], y)[:, None]
