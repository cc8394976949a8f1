"""Loss and gradient as training computes them: one product fewer, biases folded in."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxmlp.core.losses import bce_with_logits, mean_weights, output_delta
from jaxmlp.core.params import Layer, Params


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
      Lecture, "Forward and Backward Pass in Matrix Notation", rearranged as in
      `loss_and_grads_augmented`.
    """
    X = jnp.asarray(X, params[0].w.dtype)
    if X.ndim != 2 or X.shape[1] != params[0].w.shape[0]:
        raise ValueError(
            f"X must have shape (n, {params[0].w.shape[0]}) to match the first layer, "
            f"not {X.shape}"
        )
    return loss_and_grads_augmented(params, augment(X), y, sample_weight)


def augment(X: jax.Array) -> jax.Array:
    """Appends a column of ones, `(n, p + 1)`: the input whose weight is the bias."""
    return jnp.concatenate([X, jnp.ones((X.shape[0], 1), X.dtype)], axis=1)


def loss_and_grads_augmented(
    params: Params,
    X: jax.Array,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> tuple[jax.Array, Params]:
    r"""`loss_and_grads` for features that end in a column of ones.

    With the last hidden layer's input :math:`H`, weights W and biases b, the output
    weights v, the output's :math:`\delta_i = c_i (\hat y_i - y_i)` and
    :math:`D = \delta\,\mathbf{1}^\top \odot \mathbf{1}_{A > 0}`:

    .. math::
      G = H^\top D,\; g = D^\top \mathbf{1}: \qquad
      \nabla W = G \operatorname{diag}(v), \quad \nabla b = g \odot v, \quad
      \nabla v_j = W_{\cdot j} \cdot G_{\cdot j} + b_j\, g_j

    The last identity holds because ReLU is positively homogeneous: an active unit is
    :math:`h_i \cdot W_{\cdot j} + b_j`. Neither the product of the activations with
    :math:`\delta` nor the outer product :math:`\delta v^\top` is formed. Earlier layers
    follow the textbook. In the first layer, the column of ones makes the bias one more
    weight, so that the same products give :math:`A` with its bias and G with its g.

    Args:
      params: Network parameters.
      X: Features, `(n, p + 1)`, the last column ones (see `augment`). Their type is that
        of the matrix products' operands, such as bfloat16; sums and all else are in the
        parameters' type.
      y: Labels, `(n,)`, in [0, 1].
      sample_weight: Non-negative weights, `(n,)`, or None for equal ones.

    Returns:
      Loss in nats, `()`, and its gradient with the structure of `params`.

    Raises:
      ValueError: The shapes do not match.

    Guarantees:
      Equals `backward` up to rounding. The products of inputs and weights are summed in
      another order, so inputs far from zero, whose products cancel, lose more digits here
      than in `backward`: standardise them, as training wants anyway.

    Source:
      Lecture, matrix notation, rearranged; homogeneity as in Du, Hu and Lee (2018),
      arXiv 1806.00900.
    """
    *hidden, output = params
    inputs = _layer_inputs(params, X)
    logits = _output_logits(inputs[-1], output, has_ones=not hidden)
    losses = bce_with_logits(logits, y)
    shares = mean_weights(losses, sample_weight, losses.dtype)
    loss = jnp.sum(losses * shares)
    delta = output_delta(logits, y) * shares
    if not hidden:
        return loss, (_input_products(X, delta[:, None], X.dtype, has_ones=True),)

    v = output.w[:, 0]
    active_delta = jnp.where(inputs[-1] > 0, delta[:, None], 0)
    G, g = _input_products(inputs[-2], active_delta, X.dtype, has_ones=len(hidden) == 1)
    # Summed over weights and bias as one array where they are one in the forward pass:
    # XLA then needs no second copy of the weights.
    grad_v = jnp.sum(_with_bias_row(hidden[-1]) * _with_bias_row(Layer(G, g)), axis=0)
    grads = [
        Layer(w=grad_v[:, None], b=jnp.sum(delta)[None]),
        Layer(w=G * v[None, :], b=g * v),
    ]
    deltas = active_delta * v[None, :]
    for i in reversed(range(len(hidden) - 1)):
        deltas = _product(deltas, hidden[i + 1].w.T, X.dtype)
        deltas = jnp.where(inputs[i + 1] > 0, deltas, 0)
        grads.append(_input_products(inputs[i], deltas, X.dtype, has_ones=i == 0))
    return loss, tuple(reversed(grads))


def _layer_inputs(params: Params, X: jax.Array) -> list[jax.Array]:
    """Input of each layer: X, then the activations, `(n, d_in)`."""
    inputs = [X]
    for layer in params[:-1]:
        if len(inputs) == 1:
            a = _product(X, _with_bias_row(layer), X.dtype)
        else:
            a = _product(inputs[-1], layer.w, X.dtype) + layer.b[None, :]
        inputs.append(jax.nn.relu(a))
    return inputs


def _output_logits(h: jax.Array, output: Layer, *, has_ones: bool) -> jax.Array:
    if has_ones:
        return _product(h, _with_bias_row(output), h.dtype)[:, 0]
    return (h @ output.w)[:, 0] + output.b[0]


def _input_products(
    h: jax.Array, deltas: jax.Array, dtype: DTypeLike, *, has_ones: bool
) -> Layer:
    """Computes h^T deltas and 1^T deltas: one product where h ends in ones."""
    products = _product(h.T, deltas, dtype)
    if has_ones:
        return Layer(products[:-1], products[-1])
    return Layer(products, jnp.sum(deltas, axis=0))


def _with_bias_row(layer: Layer) -> jax.Array:
    return jnp.concatenate([layer.w, layer.b[None, :]])


def _product(a: jax.Array, b: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Multiplies in `dtype` and sums in the type of b, the parameters'."""
    product = partial(jnp.matmul, preferred_element_type=b.dtype)
    operands = (a.astype(dtype), b.astype(dtype))
    if dtype == b.dtype:
        return product(*operands)
    # XLA has no such product of stacks of matrices on a CPU; widened, its operands keep
    # their rounded values.
    return jax.lax.platform_dependent(
        *operands,
        cpu=lambda *low: product(*(array.astype(b.dtype) for array in low)),
        default=product,
    )
