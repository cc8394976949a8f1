r"""Three ways to apply the inverse of a damped Gauss-Newton matrix.

All work on the matrix $H = S^\top S + \lambda I$ of the rows $S$ of logit
gradients scaled by the roots of their curvature, and answer the same four questions:
`cross`, `leverages`, `variance` and `covariance`. They differ in what they factorise.
"""

from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.sparse.linalg import cg

from jaxmlp.analysis.rows import (
    map_rows,
    matrix,
    matrix_block,
    n_parameters,
    rows_in_block,
    sum_rows,
)
from jaxmlp.core.factors import Factors
from jaxmlp.core.params import Params
from jaxmlp.gradients import (
    directional,
    inner_products,
    materialize,
    squared_norms,
    weighted_sum,
)

_PANEL = 1024
"""Columns of a triangular inverse at a time."""

MOST_ITERATIONS = 10_000
"""Of conjugate gradients, which need far fewer unless λ is tiny."""


class Solver(Protocol):
    r"""What is asked of $H^{-1}$; F has the rows of `factors`.

    `rows` are the training rows S.
    """

    @property
    def rows(self) -> Factors:
        """S."""
        ...

    def cross(self, factors: Factors) -> jax.Array:
        r"""$F H^{-1} S^\top$, `(m, n)`."""
        ...

    def leverages(self) -> jax.Array:
        r"""Diagonal of $S H^{-1} S^\top$, `(n,)`, each in [0, 1)."""
        ...

    def covariance(self, factors: Factors) -> jax.Array:
        r"""$F H^{-1} F^\top$, `(m, m)`."""
        ...

    def variance(self, factors: Factors) -> jax.Array:
        """Diagonal of the covariance, `(m,)`."""
        ...


class GramSolver(NamedTuple):
    r"""In function space, by Woodbury's identity.

    $$
    H^{-1} = \left(I - S^\top A^{-1} S\right) / \lambda, \qquad
    A = S S^\top + \lambda I = L L^\top
    $$

    so that $F H^{-1} S^\top = F S^\top A^{-1}$ and
    $S H^{-1} S^\top = I - \lambda A^{-1}$. No array has P columns.

    Attributes:
      rows: S.
      l2: λ.
      cholesky: L, `(n, n)`.
    """

    rows: Factors
    l2: jax.Array
    cholesky: jax.Array

    def cross(self, factors: Factors) -> jax.Array:
        """As in `Solver`."""
        products = inner_products(self.rows, factors)
        half = _solve_lower(self.cholesky, products)
        return _solve_lower(self.cholesky, half, transpose=True).T

    def leverages(self) -> jax.Array:
        """As in `Solver`."""
        # 1 - λ (A^-1)_ii, where (A^-1)_ii is the square of column i of L^-1, with
        # L_ii^2 = |S_i|^2 + λ - (L_i1^2 + … + L_ii-1^2): the ones are cancelled by hand,
        # since rows of hardly any curvature have leverages far below 1.
        n = self.rows.n_samples
        left: list[jax.Array] = []
        below: list[jax.Array] = []
        # Columns of L^-1 are zero above the diagonal: each panel solves what is below.
        for start in range(0, n, _PANEL):
            # One after the other: side by side, the corners take several times L's memory.
            L, left, below = jax.lax.optimization_barrier((self.cholesky, left, below))
            size = min(_PANEL, n - start)
            rows = jnp.tril(L[start : start + size, : start + size], start - 1)
            left.append(jnp.sum(rows**2, axis=1))
            identity = jnp.eye(n - start, size, dtype=L.dtype)
            columns = jnp.tril(_solve_lower(L[start:, start:], identity), -1)
            below.append(jnp.sum(columns**2, axis=0))
        squares = squared_norms(self.rows)
        own = (squares - jnp.concatenate(left)) / jnp.diag(self.cholesky) ** 2
        leverages = own - self.l2 * jnp.concatenate(below)
        return jnp.clip(leverages, 0, squares / self.l2)

    def covariance(self, factors: Factors) -> jax.Array:
        """As in `Solver`."""
        half = _solve_lower(self.cholesky, inner_products(self.rows, factors))
        return (inner_products(factors, factors) - half.T @ half) / self.l2

    def variance(self, factors: Factors) -> jax.Array:
        """As in `Solver`."""
        itemsize = self.cholesky.dtype.itemsize
        size = rows_in_block(factors, 3 * self.rows.n_samples * itemsize)

        def of_block(block: Factors) -> jax.Array:
            half = _solve_lower(self.cholesky, inner_products(self.rows, block))
            return (squared_norms(block) - jnp.sum(half**2, axis=0)) / self.l2

        return map_rows(of_block, factors, size)


class ParameterSolver(NamedTuple):
    r"""In parameter space: $H = S^\top S + \lambda I = L L^\top$.

    Attributes:
      rows: S.
      cholesky: L, `(P, P)`.
    """

    rows: Factors
    cholesky: jax.Array

    def cross(self, factors: Factors) -> jax.Array:
        """As in `Solver`."""
        half = _solve_lower(self.cholesky, matrix(factors).T)
        inverse = _solve_lower(self.cholesky, half, transpose=True)
        size = matrix_block(self.rows)
        return map_rows(lambda block: matrix(block) @ inverse, self.rows, size).T

    def leverages(self) -> jax.Array:
        """As in `Solver`."""
        return self.variance(self.rows)

    def covariance(self, factors: Factors) -> jax.Array:
        """As in `Solver`."""
        half = _solve_lower(self.cholesky, matrix(factors).T)
        return half.T @ half

    def variance(self, factors: Factors) -> jax.Array:
        """As in `Solver`."""

        def of_block(block: Factors) -> jax.Array:
            return jnp.sum(_solve_lower(self.cholesky, matrix(block).T) ** 2, axis=0)

        return map_rows(of_block, factors, matrix_block(factors))


