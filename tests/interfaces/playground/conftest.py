import jax
import numpy as np
import pytest

from jaxmlp.interfaces.playground.runs import Grid, train_all
from jaxmlp.interfaces.playground.sets import make_set

GRID = Grid((0.3, 1e30), (2, 3), (16, None), ("he", "zero"), 12)


def make_points(n=60, **others):
    X = np.random.default_rng(0).normal(size=(n, 2)) * [2.0, 50.0] + [1.0, 300.0]
    y = ((X[:, 0] - 1) * (X[:, 1] - 300) > 0).astype(np.int32)
    given = {"axes": ("a", "b"), "classes": ("no", "yes"), "n_rows": n, **others}
    return make_set(jax.random.key(0), "points", X, y, **given)


@pytest.fixture(scope="session")
def replay():
    return train_all(jax.random.key(1), make_points(), GRID)
