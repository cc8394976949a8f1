"""The backward pass, written by hand: the text to read."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.losses import mean_weights, output_delta
from jaxmlp.core.model import Cache
from jaxmlp.core.params import Layer, Params


def backward(
    params: Params,
    cache: Cache,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> Params:
    r"""Gradient of the mean loss by backpropagation, layer by layer.

    $$
    \delta_L = c \odot (\hat y - y), \qquad
    \nabla W_l = h_{l-1}^\top \delta_l, \qquad
    \nabla b_l = \delta_l^\top \mathbf{1}, \qquad
    \delta_{l-1} = (\delta_l W_l^\top) \odot \mathbf{1}_{h_{l-1} > 0}
    $$

    with the shares $c_i = 1/n$, or $w_i / \sum_j w_j$ with sample weights:
    the result is the gradient of a mean, not of a sum. This is the text to read;
    training calls `loss_and_grads`, which gives the same gradient at less work.

    Args:
      params: Network parameters.
      cache: From `forward_with_cache` of the same parameters.
      y: Labels, `(n,)`, in [0, 1].
      sample_weight: Non-negative weights, `(n,)`, or None for equal ones.

    Returns:
      Gradient with the structure of `params`.

    Raises:
      ValueError: The shapes of y, sample_weight and cache do not match.

    Guarantees:
      Equals `jax.grad` of the mean of `bce_with_logits`, with 0 as ReLU's derivative at
      0. A batch without any weight has a zero gradient.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import forward_with_cache, init_params
      >>> params = init_params(jax.random.key(0), (2, 1))
      >>> _, cache = forward_with_cache(params, jnp.zeros((4, 2)))
      >>> backward(params, cache, jnp.array([1.0, 1.0, 1.0, 0.0]))[0].b
      Array([-0.25], dtype=float32)

    Source:
      Lecture, "Forward and Backward Pass in Matrix Notation - III".
    """
    delta = output_delta(cache.logits, y)
    delta = (delta * mean_weights(delta, sample_weight, delta.dtype))[:, None]
    grads = []
    for i in reversed(range(len(params))):
        h = cache.inputs[i]
        grads.append(Layer(w=h.T @ delta, b=jnp.sum(delta, axis=0)))
        if i > 0:
            delta = jnp.where(h > 0, delta @ params[i].w.T, 0)
    return tuple(reversed(grads))
