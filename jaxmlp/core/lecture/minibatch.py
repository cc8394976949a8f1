"""A mini-batch of size s in the lecture's three forms: loop, vmap, matrices."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.lecture.backward import backward_one
from jaxmlp.core.lecture.forward import Theta, relu, sigmoid
from jaxmlp.core.losses import bce
from jaxmlp.core.params import Layer, Params


def minibatch_loss(y_hat: jax.Array, y: ArrayLike) -> jax.Array:
    r"""Loss of a mini-batch.

    $$
    \mathcal{L} = \frac{1}{s} \sum_{i=1}^s
      \left[-y_i \log \hat y_i - (1 - y_i) \log(1 - \hat y_i)\right]
    $$

    Args:
      y_hat: Probabilities, `(s,)`.
      y: Labels, `(s,)`.

    Returns:
      Mean loss in nats, `()`.

    Source:
      Lecture, "SGD with mini-batch size s > 1 - I". The same with s = m is "Objective
      Function and Parameters - III", where the second term lacks its index i.
    """
    return jnp.mean(bce(y_hat, y))


def minibatch_loop(params: Params, X: jax.Array, y: jax.Array) -> tuple[jax.Array, Params]:
    r"""Loss and gradient of a mini-batch, one example after the other.

    $$
    \nabla_\theta \mathcal{L} = \frac{1}{s} \sum_{i=1}^s \nabla_\theta \mathcal{L}_i
    $$

    Args:
      params: Network with one hidden layer, `(p, q, 1)`.
      X: Mini-batch of features, `(s, p)`.
      y: Labels, `(s,)`.

    Returns:
      Mean loss `()` and mean gradient with the structure of `params`.

    Source:
      Lecture, "SGD with mini-batch size s > 1". Its sum for b1 runs to m; s is meant.
    """
    s = X.shape[0]
    loss = jnp.zeros((), params[0].w.dtype)
    grads = jax.tree.map(jnp.zeros_like, params)
    for i in range(s):
        one = backward_one(params, X[i], y[i])
        loss = loss + one.loss[0, 0]
        grads = jax.tree.map(jnp.add, grads, one.to_grads())
    return loss / s, jax.tree.map(lambda total: total / s, grads)


def minibatch_vmap(params: Params, X: jax.Array, y: jax.Array) -> tuple[jax.Array, Params]:
    """Loss and gradient of a mini-batch, `backward_one` mapped over the examples.

    The same sum as `minibatch_loop`: `jax.vmap` gives every example's gradient with a
    leading axis of size s, and the mean is taken over that axis.

    Args:
      params: Network with one hidden layer, `(p, q, 1)`.
      X: Mini-batch of features, `(s, p)`.
      y: Labels, `(s,)`.

    Returns:
      Mean loss `()` and mean gradient with the structure of `params`.

    Source:
      Lecture, "SGD with mini-batch size s > 1".
    """

    def loss_and_grads_one(x: jax.Array, y_i: jax.Array) -> tuple[jax.Array, Params]:
        one = backward_one(params, x, y_i)
        return one.loss[0, 0], one.to_grads()

    losses, grads = jax.vmap(loss_and_grads_one)(X, y)
    return jnp.mean(losses), jax.tree.map(lambda g: jnp.mean(g, axis=0), grads)


def minibatch_matrix(
    params: Params, X: jax.Array, y: jax.Array
) -> tuple[jax.Array, Params]:
    r"""Loss and gradient of a mini-batch in matrices.

    $$
    A = X W_1 + \mathbf{1}_s b_1^\top, \quad H = \mathrm{ReLU}(A), \quad
    Z = H W_2 + \mathbf{1}_s b_2, \quad \hat Y = \sigma(Z)
    $$

    $$
    \delta_2 = \hat Y - Y, \quad
    \nabla_{W_2} = \tfrac{1}{s} H^\top \delta_2, \quad
    \nabla_{b_2} = \tfrac{1}{s} \textstyle\sum_i \delta_2(i), \quad
    \delta_1 = (\delta_2 W_2^\top) \odot \mathbf{1}_{H>0}, \quad
    \nabla_{W_1} = \tfrac{1}{s} X^\top \delta_1, \quad
    \nabla_{b_1} = \tfrac{1}{s} \textstyle\sum_i \delta_1(i)
    $$

    Here W1 is p×q and W2 is q×1, as the lecture changes them for these slides: the
    package's own convention.

    Args:
      params: Network with one hidden layer, `(p, q, 1)`.
      X: Mini-batch of features, s×p.
      y: Labels, `(s,)`.

    Returns:
      Mean loss `()` and mean gradient with the structure of `params`.

    Source:
      Lecture, "Forward and Backward Pass in Matrix Notation". It gives the size of
      $\nabla_{b_1}$ as s×1; summed over the s examples it has q entries.
    """
    Theta.from_params(params)  # one hidden layer, or an error that says so
    (W1, b1), (W2, b2) = params
    X = jnp.asarray(X, W1.dtype)
    s = X.shape[0]
    Y = jnp.asarray(y, W1.dtype)[:, None]
    H = relu(X @ W1 + b1[None, :])
    Y_hat = sigmoid(H @ W2 + b2[None, :])
    delta_2 = Y_hat - Y
    delta_1 = (delta_2 @ W2.T) * (H > 0).astype(H.dtype)
    grads = (
        Layer(w=X.T @ delta_1 / s, b=jnp.sum(delta_1, axis=0) / s),
        Layer(w=H.T @ delta_2 / s, b=jnp.sum(delta_2, axis=0) / s),
    )
    return minibatch_loss(Y_hat[:, 0], Y[:, 0]), grads
