"""Averages over Gaussians, and the evidence, against fine sums and determinants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp import Layer, bce_with_logits
from jaxmlp.analysis import evidence, laplace, laplace_l2
from jaxmlp.analysis.laplace import mean_sigmoid
from tests.analysis.dense import Dense
from tests.helpers import DEPTHS, make_data, make_params


@pytest.mark.parametrize("mean", [0.0, 0.3, -4.0, 30.0])
@pytest.mark.parametrize("variance", [0.0, 1e-6, 0.5, 1.0, 1.001, 20.0, 1e4])
def test_mean_of_the_sigmoid(mean, variance, x64):
    """Against the trapezoidal rule with steps far finer than either curve."""
    x = np.linspace(-12, 12, 400_001)
    sigmoid = 0.5 * (1 + np.tanh((mean + np.sqrt(variance) * x) / 2))
    density = np.exp(-(x**2) / 2)
    wanted = np.sum(density * sigmoid) / np.sum(density)
    found = mean_sigmoid(jnp.array([mean]), jnp.array([variance]))
    np.testing.assert_allclose(found, [wanted], rtol=0, atol=1e-12)


def test_mean_of_the_sigmoid_in_float32():
    mean, variance = jnp.array([0.0, 2.0, -90.0]), jnp.array([9.0, 0.0, 1.0])
    found = mean_sigmoid(mean, variance)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:2], [0.5, 1 / (1 + np.exp(-2))], rtol=1e-6)
    assert np.isfinite(found).all()


def test_averaged_probabilities_are_nearer_to_one_half(x64):
    params = make_params(DEPTHS[1], np.float64)
    X, y, _ = make_data(40, dtype=np.float64)
    found = laplace(params, X, y, X, l2=0.01)
    plain = np.asarray(1 / (1 + np.exp(-found.mean)))
    assert (np.abs(found.probs - 0.5) < np.abs(plain - 0.5)).all()
    assert ((found.probs - 0.5) * (plain - 0.5) > 0).all()
    assert found.covariance is None


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("n", [20, 300])  # fewer and more rows than parameters
@pytest.mark.parametrize("weighted", [False, True])
def test_evidence(depth, n, weighted, x64):
    params = make_params(DEPTHS[depth], np.float64)
    X, y, weight = make_data(n, dtype=np.float64, weighted=weighted)
    y[:2] = [0, 1]
    theta = np.concatenate([np.ravel(leaf) for layer in params for leaf in layer])

    def log_marginal(l2):
        dense = Dense(params, X, y, l2, weight)
        losses = np.asarray(bce_with_logits(jnp.asarray(dense.z), y))
        fit = dense.share @ losses + l2 / 2 * theta @ theta
        _, logdet = np.linalg.slogdet(dense.H / l2)
        return -dense.total * fit - logdet / 2

    given = evidence(params, X, y, l2=0.03, sample_weight=weight)
    np.testing.assert_allclose(
        given.log_marginal_likelihood, log_marginal(0.03), rtol=1e-10
    )
    assert float(given.l2) == 0.03
    best = evidence(params, X, y, sample_weight=weight)
    chosen = float(best.l2)
    highest = log_marginal(chosen)
    np.testing.assert_allclose(best.log_marginal_likelihood, highest, rtol=1e-10)
    for factor in (0.2, 0.9, 1.1, 5):
        assert log_marginal(chosen * factor) < highest
    dense = Dense(params, X, y, chosen, weight)
    undamped = dense.H - chosen * np.eye(len(theta))
    effective = np.trace(dense.inverse @ undamped)
    np.testing.assert_allclose(best.n_effective, effective, rtol=1e-6)


def left_out_losses(dense, X, y, weight, strength):
    """Of each row, averaged over what the inverse of the other rows' matrix leaves open."""
    at = Dense(dense.params, X, y, strength, weight)
    variance = np.empty(len(y))
    for i, J in enumerate(at.J):
        without = at.H - at.d[i] * np.outer(J, J)
        variance[i] = J @ np.linalg.solve(without, J) / at.total
    towards_label = np.where(y == 1, 1, -1) * dense.leave_one_out()
    probs = np.asarray(mean_sigmoid(jnp.asarray(towards_label), variance))
    return -np.log(np.maximum(probs, np.finfo(np.float64).tiny))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("n", "scale"), [(20, 1), (100, 2)])  # the second is too sure
