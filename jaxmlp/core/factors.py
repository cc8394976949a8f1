"""Every example's gradient in factored form, from one forward and one backward pass."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxmlp.core.losses import bce_with_logits, output_delta
from jaxmlp.core.params import Layer, Params
from jaxmlp.core.validate import as_features


class LayerFactors(NamedTuple):
    r"""Factors of one layer: example i's gradient is $h_i \otimes \delta_i$.

    Attributes:
      h: Inputs of the layer, `(n, d_in)`.
      delta: Derivatives by its pre-activations, `(n, d_out)`; also the bias's gradient.
    """

    h: jax.Array
    delta: jax.Array


class Factors(NamedTuple):
    r"""Gradients of all examples, as factors instead of n × P numbers.

    Of layer l, example i's gradient is

    $$
    \nabla_{W_l} = h_{i,l-1} \otimes \delta_{i,l}, \qquad \nabla_{b_l} = \delta_{i,l},
    \qquad \delta_{i,l} = s_i \, \frac{\partial z_i}{\partial a_{i,l}}
    $$

    with the scale $s_i = \hat y_i - y_i$ for the loss and 1 for the logit. Nothing
    is divided by n. `layers` has the factors as such; kept is what they follow from, so
    that sums over examples need no factor of the last two layers: there
    $\partial z_i / \partial a_{ij} = v_j \mathbf{1}_{h_{ij} > 0}$ for the output
    weights v.

    Attributes:
      params: The network.
      inputs: Input of each layer, `(n, d_in)`: X with a last column of ones, then the
        hidden activations.
      scale: Derivative by the logit, `(n,)`.
      slopes: Derivatives of the logit by the pre-activations, `(n, d_out)`, of all hidden
        layers but the last.
    """

    params: Params
    inputs: tuple[jax.Array, ...]
    scale: jax.Array
    slopes: tuple[jax.Array, ...]

    @property
    def n_samples(self) -> int:
        """Number of examples n."""
        return self.scale.shape[0]

    @property
    def layers(self) -> tuple[LayerFactors, ...]:
        """Inputs and deltas of each layer, from the input to the output."""
        scale = self.scale[:, None]
        X, *activations = self.inputs
        slopes = list(self.slopes)
        if activations:
            v = self.params[-1].w[:, 0]
            slopes.append(jnp.where(activations[-1] > 0, v[None, :], 0))
        slopes.append(jnp.ones_like(scale))
        inputs = [X[:, :-1].astype(scale.dtype), *activations]
        return tuple(
            LayerFactors(h, scale * slope) for h, slope in zip(inputs, slopes, strict=True)
        )


def augment(X: jax.Array) -> jax.Array:
    """Appends a column of ones, `(n, p + 1)`: the input whose weight is the bias."""
    return jnp.concatenate([X, jnp.ones((X.shape[0], 1), X.dtype)], axis=1)


def augment_features(params: Params, X: ArrayLike, name: str = "X") -> jax.Array:
    """Casts X to the parameters' type and appends the column of ones; as `as_features`."""
    return augment(as_features(params, X, name))


def loss_factors_augmented(
    params: Params,
    X: jax.Array,
    y: ArrayLike,
    masks: tuple[jax.Array, ...] | None = None,
) -> tuple[jax.Array, Factors]:
    """Losses and the factors of their gradients, for features that end in ones.

    Args:
      params: Network parameters.
      X: Features, `(n, p + 1)`, the last column ones (see `augment`). Their type is that
        of the matrix products' operands, such as bfloat16; sums and all else are in the
        parameters' type.
      y: Labels, `(n,)`, in [0, 1].
      masks: For each hidden layer, which units count, `(n, q)`; the others give 0, as
        inactive ones do. None for all.

    Returns:
      Losses in nats, `(n,)`, and the factors of their gradients.
    """
    logits, factors = logit_factors_augmented(params, X, masks)
    return bce_with_logits(logits, y), factors._replace(scale=output_delta(logits, y))


def logit_factors_augmented(
    params: Params, X: jax.Array, masks: tuple[jax.Array, ...] | None = None
) -> tuple[jax.Array, Factors]:
    """Logits and the factors of their gradients; as `loss_factors_augmented`."""
    *hidden, output = params
    inputs = [X]
    for i, layer in enumerate(hidden):
        h = jax.nn.relu(_affine(inputs[-1], layer, X))
        inputs.append(h if masks is None else jnp.where(masks[i], h, 0))
    if hidden:
        logits = (inputs[-1] @ output.w)[:, 0] + output.b[0]
    else:
        logits = _affine(X, output, X)[:, 0]
    slopes: list[jax.Array] = []
    if len(hidden) > 1:
        slope = jnp.where(inputs[-1] > 0, output.w[:, 0][None, :], 0)
        for layer, h in zip(reversed(hidden[1:]), reversed(inputs[1:-1]), strict=True):
            slope = jnp.where(h > 0, _product(slope, layer.w.T, X.dtype), 0)
            slopes.insert(0, slope)
    return logits, Factors(params, tuple(inputs), jnp.ones_like(logits), tuple(slopes))