class IterativeSolver(NamedTuple):
    r"""Without a matrix: conjugate gradients on products with factors.

    Each product $H v = S^\top (S v) + \lambda v$ is a directional derivative and a
    weighted sum; each row of F takes one solution. Where it does not converge, what is
    asked is not a number.

    Attributes:
      rows: S.
      l2: λ.
    """

    rows: Factors
    l2: jax.Array

    def cross(self, factors: Factors) -> jax.Array:
        """As in `Solver`."""

        def of_block(block: Factors) -> jax.Array:
            return jax.vmap(partial(directional, self.rows))(self._solve(block))

        return map_rows(of_block, factors, self._size(factors))

    def leverages(self) -> jax.Array:
        """As in `Solver`."""
        return self.variance(self.rows)

    def covariance(self, factors: Factors) -> jax.Array:
        """As in `Solver`."""

        def of_block(block: Factors) -> jax.Array:
            return jax.vmap(partial(directional, factors))(self._solve(block))

        return map_rows(of_block, factors, self._size(factors))

    def variance(self, factors: Factors) -> jax.Array:
        """As in `Solver`."""

        def of_block(block: Factors) -> jax.Array:
            solutions = self._solve(block)
            products = jax.tree.map(
                lambda a, b: jnp.sum(a * b, axis=range(1, a.ndim)),
                solutions,
                materialize(block),
            )
            return jnp.sum(jnp.stack(jax.tree.leaves(products)), axis=0)

        return map_rows(of_block, factors, self._size(factors))

    def _solve(self, factors: Factors) -> Params:
        """The rows' solutions, stacked along a leading axis."""
        dtype = factors.scale.dtype
        tolerance = 8 * float(np.finfo(dtype).eps)

        def product(v: Params) -> Params:
            Hv = weighted_sum(self.rows, directional(self.rows, v))
            return jax.tree.map(lambda a, b: a + self.l2 * b, Hv, v)

        def solve_one(gradient: Params) -> Params:
            # Not constant zeros: the sum over (h @ constant) * delta, compiled for a CPU
            # by jaxlib 0.12.0.1, reads memory that nobody wrote.
            zeros = jax.tree.map(lambda array: 0 * array, gradient)
            found, _ = cg(
                product, gradient, x0=zeros, tol=tolerance, maxiter=MOST_ITERATIONS
            )
            left = jax.tree.map(lambda a, b: a - b, gradient, product(found))
            most = float(np.sqrt(np.finfo(dtype).eps)) * optax.tree.norm(gradient)
            is_solved = optax.tree.norm(left) <= most
            return jax.tree.map(lambda a: jnp.where(is_solved, a, jnp.nan), found)

        # By the unscaled gradients: squares of hardly any curvature would underflow.
        scale = factors.scale
        unscaled = materialize(factors._replace(scale=jnp.ones_like(scale)))
        return jax.vmap(
            lambda gradient, scale: jax.tree.map(lambda a: scale * a, solve_one(gradient))
        )(unscaled, scale)

    def _size(self, factors: Factors) -> int:
        widths = [array.shape[1] for array in self.rows.inputs]
        itemsize = factors.scale.dtype.itemsize
        of_rows = 2 * self.rows.n_samples * max(widths)
        return rows_in_block(
            factors, itemsize * (of_rows + 6 * n_parameters(factors.params))
        )


def make_solver(name: str, rows: Factors, l2: jax.Array) -> Solver:
    """Factorises what the name says, and nothing for `"cg"`; traced."""
    if name == "gram":
        A = inner_products(rows, rows)
        return GramSolver(rows, l2, _cholesky(_add_to_diagonal(A, l2)))
    if name == "parameters":
        H = gram_in_parameters(rows)
        return ParameterSolver(rows, _cholesky(_add_to_diagonal(H, l2)))
    return IterativeSolver(rows, l2)


def gram_in_parameters(rows: Factors) -> jax.Array:
    r"""$S^\top S$, `(P, P)`."""

    def of_block(block: Factors) -> jax.Array:
        J = matrix(block)
        return J.T @ J

    return sum_rows(of_block, rows, matrix_block(rows))


def _add_to_diagonal(A: jax.Array, value: jax.Array) -> jax.Array:
    return A.at[jnp.diag_indices_from(A)].add(value)


def _cholesky(A: jax.Array) -> jax.Array:
    """L of a matrix made symmetric; not numbers where it is not positive definite."""
    return jax.lax.linalg.cholesky(A, symmetrize_input=False)


def _solve_lower(L: jax.Array, B: jax.Array, *, transpose: bool = False) -> jax.Array:
    return jax.lax.linalg.triangular_solve(
        L, B, left_side=True, lower=True, transpose_a=transpose
    )
