"""Minima, and retraining, against scipy's optimiser and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer

from jaxmlp import Layer
from jaxmlp.analysis import (
    label_error_check,
    label_errors_from_logits,
    leave_one_out_check,
    linear_datamodeling_score,
    optimum,
    retrain,
)
from tests.helpers import make_data, make_params, penalized_loss

L2 = 0.02
FEW = 1000  # steps, enough for logistic regression


def separable(n=80, dtype=np.float64):
    """Features that tell the label, but for some noise."""
    X, _, _ = make_data(n, dtype=dtype)
    y = (X[:, 0] + 0.5 * np.random.default_rng(1).normal(size=n) > 0).astype(int)
    return X, y


@pytest.mark.parametrize("weighted", [False, True])
def test_logistic_regression_is_scipy_s(weighted, x64):
    X, y = separable()
    weight = make_data(80, dtype=np.float64, weighted=True)[2] if weighted else None
    share = np.ones(80) / 80 if weight is None else weight / weight.sum()

    def objective(theta):
        z = X @ theta[:-1] + theta[-1]
        return share @ np.logaddexp(0, np.where(y == 1, -z, z)) + L2 / 2 * theta @ theta

    wanted = minimize(objective, np.zeros(6), options={"gtol": 1e-10})
    start = make_params((5, 1), np.float64)
    found = optimum(start, X, y, l2=L2, sample_weight=weight, n_steps=FEW)
    theta = np.r_[found.params[0].w[:, 0], found.params[0].b]
    np.testing.assert_allclose(theta, wanted.x, atol=1e-5)
    np.testing.assert_allclose(found.value, wanted.fun, rtol=1e-9)
    assert found.gradient_norm < 1e-6
    assert found.last_decrease < 1e-9


def test_network_ends_where_no_small_step_helps(x64):
    X, y = separable()
    start = make_params((5, 8, 1), np.float64)
    found = optimum(start, X, y, l2=L2, n_steps=3000)

    def value(params):
        return float(penalized_loss(params, X, y, None, L2, True))

    assert float(found.value) == pytest.approx(value(found.params), rel=1e-12)
    assert found.value < 0.7 * value(start)
    assert 0 <= found.last_decrease < 1e-5
    for seed in range(20):
        noise = make_params((5, 8, 1), np.float64, seed)
        near = jax.tree.map(lambda a, d: a + 1e-3 * d, found.params, noise)
        assert value(near) > float(found.value)


def test_never_worse_than_at_the_start(x64):
    X, y = separable()
    best = optimum(make_params((5, 8, 1), np.float64), X, y, l2=L2, n_steps=500)
    again = optimum(best.params, X, y, l2=L2, n_steps=1)
    assert again.value <= best.value


def test_retraining_without_a_row_is_training_without_it(x64):
    X, y = separable()
    start = make_params((5, 1), np.float64)
    weights = np.ones((3, 80))
    weights[0, 7] = 0
    weights[1, 9] = 2
    found = retrain(start, X, y, weights, l2=L2, n_steps=FEW)
    without = np.delete(np.arange(80), 7)
    twice = np.r_[np.arange(80), 9]
    for i, rows in enumerate((without, twice)):
        # The sum is divided by all 80, so the mean over 79 has a stronger penalty.
        l2 = L2 * 80 / len(rows)
        wanted = optimum(start, X[rows], y[rows], l2=l2, n_steps=FEW)
        np.testing.assert_allclose(found[0].w[i], wanted.params[0].w, atol=1e-6)


def test_logistic_regression_predicts_its_own_retraining(x64):
    X, y = separable()
    params = optimum(make_params((5, 1), np.float64), X, y, l2=L2, n_steps=FEW).params
    check = leave_one_out_check(params, X, y, l2=L2, rows=np.arange(20), n_steps=FEW)
    assert check.own > 0.999
    assert check.others > 0.999
    assert check.predicted.shape == check.retrained.shape == (20, 80)
    # One Newton step falls short of retraining by a few per cent of the largest change.
    np.testing.assert_allclose(check.predicted, check.retrained, atol=0.02)
    key = jax.random.key(0)
    subsets = {"n_subsets": 40, "n_steps": FEW}
    score = linear_datamodeling_score(key, params, X, y, X[:9], l2=L2, **subsets)
    assert score.shape == (9,)
    assert score.mean() > 0.95
    noise = jax.random.normal(key, (9, 80))
    other = linear_datamodeling_score(
        key, params, X, y, X[:9], l2=L2, scores=noise, **subsets
    )
    assert abs(other.mean()) < 0.4


def test_network_predicts_its_own_retraining(x64):
    X, y = separable(60)
    start = make_params((5, 6, 1), np.float64)
    params = optimum(start, X, y, l2=0.05, n_steps=2000).params
    check = leave_one_out_check(
        params, X, y, l2=0.05, rows=np.arange(0, 60, 6), n_steps=1000
    )
    assert check.own > 0.9
    assert check.others > 0.6


def test_flipped_labels_are_found():
    X, y = load_breast_cancer(return_X_y=True)
    assert label_error_check(jax.random.key(0), X[:200], y[:200]) > 0.85

    def at_random(key, X, y):
        return label_errors_from_logits(jax.random.normal(key, y.shape), y)

    assert label_error_check(jax.random.key(0), X, y, rank=at_random) < 0.25


ZERO = (Layer(jnp.zeros((5, 1)), jnp.zeros(1)),)
X, Y, _ = make_data(30)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optimum(ZERO, X, Y, l2=-1), "l2 must be a finite number from 0"),
        (lambda: optimum(ZERO, X, Y, l2=1, n_steps=0), "n_steps must be a whole number"),
        (lambda: optimum(ZERO, X[:, :3], Y, l2=1), r"X must have shape \(n, 5\)"),
        (lambda: optimum(ZERO, X, 0 * Y, l2=1), "y holds label 0 only"),
        (lambda: optimum(ZERO, 1e30 * X, Y, l2=1), "overflow in float32: standardise"),
        (lambda: retrain(ZERO, X, Y, np.ones((2, 30)), l2=-1), "l2 must be a finite"),
        (lambda: retrain(ZERO, X, Y, -np.ones((2, 30)), l2=1), "not negative; row 0"),
        (lambda: retrain(ZERO, X, Y, np.full((2, 30), np.nan), l2=1), "must be finite"),
        (lambda: retrain(ZERO, X, Y, np.ones(30), l2=1), r"row_weights must have shape"),
        (lambda: retrain(ZERO, X, Y, np.ones((2, 29)), l2=1), r"shape \(k, 30\), not"),
        (
            lambda: leave_one_out_check(ZERO, X, Y, l2=1, rows=[1, 1, 2]),
            "rows must be at least 3 different row numbers",
        ),
        (
            lambda: leave_one_out_check(ZERO, X, Y, l2=1, rows=[1, 2, 30]),
            "rows must be at least 3 different row numbers from 0 to 29",
        ),
        (
            lambda: linear_datamodeling_score(
                jax.random.key(0), ZERO, X, Y, X, l2=1, fraction=1
            ),
            "fraction must be between 0 and 1",
        ),
        (
            lambda: linear_datamodeling_score(
                jax.random.key(0), ZERO, X, Y, X, l2=1, scores=np.ones((3, 3))
            ),
            r"scores must have shape \(30, 30\), not \(3, 3\)",
        ),
        (
            lambda: linear_datamodeling_score(
                jax.random.key(0), ZERO, X, Y, X, l2=1, scores=np.full((30, 30), np.inf)
            ),
            "scores must be finite; row 0, column 0 is inf",
        ),
        (
            lambda: label_error_check(jax.random.key(0), X, Y, fraction=0.7),
            "fraction must be between 0 and 1/2",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
