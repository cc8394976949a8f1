"""Pairs of examples: inner products of gradients, and how alike they point."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core.factors import Factors, squared_norms_per_scale, weighted_sum
from jaxmlp.core.validate import check_count
from jaxmlp.gradients.moments import squared_norm
from jaxmlp.gradients.validate import check_labels

_MEMORY_LIMIT = 2**28


def inner_products(
    f: Factors, g: Factors, *, per_layer: bool = False, memory_limit: int = _MEMORY_LIMIT
) -> jax.Array:
    r"""Inner products of all pairs of gradients, $\langle f_i, g_j \rangle$.

    $$
    \sum_l \left(H_l H_l'^\top + 1\right) \odot \left(\Delta_l
    \Delta_l'^\top\right)
    $$

    Of logit factors, the empirical neural tangent kernel. Not divided by anything.

    Args:
      f: From `loss_factors` or `logit_factors`, n examples.
      g: The same of a network with the same layer sizes, m examples.
      per_layer: Whether to keep the terms of the sum.
      memory_limit: Bytes of temporary arrays, beside the result and the factors' `layers`.
        What needs more is computed by blocks of rows of f, at least one row each.

    Returns:
      `(n, m)`, or `(n_layers, n, m)` per layer.

    Raises:
      ValueError: The layer sizes differ.

    Source:
      Jacot, Gabriel and Hongler (2018), arXiv 1806.07572; factors as in the table of
      Novak and others (2022), arXiv 2206.08720.
    """
    if _sizes(f) != _sizes(g):
        raise ValueError(
            f"f and g must be of networks with the same layer sizes, not {_sizes(f)} and "
            f"{_sizes(g)}"
        )
    memory_limit = check_count("memory_limit", memory_limit, most=2**63)
    n, m = f.n_samples, g.n_samples
    row_bytes = f.scale.dtype.itemsize * (m * (4 + per_layer * len(f.params)) + _width(f))
    n_rows = max(1, min(n, memory_limit // row_bytes))
    if n_rows == n:
        return _inner_products(f, g, per_layer)
    # The last block begins earlier, so that all have one size, and the result is written
    # in place.
    starts = [*range(0, n - n_rows, n_rows), n - n_rows]

    def write(i: jax.Array, result: jax.Array) -> jax.Array:
        start = jnp.asarray(starts)[i]
        block = _inner_products(_rows(f, start, n_rows), g, per_layer)
        return jax.lax.dynamic_update_slice_in_dim(result, block, start, axis=-2)

    shape = (len(f.params), n, m) if per_layer else (n, m)
    empty = jnp.zeros(shape, f.scale.dtype)
    return jax.lax.fori_loop(0, len(starts), write, empty)


def _inner_products(f: Factors, g: Factors, per_layer: bool) -> jax.Array:
    terms = (
        (h @ k.T + 1) * (delta @ epsilon.T)
        for (h, delta), (k, epsilon) in zip(f.layers, g.layers, strict=True)
    )
    if per_layer:
        return jnp.stack(list(terms))
    total = next(terms)
    for term in terms:
        total += term
    return total


def _rows(f: Factors, start: jax.Array, n_rows: int) -> Factors:
    def cut(array: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(array, start, n_rows)

    return Factors(f.params, *jax.tree.map(cut, f[1:]))


def _sizes(f: Factors) -> tuple[int, ...]:
    return (f.params[0].w.shape[0], *(layer.b.shape[0] for layer in f.params))


def _width(f: Factors) -> int:
    return 2 * sum(_sizes(f))


def unit(factors: Factors) -> Factors:
    """Scales every example's gradient to norm 1; a zero gradient stays zero."""
    return factors._replace(
        scale=jnp.sign(factors.scale) / jnp.sqrt(squared_norms_per_scale(factors))
    )


def cosine_similarity(
    f: Factors, g: Factors, *, memory_limit: int = _MEMORY_LIMIT
) -> jax.Array:
    r"""Cosine of the angle between gradients of all pairs.

    $$
    \frac{\langle f_i, g_j \rangle}{\lVert f_i \rVert \lVert g_j \rVert}
    $$

    Near 1, a step for one example helps the other; near -1, it harms it.

    Args:
      f: From `loss_factors`, n examples.
      g: The same of a network with the same layer sizes, m examples.
      memory_limit: As of `inner_products`.

    Returns:
      `(n, m)`, in [-1, 1]; 0 for a zero gradient.

    Source:
      Fort, Nowak, Jastrzębski and Narayanan (2019), arXiv 1901.09491, "cosine stiffness".
    """
    products = inner_products(unit(f), unit(g), memory_limit=memory_limit)
    return jnp.clip(products, -1, 1)  # of a row with itself, rounding gives a little more


def class_similarity(factors: Factors, y: ArrayLike) -> jax.Array:
    r"""Mean cosine between gradients of examples of two classes.

    $$
    C_{ab} = \operatorname{E}_{i \in a,\, j \in b,\, i \ne j} \cos(g_i, g_j)
    $$

    From the sums of unit gradients of each class: no n × n matrix is formed.

    Args:
      factors: From `loss_factors`.
      y: Labels in {0, 1}, `(n,)`.

    Returns:
      Symmetric, `(2, 2)`; NaN for classes with too few examples to make a pair.

    Raises:
      ValueError: y is not `(n,)`, or holds other labels than 0 and 1.

    Source:
      Fort, Nowak, Jastrzębski and Narayanan (2019), arXiv 1901.09491, "class stiffness".
    """
    y = jnp.asarray(y, factors.scale.dtype)
    if y.shape != factors.scale.shape:
        raise ValueError(
            f"y must have shape {factors.scale.shape}, one label an example, not {y.shape}"
        )
    check_labels(y)
    members = jnp.stack([y == 0, y == 1]).astype(factors.scale.dtype)
    units = unit(factors)
    sums = [weighted_sum(units, member) for member in members]
    across = jax.tree.leaves(jax.tree.map(jnp.vdot, *sums))
    counts = members.sum(axis=1)
    n_units = (members * jnp.abs(jnp.sign(factors.scale))[None, :]).sum(axis=1)
    products = jnp.stack(
        [squared_norm(sums[0]), jnp.stack(across).sum(), squared_norm(sums[1])]
    )
    # Of a class, pairs of different examples alone.
    products -= jnp.stack([n_units[0], jnp.zeros_like(n_units[0]), n_units[1]])
    n_pairs = jnp.stack(
        [counts[0] * (counts[0] - 1), counts[0] * counts[1], counts[1] * (counts[1] - 1)]
    )
    means = jnp.where(n_pairs > 0, products / jnp.maximum(n_pairs, 1), jnp.nan)
    return means[jnp.array([[0, 1], [1, 2]])]
