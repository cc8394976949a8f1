import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxmlp import init_params
from jaxmlp.core.params import draw_weights

SIZES = (60, 500, 1)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_he_is_the_lecture_s_normal(layer, dtype):
    w = init_params(jax.random.key(0), SIZES, method="he", dtype=dtype)[layer].w
    assert w.dtype == dtype
    d_in = SIZES[layer]
    w = np.asarray(w, float).ravel()
    sd = np.sqrt(2 / d_in)
    # Five standard errors of the mean and of the variance of a normal sample.
    assert abs(w.mean()) < 5 * sd / np.sqrt(w.size)
    assert abs(w.var() / sd**2 - 1) < 5 * np.sqrt(2 / w.size)
    assert stats.kstest(w, stats.norm(0, sd).cdf).pvalue > 0.01


@pytest.mark.parametrize("layer", [0, 1])
def test_xavier_is_the_lecture_s_uniform(layer):
    w = init_params(jax.random.key(1), SIZES, method="xavier")[layer].w
    bound = np.sqrt(6 / (SIZES[layer] + SIZES[layer + 1]))
    w = np.asarray(w, float).ravel()
    assert np.abs(w).max() <= bound * (1 + 1e-6)
    # Within 1 % (layer 0, 30,000 draws) or 3 % (layer 1, 500 draws) of the whole range.
    assert np.abs(w).max() > bound * (0.99 if layer == 0 else 0.97)
    variance = bound**2 / 3
    assert abs(w.mean()) < 5 * np.sqrt(variance / w.size)
    # A uniform's kurtosis is 1.8, so its sample variance varies by sqrt(0.8 / n).
    assert abs(w.var() / variance - 1) < 5 * np.sqrt(0.8 / w.size)
    assert stats.kstest(w, stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.01


@pytest.mark.parametrize("method", ["he", "xavier"])
@pytest.mark.parametrize("sizes", [(3, 1), (3, 4, 1), (3, 4, 2, 1)])
def test_shapes_and_zero_biases(method, sizes, dtype):
    params = init_params(jax.random.key(0), sizes, method=method, dtype=dtype)
    assert [layer.w.shape for layer in params] == list(itertools.pairwise(sizes))
    for layer in params:
        assert layer.w.dtype == layer.b.dtype == dtype
        assert layer.b.shape == (layer.w.shape[1],)
        assert not np.asarray(layer.b).any()


def test_key_decides():
    first, again, other = (
        init_params(jax.random.key(seed), (4, 6, 1)) for seed in (0, 0, 1)
    )
    chex.assert_trees_all_equal(first, again)
    assert not np.array_equal(first[0].w, other[0].w)


def test_layers_differ():
    params = init_params(jax.random.key(0), (6, 6, 6, 1))
    assert not np.array_equal(params[0].w, params[1].w)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3,), "input and an output"),
        ((), "input and an output"),
        ((3, 2), "end in 1"),
        ((3, 0, 1), "positive whole"),
        ((-3, 1), "positive whole"),
        ((3, 2.5, 1), "positive whole"),
        ((3.0, 1), "positive whole"),
        (("3", 1), "positive whole"),
    ],
)
def test_bad_layer_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        init_params(jax.random.key(0), sizes)


def test_bad_method():
    with pytest.raises(ValueError, match="'he' or 'xavier', not 'zero'"):
        init_params(jax.random.key(0), (3, 1), method="zero")


@pytest.mark.parametrize("method", ["he", "xavier"])
def test_fewer_draws_are_the_first_of_more(method):
    few, many = (
        draw_weights(jax.random.key(0), n, method=method, dtype=jnp.float32)
        for n in (7, 1_000)
    )
    np.testing.assert_array_equal(few, many[:7])
