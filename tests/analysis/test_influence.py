"""Influence and leave-one-out, against explicit inverses of the written-out matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp import Layer, bce_with_logits
from jaxmlp.analysis import (
    influence,
    laplace,
    laplace_l2,
    leave_one_out,
    rows,
    self_influence,
    solvers,
)
from jaxmlp.analysis.curvature import choose_solver, fit_curvature, query_factors
from tests.analysis.dense import Dense, jacobian
from tests.helpers import DEPTHS, make_data, make_params

SOLVERS = ("gram", "parameters", "cg")
L2 = 0.01
# The issue's, in units of the largest entry; float32 as measured, with room.
TOLERANCE = {"float64": 1e-8, "float32": 2e-3}


def close(actual, expected, dtype=np.float64):
    expected = np.asarray(expected)
    tolerance = TOLERANCE[np.dtype(dtype).name] * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def setting(depth=1, n=60, dtype=np.float64, weighted=False):
    X, y, weight = make_data(n, dtype=dtype, weighted=weighted)
    y[:2] = [0, 1]
    X_query, _, _ = make_data(7, dtype=dtype, seed=1)
    return make_params(DEPTHS[depth], dtype), X, y, weight, X_query


@jax.jit
def all_answers(training, factors):
    solver = training.solver
    return (
        solver.cross(factors),
        solver.leverages(),
        solver.covariance(factors),
        solver.variance(factors),
    )


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("depth", "weighted"), [(0, True), (1, False), (1, True), (2, True)]
)
def test_solvers_match_explicit_inverse(depth, weighted, solver, x64):
    params, X, y, weight, X_query = setting(depth, weighted=weighted)
    dense = Dense(params, X, y, L2, weight)
    training = fit_curvature(
        params,
        X,
        y,
        l2=L2,
        sample_weight=weight,
        solver=solver,
        memory_limit=2**32,
        n_solutions=1,
    )
    cross, leverages, covariance, variance = all_answers(
        training, query_factors(params, X_query)[1]
    )
    J = jacobian(params, X_query)
    close(cross, J @ dense.inverse @ dense.J.T * np.sqrt(dense.d))
    close(leverages, dense.leverage)
    close(covariance, J @ dense.inverse @ J.T)
    close(variance, np.diag(J @ dense.inverse @ J.T))


def test_conjugate_gradients_start_from_zeros_that_are_computed(x64):
    """From constant ones, XLA's kernels for hundreds of rows read memory never written."""
    X, y, _ = make_data(400, p=30, dtype=np.float64)
    params = make_params((30, 16, 1), np.float64)
    dense = Dense(params, X, y, L2)
    variance = laplace(params, X, y, X[:9], l2=L2, solver="cg").variance
    J = jacobian(params, X[:9])
    close(variance, np.einsum("ip,pq,iq->i", J, dense.inverse, J) / 400)


@pytest.mark.parametrize("ask", ["influence", "groups", "own", "self", "laplace"])
def test_conjugate_gradients_say_when_they_did_not_converge(ask, monkeypatch):
    monkeypatch.setattr(solvers, "MOST_ITERATIONS", 3)
    params, X, y, _, X_query = setting(n=61, dtype=np.float32)  # no other test's shape
    options = {"l2": 1e-6, "solver": "cg"}
    asked = {
        "influence": lambda: influence(params, X, y, X_query, newton=False, **options),
        "groups": lambda: influence(params, X, y, X_query, groups=[[0, 1]], **options),
        "own": lambda: leave_one_out(params, X, y, **options),
        "self": lambda: self_influence(params, X, y, newton=False, **options),
        "laplace": lambda: laplace(params, X, y, X_query, **options),
    }
    with pytest.raises(
        ValueError, match=r"did not converge .* l2=1e-06 .*greater l2.*float64"
    ):
        asked[ask]()


@pytest.mark.parametrize("solver", SOLVERS[:2])
@pytest.mark.parametrize("depth", DEPTHS)
def test_matches_explicit_inverse(depth, solver, x64):
    params, X, y, weight, X_query = setting(depth, weighted=True)
    dense = Dense(params, X, y, L2, weight)
    options = {"l2": L2, "sample_weight": weight, "solver": solver}
    for newton in (False, True):
        found = influence(params, X, y, X_query, newton=newton, **options)
        close(found, dense.influence(X_query, newton=newton))
    close(leave_one_out(params, X, y, **options), dense.leave_one_out())
    covariance = dense.covariance(X_query)
    found = laplace(params, X, y, X_query, full_covariance=True, **options)
    close(found.covariance, covariance)
    np.testing.assert_array_equal(found.variance, jnp.diag(found.covariance))
    found = laplace(params, X, y, X_query, **options)
    close(found.variance, np.diag(covariance))


