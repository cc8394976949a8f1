"""The lecture's recap tables, with the numbers of one example filled in."""

from typing import NamedTuple

import jax
from jax.typing import ArrayLike

from jaxmlp.core.lecture.backward import backward_one
from jaxmlp.core.lecture.forward import forward_one
from jaxmlp.core.params import Params


class RecapRow(NamedTuple):
    """One row of a recap table.

    Attributes:
      computation: The row's equation.
      dimension: Size of the result, such as "(4 × 1)".
      value: The result itself.
    """

    computation: str
    dimension: str
    value: jax.Array


def forward_recap(params: Params, x: ArrayLike, y_i: ArrayLike) -> list[RecapRow]:
    """The forward pass of one example as the table of "Recap - I".

    Args:
      params: Network with one hidden layer, `(p, q, 1)`.
      x: Features of the example, `(p,)` or p×1.
      y_i: Its label in {0, 1}, a scalar.

    Returns:
      The table's five rows in its order.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (3, 2, 1))
      >>> for row in forward_recap(params, jnp.ones(3), 1):
      ...     print(row.computation, row.dimension)
      a = W1 x + b1 (2 × 1)
      h = ReLU(a) (2 × 1)
      z = W2 h + b2 (1 × 1)
      ŷ = σ(z) (1 × 1)
      L = -y log(ŷ) - (1 - y) log(1 - ŷ) (1 × 1)

    Source:
      Lecture, "Recap - I".
    """
    one = forward_one(params, x)
    loss = backward_one(params, x, y_i).loss
    return [
        _row("a = W1 x + b1", one.a),
        _row("h = ReLU(a)", one.h),
        _row("z = W2 h + b2", one.z),
        _row("ŷ = σ(z)", one.y_hat),
        _row("L = -y log(ŷ) - (1 - y) log(1 - ŷ)", loss),
    ]


def backward_recap(params: Params, x: ArrayLike, y_i: ArrayLike) -> list[RecapRow]:
    """The backward pass of one example as the tables of "Recap - II" and "- III".

    Args:
      params: Network with one hidden layer, `(p, q, 1)`.
      x: Features of the example, `(p,)` or p×1.
      y_i: Its label in {0, 1}, a scalar.

    Returns:
      The tables' eight rows in their order, the output layer's first.

    Source:
      Lecture, "Recap - II" and "Recap - III".
    """
    one = backward_one(params, x, y_i)
    return [
        _row("dL/dz = ŷ - y", one.dL_dz),
        _row("∂L/∂W2 = (ŷ - y) hᵀ", one.dL_dW2),
        _row("∂L/∂b2 = ŷ - y", one.dL_db2),
        _row("∂L/∂h = W2ᵀ (ŷ - y)", one.dL_dh),
        _row("∂h/∂a = 1_{a>0}", one.dh_da),
        _row("∂L/∂a = ∂L/∂h ⊙ 1_{a>0}", one.dL_da),
        _row("∂L/∂W1 = ∂L/∂a xᵀ", one.dL_dW1),
        _row("∂L/∂b1 = ∂L/∂a", one.dL_db1),
    ]


def _row(computation: str, value: jax.Array) -> RecapRow:
    rows, columns = value.shape
    return RecapRow(computation, f"({rows} × {columns})", value)