@pytest.mark.parametrize("weighted", [False, True])
def test_strength_by_left_out_rows(depth, n, weighted, scale, x64):
    params = jax.tree.map(lambda a: scale * a, make_params(DEPTHS[depth], np.float64))
    X, y, weight = make_data(n, dtype=np.float64, weighted=weighted)
    y[:2] = [0, 1]
    found = laplace_l2(params, X, y, l2=0.01, sample_weight=weight)

    dense = Dense(params, X, y, 0.01, weight)
    plain = np.logaddexp(0, np.where(y == 1, -1, 1) * dense.leave_one_out())
    losses = {
        strength: left_out_losses(dense, X, y, weight, strength)
        for strength in 0.01 * 10 ** np.arange(0, 4.01, 0.25)
    }
    best = min(losses, key=lambda strength: losses[strength] @ dense.share)
    gains = plain - losses[best]
    gain = gains @ dense.share
    error = np.sqrt(np.sum((dense.share * (gains - gain)) ** 2))
    np.testing.assert_allclose(found.plain_log_loss, plain @ dense.share, rtol=1e-7)
    if gain > 2 * error:
        np.testing.assert_allclose(found.l2, best, rtol=1e-12)
        np.testing.assert_allclose(found.log_loss, losses[best] @ dense.share, rtol=1e-7)
    else:
        assert found.l2 == 1e10
        assert found.log_loss == found.plain_log_loss
    if scale == 2 and not weighted:
        assert gain > 2 * error  # both ends of the rule are tried


def test_strength_of_a_network_that_is_right(x64):
    """Nothing is gained where the rows that are left out are predicted as they are."""
    params = (Layer(jnp.array([[1.0]]), jnp.zeros(1)),)
    x = np.linspace(-2, 2, 2000)
    y = (np.random.default_rng(0).random(2000) < 1 / (1 + np.exp(-x))).astype(int)
    found = laplace_l2(params, x[:, None], y, l2=0.01)
    assert found.l2 == 1e10
    sure = laplace(params, x[:, None], y, x[:, None], l2=found.l2)
    np.testing.assert_allclose(sure.probs, 1 / (1 + np.exp(-x)), rtol=1e-10)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"l2": 0.0}, "l2 must be a finite number above 0, in float32, not 0.0"),
        ({"l2": np.inf}, "l2 must be a finite number above 0, in float32, not inf"),
        ({"y": np.zeros(20)}, "y holds label 0.0 only"),
        ({"memory_limit": 1000}, "the eigenvalues of a matrix of size 20 need"),
        (
            {"params": jax.tree.map(lambda a: 0 * a, make_params((5, 1)))},
            "params are all 0",
        ),
    ],
)
def test_bad_input(changed, message):
    X, y, _ = make_data(20)
    arguments = {"params": make_params(DEPTHS[1]), "X": X, "y": y, **changed}
    with pytest.raises(ValueError, match=message):
        evidence(**arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"l2": 0.0}, "l2 must be a finite number above 0, in float32, not 0.0"),
        ({"l2": None}, "l2 must be a finite number above 0, in float32, not None"),
        ({"y": np.zeros(20)}, "y holds label 0.0 only"),
        ({"X": np.zeros((20, 4))}, r"X must have shape \(n, 5\)"),
        ({"memory_limit": 1000}, "the eigenvalues of a matrix of size 20 need"),
    ],
)
def test_bad_input_of_the_strength(changed, message):
    X, y, _ = make_data(20)
    arguments = {"params": make_params(DEPTHS[1]), "X": X, "y": y, "l2": 0.1, **changed}
    with pytest.raises(ValueError, match=message):
        laplace_l2(**arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"l2": 0.0, "solver": "gram"}, "l2 must be above 0 for solver 'gram'"),
        ({"X_query": np.zeros((2, 4))}, r"X_query must have shape \(n, 5\)"),
        ({"X_query": np.full((2, 5), np.inf)}, "X_query must be finite; row 0, column 0"),
        ({"y_train": np.ones(20)}, "y_train holds label 1.0 only"),
        ({"solver": "gram", "memory_limit": 9}, "solver 'gram' needs"),
    ],
)
def test_bad_input_of_laplace(changed, message):
    X, y, _ = make_data(20)
    arguments = {
        "params": make_params(DEPTHS[1]),
        "X_train": X,
        "y_train": y,
        "X_query": X[:3],
        "l2": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        laplace(**{**arguments, **changed})


def test_evidence_when_compiled():
    X, y, _ = make_data(20)
    params = make_params(DEPTHS[1])
    compiled = jax.jit(evidence)(params, X, y)
    np.testing.assert_allclose(compiled.l2, evidence(params, X, y).l2, rtol=1e-4)
