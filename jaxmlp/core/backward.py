"""The backward pass, written by hand."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.losses import bce_with_logits, mean_weights, output_delta
from jaxmlp.core.model import Cache, forward_with_cache
from jaxmlp.core.params import Layer, Params


def backward(
    params: Params,
    cache: Cache,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> Params:
    r"""Gradient of the mean loss by backpropagation, layer by layer.

    .. math::
      \delta_L = c \odot (\hat y - y), \qquad
      \nabla W_l = h_{l-1}^\top \delta_l, \qquad
      \nabla b_l = \delta_l^\top \mathbf{1}, \qquad
      \delta_{l-1} = (\delta_l W_l^\top) \odot \mathbf{1}_{h_{l-1} > 0}

    with the shares :math:`c_i = 1/n`, or :math:`w_i / \sum_j w_j` with sample weights:
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

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import forward_with_cache, init_params
      >>> params = init_params(jax.random.key(0), (2, 1))
      >>> _, cache = forward_with_cache(params, jnp.zeros((4, 2)))
      >>> backward(params, cache, jnp.array([1.0, 1.0, 1.0, 0.0]))[0].b
      Array([-0.25], dtype=float32)

    Source:
      Lecture, "Forward and Backward Pass in Matrix Notation - III".
    """
    delta = _weighted_delta(cache, y, sample_weight)[:, None]
    grads = []
    for i in reversed(range(len(params))):
        h = cache.inputs[i]
        grads.append(Layer(w=h.T @ delta, b=jnp.sum(delta, axis=0)))
        if i > 0:
            delta = jnp.where(h > 0, delta @ params[i].w.T, 0)
    return tuple(reversed(grads))


def backward_one_product(
    params: Params,
    cache: Cache,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> Params:
    r"""The same gradient as `backward`, with one matrix product for the last two layers.

    With the last hidden layer's input X (its :math:`h_{L-2}`), weights W and biases b,
    the output weights v, and :math:`D = \delta\,\mathbf{1}^\top \odot \mathbf{1}_{A > 0}`:

    .. math::
      G = X^\top D,\; g = D^\top \mathbf{1}: \qquad
      \nabla W = G \operatorname{diag}(v), \quad \nabla b = g \odot v, \quad
      \nabla v_j = W_{\cdot j} \cdot G_{\cdot j} + b_j\, g_j

    The last identity holds because ReLU is positively homogeneous: an active unit is
    :math:`h_{ij} = x_i \cdot W_{\cdot j} + b_j`. Neither the product
    :math:`h^\top \delta` nor the outer product :math:`\delta v^\top` is formed. Layers
    before these two, if any, follow the textbook.

    Args:
      params: Network parameters.
      cache: From `forward_with_cache` of the same parameters.
      y: Labels, `(n,)`, in [0, 1].
      sample_weight: Non-negative weights, `(n,)`, or None for equal ones.

    Returns:
      Gradient of the mean loss with the structure of `params`.

    Raises:
      ValueError: The shapes of y, sample_weight and cache do not match.

    Guarantees:
      Equals `backward` up to rounding. The products of inputs and weights are summed in
      another order, so inputs far from zero, whose products cancel, lose more digits here
      than in `backward`: standardise them, as training wants anyway.

    Source:
      Lecture, matrix notation, rearranged; homogeneity as in Du, Hu and Lee (2018),
      arXiv 1806.00900.
    """
    if len(params) == 1:
        return backward(params, cache, y, sample_weight)
    delta = _weighted_delta(cache, y, sample_weight)
    hidden, output = params[-2:]
    v = output.w[:, 0]
    active_delta = jnp.where(cache.inputs[-1] > 0, delta[:, None], 0)
    G = cache.inputs[-2].T @ active_delta
    g = jnp.sum(active_delta, axis=0)
    grad_v = jnp.sum(hidden.w * G, axis=0) + hidden.b * g
    grads = [
        Layer(w=grad_v[:, None], b=jnp.sum(delta)[None]),
        Layer(w=G * v[None, :], b=g * v),
    ]
    deltas = active_delta * v[None, :]
    for i in reversed(range(len(params) - 2)):
        deltas = jnp.where(cache.inputs[i + 1] > 0, deltas @ params[i + 1].w.T, 0)
        grads.append(Layer(w=cache.inputs[i].T @ deltas, b=jnp.sum(deltas, axis=0)))
    return tuple(reversed(grads))


def loss_and_grads(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> tuple[jax.Array, Params]:
    r"""Mean loss and its gradient in one forward and one backward pass.

    .. math::
      \mathcal{L} = \sum_i c_i \ell_i, \qquad
      c_i = \frac{1}{n} \;\text{ or }\; \frac{w_i}{\sum_j w_j}

    Args:
      params: Network parameters.
      X: Features, `(n, p)`; cast to the parameters' floating-point type.
      y: Labels, `(n,)`, in [0, 1].
      sample_weight: Non-negative weights, `(n,)`, or None for equal ones.

    Returns:
      Loss in nats, `()`, and its gradient with the structure of `params`.

    Raises:
      ValueError: The shapes do not match.

    Guarantees:
      Equals `jax.value_and_grad` of the same loss up to rounding. A weight of 2 counts
      as the row given twice, a weight of 0 as the row (if finite) left out.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (2, 8, 1))
      >>> X, y = jnp.eye(2), jnp.array([0.0, 1.0])
      >>> loss, grads = jax.jit(loss_and_grads)(params, X, y)
      >>> loss.shape, grads[0].w.shape
      ((), (2, 8))

    Source:
      Lecture, "Forward and Backward Pass in Matrix Notation".
    """
    logits, cache = forward_with_cache(params, X)
    losses = bce_with_logits(logits, y)
    loss = jnp.sum(losses * mean_weights(losses, sample_weight, logits.dtype))
    return loss, backward_one_product(params, cache, y, sample_weight)


def _weighted_delta(
    cache: Cache, y: ArrayLike, sample_weight: ArrayLike | None
) -> jax.Array:
    delta = output_delta(cache.logits, y)
    return delta * mean_weights(delta, sample_weight, delta.dtype)
