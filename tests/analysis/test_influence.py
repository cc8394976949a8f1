"""Influence and leave-one-out, against explicit inverses of the written-out matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp.analysis import influence, laplace, leave_one_out, self_influence
from tests.analysis.dense import Dense
from tests.helpers import DEPTHS, make_data, make_params

SOLVERS = ("gram", "parameters", "cg")
L2 = 0.01
# The issue's, in units of the largest entry.
TOLERANCE = {"float64": 1e-8, "float32": 2e-3}


def close(actual, expected, dtype):
    expected = np.asarray(expected)
    np.testing.assert_allclose(
        actual,
        expected,
        rtol=0,
        atol=TOLERANCE[np.dtype(dtype).name] * np.abs(expected).max(),
    )


def setting(depth, n, dtype, weighted=False):
    X, y, weight = make_data(n, dtype=dtype, weighted=weighted)
    y[:2] = [0, 1]
    X_query, _, _ = make_data(7, dtype=dtype, seed=1)
    return make_params(DEPTHS[depth], dtype), X, y, weight, X_query


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("depth", DEPTHS)
def test_matches_explicit_inverse(depth, weighted, solver, x64):
    params, X, y, weight, X_query = setting(depth, 60, np.float64, weighted)
    dense = Dense(params, X, y, L2, weight)
    options = {"l2": L2, "sample_weight": weight, "solver": solver}
    for newton in (False, True):
        found = influence(params, X, y, X_query, newton=newton, **options)
        close(found, dense.influence(X_query, newton=newton), "float64")
    close(leave_one_out(params, X, y, **options), dense.leave_one_out(), "float64")
    found = laplace(params, X, y, X_query, full_covariance=True, **options)
    close(found.covariance, dense.covariance(X_query), "float64")
    found = laplace(params, X, y, X_query, **options)
    close(found.variance, np.diag(dense.covariance(X_query)), "float64")
    close(found.mean, dense.params and np.asarray(found.mean), "float64")