@pytest.mark.parametrize("depth", DEPTHS)
def test_large_jitted_in_either_precision(depth, dtype):
    params, X, y, _, X_query = setting(depth, 40_000, dtype)
    found = jax.jit(lambda *a: influence(*a, l2=L2))(params, X, y, X_query)
    wide = (params, X, X_query)
    with jax.enable_x64(True):
        params, X, X_query = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), wide)
        close(found, Dense(params, X, y, L2).influence(X_query), dtype)


@pytest.mark.parametrize("solver", SOLVERS)
def test_small_in_float32(solver):
    params, X, y, _, X_query = setting(dtype=np.float32)
    found = influence(params, X, y, X_query, l2=L2, solver=solver)
    own = leave_one_out(params, X, y, l2=L2, solver=solver)
    assert found.dtype == own.dtype == np.float32
    wide = (params, X, X_query)
    with jax.enable_x64(True):
        params, X, X_query = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), wide)
        dense = Dense(params, X, y, L2)
        close(found, dense.influence(X_query), np.float32)
        close(own, dense.leave_one_out(), np.float32)


@pytest.mark.parametrize("solver", SOLVERS[:2])
def test_groups(solver, x64):
    params, X, y, weight, X_query = setting(weighted=True)
    dense = Dense(params, X, y, L2, weight)
    groups = [[3], np.array([5, 1, 8, 20]), range(30, 50)]
    for newton in (False, True):
        found = influence(
            params,
            X,
            y,
            X_query,
            l2=L2,
            sample_weight=weight,
            groups=groups,
            newton=newton,
            solver=solver,
        )
        for column, group in zip(found.T, groups, strict=True):
            close(column, dense.group(X_query, list(group), newton=newton))


def test_probability_and_loss(x64):
    params, X, y, _, X_query = setting()
    y_query = np.array([0, 1, 1, 0, 1, 0, 1])
    dense = Dense(params, X, y, L2)
    z = np.asarray(laplace(params, X, y, X_query, l2=L2).mean)[:, None]
    p, y_column = 1 / (1 + np.exp(-z)), y_query[:, None]

    def loss(z):
        return np.logaddexp(0, np.where(y_column == 1, -z, z))

    change = dense.influence(X_query)
    found = influence(params, X, y, X_query, l2=L2, output="probability")
    close(found, 1 / (1 + np.exp(-z - change)) - p)
    found = influence(params, X, y, X_query, l2=L2, output="loss", y_query=y_query)
    close(found, loss(z + change) - loss(z))
    change = dense.influence(X_query, newton=False)
    options = {"l2": L2, "newton": False}
    close(influence(params, X, y, X_query, output="probability", **options),
          p * (1 - p) * change)  # fmt: skip
    close(influence(params, X, y, X_query, output="loss", y_query=y_query, **options),
          (p - y_column) * change)  # fmt: skip


def test_self_influence_is_the_diagonal(x64):
    params, X, y, _, _ = setting()
    dense = Dense(params, X, y, L2)
    losses = bce_with_logits(jnp.asarray(dense.z), y)
    without = bce_with_logits(jnp.asarray(dense.leave_one_out()), y)
    found = self_influence(params, X, y, l2=L2)
    close(found, without - losses)
    assert (found >= 0).all()
    first = np.diag(dense.influence(X, newton=False)) * (dense.p - y)
    close(self_influence(params, X, y, l2=L2, newton=False), first)


@pytest.mark.parametrize("solver", SOLVERS[:2])
def test_invariants(solver, x64):
    params, X, y, weight, X_query = setting(weighted=True)
    options = {"l2": L2, "solver": solver}
    found = influence(params, X, y, X_query, sample_weight=weight, **options)
    order = np.random.default_rng(0).permutation(len(y))
    permuted = influence(
        params, X[order], y[order], X_query, sample_weight=weight[order], **options
    )
    close(permuted, found[:, order])
    # A row without weight is no row: its removal changes nothing.
    absent = weight == 0
    assert absent.any()
    np.testing.assert_array_equal(found[:, absent], 0)
    own = leave_one_out(params, X, y, sample_weight=weight, **options)
    np.testing.assert_array_equal(own[absent], Dense(params, X, y, L2).z[absent])
    without = influence(
        params, X[~absent], y[~absent], X_query, sample_weight=weight[~absent], **options
    )
    close(found[:, ~absent], without)
    # Units that are all zero change nothing.
    first, last = params
    padded = (
        Layer(jnp.pad(first.w, ((0, 0), (0, 3))), jnp.pad(first.b, (0, 3))),
        Layer(jnp.pad(last.w, ((0, 3), (0, 0))), last.b),
    )
    close(influence(padded, X, y, X_query, sample_weight=weight, **options), found)


