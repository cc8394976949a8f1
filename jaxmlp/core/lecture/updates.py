"""Updates and epochs: SGD one by one, mini-batch SGD, gradient descent."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.lecture.minibatch import minibatch_matrix
from jaxmlp.core.params import Params


def sgd_update(params: Params, grads: Params, eta: ArrayLike) -> Params:
    r"""One step of gradient descent with a constant step size.

    $$
    \theta^{k+1} = \theta^k - \eta\, \nabla_\theta \mathcal{L}(\theta^k)
    $$

    The gradient is of one example (`backward_one(...).to_grads()`, s = 1), of a
    mini-batch, or of all m examples.

    Args:
      params: Parameters at step k.
      grads: Gradient at the same parameters.
      eta: Step size η, a scalar.

    Returns:
      Parameters at step k + 1.

    Source:
      Lecture, "Stochastic Gradient Descent (SGD)".
    """
    return jax.tree.map(lambda p, g: p - jnp.asarray(eta, p.dtype) * g, params, grads)


def gd_update(
    params: Params, X: jax.Array, y: jax.Array, eta: ArrayLike
) -> tuple[jax.Array, Params]:
    """One epoch of gradient descent: one update with the gradient of all m examples.

    Args:
      params: Parameters at step k.
      X: Features of the whole training set, `(m, p)`.
      y: Labels, `(m,)`.
      eta: Step size η, a scalar.

    Returns:
      Loss at step k `()`, and the parameters at step k + 1.

    Source:
      Lecture, "How do epochs relate to gradient iterations".
    """
    loss, grads = minibatch_matrix(params, X, y)
    return loss, sgd_update(params, grads, eta)


def minibatches(order: jax.Array, s: int) -> Iterator[jax.Array]:
    """Cuts an order of the examples into mini-batches.

    The lecture's r = m/s mini-batches, if s divides m. If it does not, the m mod s
    examples left over form a last, smaller mini-batch, whose gradient is averaged over
    its own size: every example is visited once, in ⌈m/s⌉ updates. `jaxmlp.fit` does the
    same.

    Args:
      order: The m row numbers in the order of the visit, `(m,)`.
      s: Mini-batch size, from 1 (SGD one by one) to m (gradient descent).

    Yields:
      Row numbers of one mini-batch, `(s,)`, the last one possibly shorter.

    Raises:
      ValueError: s is less than 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> [batch.tolist() for batch in minibatches(jnp.arange(5), 2)]
      [[0, 1], [2, 3], [4]]

    Source:
      Lecture, "How do epochs relate to gradient iterations".
    """
    if s < 1:
        raise ValueError(f"s must be at least 1, not {s}")
    for start in range(0, order.shape[0], s):
        yield order[start : start + s]


def epoch(
    params: Params,
    X: jax.Array,
    y: jax.Array,
    order: jax.Array,
    s: int,
    eta: ArrayLike,
) -> Params:
    """One epoch of SGD: one pass through all mini-batches, one update each.

    A plain Python loop to read; `jaxmlp.fit` compiles the same updates.

    Args:
      params: Parameters at the start of the epoch.
      X: Features of the training set, `(m, p)`.
      y: Labels, `(m,)`.
      order: The m row numbers in the order of the visit, `(m,)`.
      s: Mini-batch size; see `minibatches` for an s that does not divide m.
      eta: Step size η, a scalar.

    Returns:
      Parameters at the end of the epoch.

    Source:
      Lecture, "Terminology: Epoch".
    """
    for batch in minibatches(order, s):
        _, grads = minibatch_matrix(params, X[batch], y[batch])
        params = sgd_update(params, grads, eta)
    return params