def squared_norms_per_scale(factors: Factors) -> jax.Array:
    r"""Squared norms of the logits' gradients, `(n,)`, by which the scale multiplies.

    $$
    \lVert \nabla z_i \rVert^2 = \sum_l \left(\lVert h_{i,l-1} \rVert^2 + 1\right)
    \lVert \partial z_i / \partial a_{i,l} \rVert^2
    $$

    At least 1, because of the output's bias.
    """
    X, *activations = factors.inputs
    dtype = factors.scale.dtype
    norms = [squared_rows(X, dtype)]  # ones included
    norms += [squared_rows(h, dtype) + 1 for h in activations[:-1]]
    if not activations:
        return norms[0]
    # Both layers that the last activations belong to, in one sum over their units.
    h, v = activations[-1], factors.params[-1].w[:, 0]
    terms = h * h + norms[-1][:, None] * (v * v)[None, :]
    total = jnp.sum(jnp.where(h > 0, terms, 0), axis=1) + 1
    for norm, slope in zip(norms[:-1], factors.slopes, strict=True):
        total += norm * squared_rows(slope, dtype)
    return total


def weighted_sum(factors: Factors, c: ArrayLike) -> Params:
    r"""Sum of the examples' gradients with weights, $\sum_i c_i g_i$.

    With the last hidden layer's input $H$, weights W and biases b, the output
    weights v, $\delta_i = c_i s_i$ and
    $D = \delta\,\mathbf{1}^\top \odot \mathbf{1}_{A > 0}$:

    $$
    G = H^\top D,\; g = D^\top \mathbf{1}: \qquad
    \nabla W = G \operatorname{diag}(v), \quad \nabla b = g \odot v, \quad
    \nabla v_j = W_{\cdot j} \cdot G_{\cdot j} + b_j\, g_j
    $$

    The last identity holds because ReLU is positively homogeneous: an active unit is
    $h_i \cdot W_{\cdot j} + b_j$. Neither the product of the activations with
    $\delta$ nor the outer product $\delta v^\top$ is formed. Earlier layers
    follow the textbook, $H^\top (c \odot \Delta)$. In the first layer, the column of
    ones makes the bias one more weight, so that the same products give $A$ with its
    bias and G with its g.

    Args:
      factors: From `loss_factors` or `logit_factors`.
      c: Weights, `(n,)`, of any sign.

    Returns:
      A sum, not a mean, with the structure of the parameters.

    Guarantees:
      Equals the sum over `materialize` up to rounding. The products of inputs and weights
      are summed in another order, so inputs far from zero, whose products cancel, lose
      more digits here than in `backward`: standardise them, as training wants anyway.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> from jaxmlp.gradients import loss_factors, weighted_sum
      >>> params = init_params(jax.random.key(0), (2, 1))
      >>> factors = loss_factors(params, jnp.zeros((3, 2)), jnp.array([1.0, 1.0, 0.0]))
      >>> weighted_sum(factors, jnp.array([1.0, 1.0, 4.0]))[0].b
      Array([1.], dtype=float32)

    Source:
      Lecture, matrix notation, rearranged; homogeneity as in Du, Hu and Lee (2018),
      arXiv 1806.00900.
    """
    *hidden, output = factors.params
    X, *activations = factors.inputs
    c = jnp.asarray(c, factors.scale.dtype)
    if c.shape != factors.scale.shape:
        raise ValueError(
            f"c must have shape {factors.scale.shape}, one weight an example, not {c.shape}"
        )
    delta = c * factors.scale
    if not hidden:
        return (_input_products(X, delta[:, None], X.dtype, has_ones=True),)

    v = output.w[:, 0]
    active_delta = jnp.where(activations[-1] > 0, delta[:, None], 0)
    G, g = _input_products(
        factors.inputs[-2], active_delta, X.dtype, has_ones=len(hidden) == 1
    )
    # Summed over weights and bias as one array where they are one in the forward pass:
    # XLA then needs no second copy of the weights.
    grad_v = jnp.sum(_with_bias_row(hidden[-1]) * _with_bias_row(Layer(G, g)), axis=0)
    earlier = [
        _input_products(h, delta[:, None] * slope, X.dtype, has_ones=h is X)
        for h, slope in zip(factors.inputs[:-2], factors.slopes, strict=True)
    ]
    return (
        *earlier,
        Layer(w=G * v[None, :], b=g * v),
        Layer(w=grad_v[:, None], b=jnp.sum(delta)[None]),
    )


def _affine(h: jax.Array, layer: Layer, X: jax.Array) -> jax.Array:
    """Pre-activations; the first layer's bias is a weight of X's column of ones."""
    if h is X:
        return _product(X, _with_bias_row(layer), X.dtype)
    return _product(h, layer.w, X.dtype) + layer.b[None, :]


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


def squared_rows(a: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Squared norm of each row, `(n,)`, summed in `dtype`."""
    a = a.astype(dtype)
    # A product with ones: XLA's sums along short rows take three times as long on a CPU.
    return (a * a) @ jnp.ones((a.shape[1],), dtype)


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
