"""What a step cannot do without: the limit that benchmarks hold it against."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def bare_products(shape, n_steps: int) -> Callable[[], float]:
    """The two products of a step, X W and X^T D, and nothing else."""
    p, q, batch_size = shape
    rng = np.random.default_rng(0)
    # With orthonormal columns X^T (X W) is W again, so that no number over- or underflows.
    X, _ = np.linalg.qr(rng.normal(size=(batch_size, p + 1)))
    X = jnp.asarray(X, jnp.float32)
    W = jnp.asarray(rng.normal(size=(p + 1, q)), jnp.float32)

    @jax.jit
    def loop(X, W):
        return jax.lax.fori_loop(0, n_steps, lambda _, W: X.T @ (X @ W), W)

    jax.block_until_ready(loop(X, W))

    def run() -> float:
        began = time.perf_counter()
        jax.block_until_ready(loop(X, W))
        return (time.perf_counter() - began) / n_steps * 1e6

    return run