def test_weight_two_is_the_row_twice(x64):
    params, X, y, _, X_query = setting()
    weight = np.ones(len(y))
    weight[4] = 2
    twice = np.r_[np.arange(len(y)), 4]
    a = influence(params, X, y, X_query, l2=L2, sample_weight=weight)[:, 4]
    b = influence(params, X[twice], y[twice], X_query, l2=L2, groups=[[4, len(y)]])[:, 0]
    close(a, b)


@pytest.mark.parametrize("solver", SOLVERS)
def test_blocks_change_nothing(solver, x64, monkeypatch):
    params, X, y, _, X_query = setting(n=61)  # a shape that nothing is compiled for yet
    whole = influence(params, X, y, X_query, l2=L2, solver=solver)
    variance = laplace(params, X, y, X_query, l2=L2, solver=solver).variance
    left_out = laplace_l2(params, X, y, l2=L2).plain_log_loss
    jax.clear_caches()
    monkeypatch.setattr(rows, "_BLOCK_BYTES", 20_000)
    monkeypatch.setattr(solvers, "_PANEL", 8)
    close(influence(params, X, y, X_query, l2=L2, solver=solver), whole)
    close(laplace(params, X, y, X_query, l2=L2, solver=solver).variance, variance)
    close(laplace_l2(params, X, y, l2=L2).plain_log_loss, left_out)
    jax.clear_caches()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("margin", [20, 60, 200, 1e4])  # of curvature 1e-9 to 0
def test_row_far_on_the_wrong_side(margin, solver, dtype):
    """The row keeps a residual of 1, however little curvature it has."""
    params, X, y, weight, X_query = setting(0, n=50, dtype=dtype, weighted=True)
    X[7] = margin / float(np.sum(params[0].w ** 2)) * params[0].w[:, 0]
    y[7] = 0
    options = {"l2": L2, "sample_weight": weight, "solver": solver}
    change = influence(params, X, y, X_query, **options)
    own = leave_one_out(params, X, y, **options)
    loss = self_influence(params, X, y, **options)
    wide = (params, X, X_query)
    with jax.enable_x64(True):
        params, X, X_query = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), wide)
        dense = Dense(params, X, y, L2, weight)
        close(change, dense.influence(X_query), dtype)
    tolerance = {"rtol": TOLERANCE[np.dtype(dtype).name]}
    np.testing.assert_allclose(own, dense.leave_one_out(), **tolerance)
    push = np.logaddexp(0, own[7]) - np.logaddexp(0, dense.z[7])
    np.testing.assert_allclose(loss[7], push, **tolerance)
    assert np.isfinite(loss).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_transformations(solver, x64):
    """What a traced function closes over is checked; what is traced is not."""
    params, X, y, _, X_query = setting()
    options = {"l2": L2, "solver": solver, "newton": solver != "cg"}
    whole = influence(params, X, y, X_query, **options)
    of_query = lambda query: influence(params, X, y, query, **options)
    np.testing.assert_allclose(jax.jit(of_query)(X_query), whole, rtol=1e-9)
    one_by_one = jax.vmap(lambda x: of_query(x[None, :])[0])(X_query)
    np.testing.assert_allclose(one_by_one, whole, rtol=1e-9)
    own = lambda l2: leave_one_out(params, X, y, l2=l2, solver=solver)[3]
    step = 1e-6
    slope = (own(L2 + step) - own(L2 - step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(own))(L2), slope, rtol=1e-5)
    with pytest.raises(ValueError, match="X_train must be finite"):
        jax.jit(lambda q: influence(params, nan_at(X, 3), y, q, l2=L2))(X_query)


def test_logistic_regression_without_penalty(x64):
    params, X, y, _, X_query = setting(0)
    close(influence(params, X, y, X_query, l2=0), Dense(params, X, y, 0).influence(X_query))


