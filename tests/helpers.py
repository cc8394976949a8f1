"""Data, oracles and comparisons that many tests share."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmlp import bce_with_logits, forward, init_params

DEPTHS = {0: (5, 1), 1: (5, 7, 1), 2: (5, 7, 4, 1)}
"""Layer sizes by number of hidden layers."""


def make_data(n, p=5, dtype=np.float32, seed=0, weighted=False):
    """Random features, labels and, if wanted, weights with some zeros."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)).astype(dtype)
    y = rng.integers(0, 2, n)
    if not weighted:
        return X, y, None
    weight = rng.integers(0, 3, n) * rng.uniform(0.5, 1.5, n)
    weight[0] = 1.0
    return X, y, weight.astype(dtype)


def make_params(layer_sizes, dtype=np.float32, seed=0):
    """He-initialised parameters with random biases, so that no gradient is special."""
    params = init_params(jax.random.key(seed), layer_sizes, dtype=dtype)
    keys = jax.random.split(jax.random.key(seed + 1), len(params))
    return tuple(
        layer._replace(b=0.3 * jax.random.normal(key, layer.b.shape, dtype))
        for layer, key in zip(params, keys, strict=True)
    )


@jax.jit
def mean_loss(params, X, y, sample_weight=None):
    """The loss that `jax.grad` differentiates, written apart from the package's own."""
    losses = bce_with_logits(forward(params, X), y)
    if sample_weight is None:
        return jnp.mean(losses)
    weight = jnp.asarray(sample_weight, losses.dtype)
    total = jnp.sum(weight)
    return jnp.sum(weight * losses) / jnp.where(total > 0, total, 1)


def penalized_loss(params, X, y, weight, l2, penalize_bias):
    """`mean_loss` with an L2 penalty."""
    squares = sum(jnp.sum(layer.w**2) for layer in params)
    if penalize_bias:
        squares += sum(jnp.sum(layer.b**2) for layer in params)
    return mean_loss(params, X, y, weight) + l2 / 2 * squares


def relative_error(actual, expected):
    """Largest difference of two pytrees, in units of the largest expected entry.

    Taken leaf by leaf, so that a small bias gradient is not hidden by large weights.
    """
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    return max(_relative_error(np.asarray(a), np.asarray(e)) for a, e in pairs)


def _relative_error(actual, expected):
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    assert np.isfinite(actual).all()
    scale = np.abs(expected).max(initial=0)
    difference = np.abs(actual.astype(float) - expected.astype(float)).max(initial=0)
    return difference if scale == 0 else difference / scale
