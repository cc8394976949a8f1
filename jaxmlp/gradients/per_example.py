"""One number an example: norms, directional derivatives, scores; or the gradient itself."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.factors import Factors, squared_norms_per_scale
from jaxmlp.core.params import Layer, Params
from jaxmlp.core.validate import check_count, check_layers
from jaxmlp.gradients.validate import check_values


def squared_norms(factors: Factors, *, per_layer: bool = False) -> jax.Array:
    r"""Squared Euclidean norm of each example's gradient.

    $$
    \lVert g_i \rVert^2 = \sum_l \left(\lVert h_{i,l-1} \rVert^2 + 1\right)
    \lVert \delta_{i,l} \rVert^2
    $$

    Weights and biases of all layers together; of the example's own loss or logit, not
    divided by n.

    Args:
      factors: From `loss_factors` or `logit_factors`.
      per_layer: Whether to keep the terms of the sum.

    Returns:
      `(n,)`, or `(n_layers, n)` per layer.

    Source:
      Goodfellow (2015), arXiv 1510.01799.
    """
    if not per_layer:
        return factors.scale**2 * squared_norms_per_scale(factors)
    return jnp.stack(
        [
            (jnp.sum(h * h, axis=1) + 1) * jnp.sum(delta * delta, axis=1)
            for h, delta in factors.layers
        ]
    )


def norms(factors: Factors, *, per_layer: bool = False) -> jax.Array:
    r"""Euclidean norm of each example's gradient, $\lVert g_i \rVert$.

    As `squared_norms`, without the underflow of the square: the norm of a well-predicted
    example, far below 1e-19 in float32, is not lost.

    Args:
      factors: From `loss_factors` or `logit_factors`.
      per_layer: Whether to take each layer's norm.

    Returns:
      `(n,)`, or `(n_layers, n)` per layer.
    """
    scale = jnp.abs(factors.scale)
    if not per_layer:
        # A zero gradient is zero even where its activations overflow.
        lengths = scale * jnp.sqrt(squared_norms_per_scale(factors))
        return jnp.where(scale == 0, 0, lengths)
    unit = factors._replace(scale=jnp.ones_like(factors.scale))
    squares = squared_norms(unit, per_layer=True)
    # The derivative of a square root is infinite at 0, where a layer's units are all off.
    roots = jnp.sqrt(jnp.where(squares > 0, squares, 1))
    return scale[None, :] * jnp.where(squares > 0, roots, 0)


def directional(
    factors: Factors, direction: Params, *, per_layer: bool = False
) -> jax.Array:
    r"""Derivative of each example along a direction, $\langle g_i, d \rangle$.

    $$
    \sum_l h_{i,l-1}^\top V_l\, \delta_{i,l} + v_l \cdot \delta_{i,l}
    $$

    Positive where a small step along the direction raises the example's loss (or logit).
    Scale: the direction's length counts; not divided by n.

    Args:
      factors: From `loss_factors` or `logit_factors`.
      direction: Weights V and biases v with the structure of the parameters.
      per_layer: Whether to keep the terms of the sum.

    Returns:
      `(n,)`, or `(n_layers, n)` per layer.

    Raises:
      ValueError: The direction has other layers than the network.
    """
    sizes, wanted = check_layers(direction, "direction"), check_layers(factors.params)
    if sizes != wanted:
        raise ValueError(
            f"direction must have the parameters' layer sizes {wanted}, not {sizes}"
        )
    terms = jnp.stack(
        [
            jnp.sum((h @ d.w + d.b[None, :]) * delta, axis=1)
            for (h, delta), d in zip(factors.layers, direction, strict=True)
        ]
    )
    return terms if per_layer else jnp.sum(terms, axis=0)


def materialize(factors: Factors) -> Params:
    """Writes every example's gradient out: n × P numbers, for tests and small data.

    Args:
      factors: From `loss_factors` or `logit_factors`.

    Returns:
      Gradients with the structure of the parameters and a leading axis n, each example's
      own: the mean over that axis is the gradient of the mean loss.
    """
    return tuple(
        Layer(w=h[:, :, None] * delta[:, None, :], b=delta) for h, delta in factors.layers
    )


def el2n(factors: Factors) -> jax.Array:
    r"""EL2N score of each example, $\lvert \hat y_i - y_i \rvert$.

    The distance of the predicted probability from the label; near 1 for examples that the
    network gets wrong with confidence. Of the one output: over the two class
    probabilities, as the paper counts, it is √2 times this. The paper averages over
    several networks, early in training.

    Args:
      factors: From `loss_factors`.

    Returns:
      Scores in [0, 1], `(n,)`.

    Source:
      Paul, Ganguli and Dziugaite (2021), arXiv 2107.07075.
    """
    return jnp.abs(factors.scale)


def grand(factors: Factors) -> jax.Array:
    r"""GraNd score of each example, the norm of its loss gradient.

    All parameters, of one network; the paper averages over several. Scores at
    initialisation have not been found to rank examples as the paper reports
    (arXiv 2303.14753): take them after some epochs of training.

    Args:
      factors: From `loss_factors`.

    Returns:
      Scores, `(n,)`.

    Source:
      Paul, Ganguli and Dziugaite (2021), arXiv 2107.07075; Kirsch (2023),
      arXiv 2303.14753.
    """
    return norms(factors)


def keep_highest(scores: ArrayLike, n_keep: int, *, n_skip: int = 0) -> jax.Array:
    """Rows that data pruning by a score keeps: the highest scores, bar the very highest.

    Args:
      scores: Such as `el2n` or `grand`, `(n,)`; negate them to keep the lowest.
      n_keep: Number of rows to keep.
      n_skip: Number of highest scores to leave out first: often wrong labels.

    Returns:
      Row numbers in ascending order, `(n_keep,)`. Of equal scores, the first rows count
      as higher.

    Raises:
      ValueError: There are not so many rows, or a score is NaN.

    Examples:
      >>> import jax.numpy as jnp
      >>> keep_highest(jnp.array([0.9, 0.1, 0.5, 0.7]), 2, n_skip=1)
      Array([2, 3], dtype=int32)

    Source:
      Paul, Ganguli and Dziugaite (2021), section 3.
    """
    scores = jnp.asarray(scores)
    if scores.ndim != 1:
        raise ValueError(f"scores must have shape (n,), not {scores.shape}")
    check_values("scores", scores, lambda s: ~jnp.isnan(s), "must be numbers")
    n_keep = check_count("n_keep", n_keep, least=0)
    n_skip = check_count("n_skip", n_skip, least=0)
    n = scores.shape[0]
    if n_keep + n_skip > n:
        raise ValueError(
            f"n_keep and n_skip must be together at most the {n} scores, not {n_keep} and "
            f"{n_skip}"
        )
    order = jnp.argsort(scores, descending=True)
    return jnp.sort(order[n_skip : n_skip + n_keep])