GOOD = make_params((5, 7, 1))
X, Y, _ = make_data(30)
QUERY = X[:3]


def nan_at(array, place):
    array = np.array(array, float)
    array[place] = np.nan
    return array


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X_train": nan_at(X, (2, 1))}, "X_train must be finite; row 2, column 1 is nan"),
        ({"X_query": nan_at(QUERY, (1, 0))}, "X_query must be finite; row 1, column 0"),
        ({"X_query": np.full((3, 5), 1e300)}, "X_query must be finite; row 0"),
        ({"params": jax.tree.map(lambda a: a.astype(np.float16), GOOD)}, "not float16"),
        ({"X_query": QUERY[:, :4]}, r"X_query must have shape \(n, 5\).*\(3, 4\)"),
        ({"X_query": QUERY[:0]}, "X_query is empty"),
        ({"X_train": X[:, :4]}, r"X_train must have shape \(n, 5\)"),
        ({"y_train": np.ones(30)}, "y_train holds label 1.0 only; rows of both classes"),
        ({"y_train": Y + 1}, "y_train must hold labels 0 and 1; row"),
        ({"y_train": Y[:4]}, "X_train and y_train must have shapes"),
        ({"params": (GOOD[0],)}, "params must be layers"),
        ({"params": jax.tree.map(lambda a: a * np.nan, GOOD)}, "params must be finite"),
        ({"l2": -1.0}, "l2 must be a finite number from 0, in float32, not -1.0"),
        ({"l2": float("nan")}, "l2 must be a finite number from 0"),
        ({"l2": 0.0}, r"not positive definite at l2=0 in float32: give a greater l2"),
        ({"l2": 0.0, "solver": "gram"}, "l2 must be above 0 for solver 'gram'"),
        ({"l2": 0.0, "memory_limit": 1}, "l2 must be above 0 for a network of 50"),
        ({"solver": "lu"}, "solver must be one of auto, gram, parameters, cg, not 'lu'"),
        (
            {"solver": "gram", "memory_limit": 100},
            "solver 'gram' needs .* for 30 rows and 50 parameters.*give solver='auto'",
        ),
        ({"sample_weight": np.ones(3)}, r"sample_weight must have shape \(30,\)"),
        ({"sample_weight": -np.ones(30)}, "sample_weight must be finite and not negative"),
        ({"sample_weight": np.zeros(30)}, "sample_weight must not be zero in all rows"),
        (
            {"sample_weight": Y.astype(float)},
            "zero in all rows of a class: y_train is 1 in",
        ),
        ({"output": "odds"}, "output must be one of logit, probability, loss"),
        ({"output": "loss"}, "y_query, the queries' labels, must be given"),
        ({"y_query": np.ones(3)}, "y_query, the queries' labels, must be given"),
        ({"output": "loss", "y_query": np.ones(2)}, "X_query and y_query must have shapes"),
        ({"groups": []}, "groups must hold at least one group"),
        ({"groups": [[0], [30]]}, r"groups\[1\] must hold row numbers from 0 to 29"),
        ({"groups": [[0.5]]}, r"groups\[0\] must hold row numbers"),
        ({"groups": [[1, 1]]}, r"groups\[0\] names a row twice"),
    ],
)
def test_bad_input(changed, message):
    arguments = {"params": GOOD, "X_train": X, "y_train": Y, "X_query": QUERY, "l2": L2}
    with pytest.raises(ValueError, match=message):
        influence(**{**arguments, **changed})


def test_choice_of_solver():
    small, large = make_params((5, 7, 1)), make_params((50, 100, 1))
    limit = 2**32
    assert choose_solver(small, 40, L2, "auto", limit, 1) == "gram"
    assert choose_solver(small, 4000, L2, "auto", limit, 1) == "parameters"
    assert choose_solver(large, 4000, L2, "auto", limit, 1) == "gram"
    assert choose_solver(large, 50_000, L2, "auto", limit, 1) == "parameters"
    assert choose_solver(large, 50_000, L2, "auto", 2**20, 1) == "cg"
    assert choose_solver(small, 40, 0, "auto", limit, 1) == "parameters"
    assert choose_solver(large, 4000, L2, "cg", limit, 4000) == "cg"
    with pytest.raises(ValueError, match="50000 runs of conjugate gradients may take long"):
        choose_solver(large, 50_000, L2, "auto", 2**20, 50_000)
