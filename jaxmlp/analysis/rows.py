"""Factors cut by rows, and written out as matrices, in bounded memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmlp.core.factors import Factors
from jaxmlp.core.params import Params
from jaxmlp.gradients import materialize

_BLOCK_BYTES = 2**28
"""Size of a temporary array that is made block by block."""


def n_parameters(params: Params) -> int:
    """Number of weights and biases, P."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def matrix(factors: Factors) -> jax.Array:
    """The gradients as rows, `(n, P)`: for blocks of rows."""
    leaves = jax.tree.leaves(materialize(factors))
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def take(factors: Factors, rows: jax.Array) -> Factors:
    """Picks rows by number."""
    return Factors(factors.params, *jax.tree.map(lambda a: a[rows], factors[1:]))


def rows_in_block(factors: Factors, row_bytes: int) -> int:
    """Number of rows, from 1 to all, that a temporary array is made of at a time."""
    return max(1, min(factors.n_samples, _BLOCK_BYTES // max(1, row_bytes)))


def matrix_block(factors: Factors) -> int:
    """Number of rows that are written out at a time."""
    itemsize = factors.scale.dtype.itemsize
    return rows_in_block(factors, 2 * itemsize * n_parameters(factors.params))


def map_rows(function: Callable[[Factors], Any], factors: Factors, size: int) -> Any:
    """Applies a function of rows to blocks of them, and joins what it returns; traced.

    Args:
      function: From factors of `size` rows to arrays with that leading axis.
      factors: n rows.
      size: Rows at a time.

    Returns:
      Arrays with leading axis n.
    """
    n = factors.n_samples
    if size >= n:
        return function(factors)
    results = jax.lax.map(
        lambda arrays: function(Factors(factors.params, *arrays)), _blocks(factors, size)
    )
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], results)


def sum_rows(function: Callable[[Factors], jax.Array], factors: Factors, size: int) -> Any:
    """Sums over blocks of rows; rows whose scale is 0 must add nothing; traced."""
    if size >= factors.n_samples:
        return function(factors)
    blocks = _blocks(factors, size)
    first = Factors(factors.params, *jax.tree.map(lambda a: a[0], blocks))
    start = jnp.zeros_like(jax.eval_shape(function, first))

    def add(total: jax.Array, arrays: Any) -> tuple[jax.Array, None]:
        return total + function(Factors(factors.params, *arrays)), None

    return jax.lax.scan(add, start, blocks)[0]


def _blocks(factors: Factors, size: int) -> Any:
    """The rows' arrays, `(n_blocks, size, …)`, the last block filled up with zeros."""
    n_padding = -factors.n_samples % size

    def cut(array: jax.Array) -> jax.Array:
        padding = ((0, n_padding), *((0, 0) for _ in array.shape[1:]))
        return jnp.pad(array, padding).reshape(-1, size, *array.shape[1:])

    return jax.tree.map(cut, factors[1:])
