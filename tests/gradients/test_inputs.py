"""Bad input, blocks of rows, and selection by score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp import Layer, forward
from jaxmlp.gradients import (
    class_similarity,
    clipped_sum,
    directional,
    inner_products,
    keep_highest,
    logit_factors,
    loss_factors,
    map_blocks,
    noise_scale,
    noise_scale_of,
    norms,
    variance,
    weighted_sum,
)
from tests.helpers import make_data, make_params

PARAMS = make_params((5, 4, 1))
X, Y, _ = make_data(20)


def with_entry(array, place, value):
    array = np.array(array, float)
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (X, with_entry(Y, 3, 2), r"y must hold labels 0 and 1; row 3 is 2"),
        (X, with_entry(Y, 3, np.nan), r"y must hold labels 0 and 1; row 3 is nan"),
        (with_entry(X, (2, 1), np.inf), Y, r"X must be finite; row 2, column 1 is inf"),
        (with_entry(X, (2, 1), np.nan), Y, r"X must be finite; row 2, column 1 is nan"),
        (X[:0], Y[:0], r"X is empty: its shape is \(0, 5\)"),
        (X[:, :4], Y, r"X must have shape \(n, 5\)"),
        (X, Y[:3], r"X and y must have shapes \(n, p\) and \(n,\), not .*\(3,\)"),
        (X, np.array(["a"] * 20), "y must be real numbers"),
    ],
)
def test_bad_examples(X, y, message):
    with pytest.raises(ValueError, match=message):
        loss_factors(PARAMS, X, y)
    if X.shape != (20, 4):
        with pytest.raises(ValueError, match=r"row|empty|real numbers|shape"):
            map_blocks(norms_of, PARAMS, X, y)


def norms_of(params, X, y):
    return norms(loss_factors(params, X, y))


def test_bad_features_of_logits():
    with pytest.raises(ValueError, match="X must be finite; row 0, column 0 is nan"):
        logit_factors(PARAMS, with_entry(X, (0, 0), np.nan))


def test_bad_labels_of_classes():
    with pytest.raises(ValueError, match="y must hold labels 0 and 1; row 0 is 2"):
        class_similarity(loss_factors(PARAMS, X, Y), np.full(20, 2))


def test_bad_params():
    two_logits = (Layer(jnp.ones((5, 2)), jnp.zeros(2)),)
    for params in (None, (), [*PARAMS], two_logits, PARAMS[:1]):
        with pytest.raises(ValueError, match="params must be"):
            loss_factors(params, X, Y)
        with pytest.raises(ValueError, match="params must be"):
            forward(params, X)
    with pytest.raises(ValueError, match="direction must be a tuple of Layer"):
        directional(loss_factors(PARAMS, X, Y), None)
    with pytest.raises(ValueError, match=r"layer sizes \[5, 4, 1\], not \[5, 3, 1\]"):
        directional(loss_factors(PARAMS, X, Y), make_params((5, 3, 1)))


@pytest.mark.parametrize("max_norm", [0, -1.0, np.nan, [1.0, 0.0], "a", "1", None])
def test_bad_clip_norm(max_norm):
    with pytest.raises(ValueError, match=r"max_norm must be above 0"):
        clipped_sum(loss_factors(PARAMS, X, Y), max_norm)


def test_traced_clip_norms():
    f = loss_factors(PARAMS, X, Y)
    found = jax.jit(lambda f, c: clipped_sum(f, [c, 2 * c]).norms)(f, 0.1)
    np.testing.assert_allclose(found, norms(f, per_layer=True), rtol=1e-6)


def test_bad_shapes():
    f = loss_factors(PARAMS, X, Y)
    with pytest.raises(ValueError, match="one for each of 2 layers"):
        clipped_sum(f, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="one weight an example"):
        weighted_sum(f, jnp.ones(3))
    with pytest.raises(ValueError, match="same layer sizes"):
        inner_products(f, logit_factors(make_params((5, 3, 1)), X))
    one = loss_factors(PARAMS, X[:1], Y[:1])
    with pytest.raises(ValueError, match="at least 2 examples"):
        noise_scale(one)
    with pytest.raises(ValueError, match="at least 2 examples"):
        noise_scale_of(1.0, 1.0, np.int64(1))
    with pytest.raises(ValueError, match="more than 1 examples"):
        variance(one, ddof=1)
    with pytest.raises(ValueError, match="ddof must be a whole number from 0"):
        variance(f, ddof=-1)
    with pytest.raises(ValueError, match="memory_limit must be a whole number from 1"):
        inner_products(f, f, memory_limit=0)


@pytest.mark.parametrize("block_size", [1, 6, 20, 100])
def test_blocks_change_nothing(block_size):
    wanted = norms_of(PARAMS, X, Y)
    found = map_blocks(norms_of, PARAMS, X, Y, block_size=block_size)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def sums_of(params, X):
    f = logit_factors(params, X)
    sums = weighted_sum(f, jnp.ones(X.shape[0]))
    return {"norms": norms(f), "sums": jax.tree.map(lambda leaf: leaf[None], sums)}


def test_blocks_of_sums():
    found = map_blocks(sums_of, PARAMS, X, block_size=6)
    assert found["norms"].shape == (20,)
    assert found["sums"][0].w.shape == (4, 5, 4)
    wanted = sums_of(PARAMS, X)["sums"][0].w[0]
    np.testing.assert_allclose(found["sums"][0].w.sum(axis=0), wanted, atol=1e-5)


def test_blocks_name_the_rows():
    bad = with_entry(X, (13, 2), np.nan)
    message = "X must be finite; row 13, column 2 is nan"
    with pytest.raises(ValueError, match=message):
        map_blocks(norms_of, PARAMS, bad, Y, block_size=6)
    for size in (0, 2.5):
        with pytest.raises(ValueError, match="block_size must be a whole number from 1"):
            map_blocks(norms_of, PARAMS, X, Y, block_size=size)
    with pytest.raises(ValueError, match=r"arrays with a leading axis.*\[\(\)\]"):
        map_blocks(lambda params, X: forward(params, X).sum(), PARAMS, X)


def test_keep_highest():
    scores = jnp.array([0.3, 0.9, 0.3, 0.1])
    assert keep_highest(scores, 2).tolist() == [0, 1]
    assert keep_highest(scores, 2, n_skip=1).tolist() == [0, 2]
    assert keep_highest(scores, 0).tolist() == []
    assert keep_highest(jnp.array([3, 200, 100], jnp.uint8), 2).tolist() == [1, 2]
    assert keep_highest([0.1, 0.3, 0.2], 1).tolist() == [1]
    with pytest.raises(ValueError, match="scores must be numbers; row 1 is nan"):
        keep_highest(jnp.array([0.1, jnp.nan]), 1)
    with pytest.raises(ValueError, match=r"scores must have shape \(n,\)"):
        keep_highest(jnp.ones((3, 2)), 1)
    with pytest.raises(ValueError, match="n_keep must be a whole number from 0"):
        keep_highest(scores, -1)
    for n_keep, n_skip in ((5, 0), (3, 2)):
        with pytest.raises(ValueError, match="together at most the 4 scores"):
            keep_highest(scores, n_keep, n_skip=n_skip)
