import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp import forward, forward_with_cache, predict_proba
from tests.helpers import DEPTHS, make_data, make_params


def numpy_forward(params, X):
    """Plain loop over examples, layers and units."""
    logits = []
    for h in np.asarray(X, float):
        for i, layer in enumerate(params):
            w, b = np.asarray(layer.w, float), np.asarray(layer.b, float)
            a = [sum(h * w[:, j]) + b[j] for j in range(w.shape[1])]
            h = np.array(a if i == len(params) - 1 else [max(0.0, value) for value in a])
        logits.append(h[0])
    return np.array(logits)


@pytest.mark.parametrize("depth", DEPTHS)
def test_forward_is_a_plain_loop(variant, dtype, depth):
    X, _, _ = make_data(9, dtype=dtype)
    params = make_params(DEPTHS[depth], dtype)
    logits = variant(forward)(params, X)
    assert logits.dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(
        logits, numpy_forward(params, X), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("depth", DEPTHS)
def test_cache_holds_every_layer_s_input(depth):
    X, _, _ = make_data(4)
    params = make_params(DEPTHS[depth])
    logits, cache = forward_with_cache(params, X)
    np.testing.assert_array_equal(logits, cache.logits)
    np.testing.assert_array_equal(cache.inputs[0], X)
    assert [h.shape for h in cache.inputs] == [(4, d) for d in DEPTHS[depth][:-1]]
    assert all((np.asarray(h) >= 0).all() for h in cache.inputs[1:])


def test_probabilities_are_the_sigmoid_of_logits():
    X, _, _ = make_data(6)
    params = make_params(DEPTHS[1])
    expected = 1 / (1 + np.exp(-np.asarray(forward(params, X), float)))
    np.testing.assert_allclose(predict_proba(params, X), expected, rtol=1e-6)


def test_dead_units_leave_the_output_bias():
    params = make_params((2, 3, 1))
    params = (params[0]._replace(b=jnp.full(3, -1e6)), params[1])
    np.testing.assert_array_equal(forward(params, jnp.ones((2, 2))), [params[1].b[0]] * 2)


def test_no_rows():
    assert forward(make_params(DEPTHS[1]), np.zeros((0, 5))).shape == (0,)


@pytest.mark.parametrize("X", [np.zeros(5), np.zeros((2, 4)), np.zeros((1, 2, 5))])
def test_wrong_features_are_named(X):
    with pytest.raises(ValueError, match=r"X must have shape \(n, 5\)"):
        forward(make_params(DEPTHS[1]), X)
