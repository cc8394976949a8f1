"""The factor algebra against the gradients themselves, by `vmap(jax.grad)`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp import Layer, bce_with_logits, forward, loss_and_grads
from jaxmlp.gradients import (
    class_similarity,
    clipped_sum,
    cosine_similarity,
    directional,
    el2n,
    grand,
    inner_products,
    logit_factors,
    loss_factors,
    materialize,
    mean,
    noise_scale,
    norms,
    second_moment,
    signal_to_noise,
    squared_norms,
    variance,
    weighted_sum,
)
from tests.helpers import DEPTHS, make_data, make_params, relative_error

# The issue's: float64 to 1e-10, float32 to 1e-4, in units of the largest entry.
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
MAX_NORM = 0.6
N_PAIRS = 16


def loss_of_one(params, x, y_i):
    return bce_with_logits(forward(params, x[None, :]), y_i[None])[0]


def logit_of_one(params, x):
    return forward(params, x[None, :])[0]


def flat(grads):
    """Per-example gradients as one (n, P) matrix."""
    leaves = jax.tree.leaves(grads)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def sums(grads, c):
    return jax.tree.map(lambda leaf: jnp.tensordot(c, leaf, 1), grads)


def expected(params, X, y, c, direction):
    """Every quantity from the n × P matrix."""
    grads = jax.vmap(jax.grad(loss_of_one), (None, 0, 0))(params, X, y)
    logit_grads = jax.vmap(jax.grad(logit_of_one), (None, 0))(params, X)
    matrix, n = flat(grads), X.shape[0]
    lengths = jnp.linalg.norm(matrix, axis=1)
    by_layer = jnp.stack([jnp.linalg.norm(flat([g]), axis=1) for g in grads])
    few = matrix[:N_PAIRS]
    logits_few = flat(logit_grads)[:N_PAIRS]
    shares = jnp.minimum(1, MAX_NORM / lengths)
    limits = MAX_NORM * jnp.arange(1, len(params) + 1).astype(X.dtype)
    layer_shares = jnp.minimum(1, limits[:, None] / by_layer)
    flat_direction = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(direction)])
    results = {
        "materialize": grads,
        "materialize logit": logit_grads,
        "squared norms": lengths**2,
        "norms": lengths,
        "logit norms": jnp.linalg.norm(flat(logit_grads), axis=1),
        "norms per layer": by_layer,
        "squared norms per layer": by_layer**2,
        "weighted sum": sums(grads, c),
        "mean": sums(grads, jnp.full(n, 1 / n, X.dtype)),
        "clipped": sums(grads, shares),
        "clipped fraction": jnp.mean(lengths > MAX_NORM, dtype=jnp.float32),
        "clipped per layer": tuple(
            sums(g, s) for g, s in zip(grads, layer_shares, strict=True)
        ),
        "second moment": jax.tree.map(lambda g: jnp.mean(g**2, axis=0), grads),
        "variance": jax.tree.map(lambda g: jnp.var(g, axis=0), grads),
        "directional": matrix @ flat_direction,
        "directional per layer": jnp.stack(
            [
                flat([g]) @ jnp.concatenate([d.w.ravel(), d.b])
                for g, d in zip(grads, direction, strict=True)
            ]
        ),
        "inner products": matrix @ few.T,
        "kernel": flat(logit_grads) @ logits_few.T,
        "inner products per layer": jnp.stack(
            [flat([g]) @ flat([g])[:N_PAIRS].T for g in grads]
        ),
        "cosine": (matrix @ few.T) / (lengths[:, None] * lengths[None, :N_PAIRS]),
        "el2n": jnp.abs(jax.nn.sigmoid(forward(params, X)) - y),
        "grand": lengths,
    }
    if n > 1:
        deviations = matrix - jnp.mean(matrix, axis=0)[None, :]
        trace = jnp.sum(deviations**2) / (n - 1)
        squared = jnp.sum(jnp.mean(matrix, axis=0) ** 2) - trace / n
        results["trace"] = trace
        results["squared norm"] = squared
        results["noise scale"] = jnp.where(squared > 0, trace / squared, 0)
        results["unbiased variance"] = jax.tree.map(
            lambda g: jnp.var(g, axis=0, ddof=1), grads
        )
    return results


def actual(params, X, y, c, direction):
    """The same from factors."""
    f, z = loss_factors(params, X, y), logit_factors(params, X)
    few = loss_factors(params, X[:N_PAIRS], y[:N_PAIRS])
    z_few = logit_factors(params, X[:N_PAIRS])
    clipped = clipped_sum(f, MAX_NORM)
    limits = [MAX_NORM * (i + 1) for i in range(len(params))]
    results = {
        "materialize": materialize(f),
        "materialize logit": materialize(z),
        "squared norms": squared_norms(f),
        "norms": clipped.norms,
        "logit norms": norms(z),
        "norms per layer": clipped_sum(f, limits).norms,
        "squared norms per layer": squared_norms(f, per_layer=True),
        "weighted sum": weighted_sum(f, c),
        "mean": mean(f),
        "clipped": clipped.sum,
        "clipped fraction": clipped.clipped_fraction,
        "clipped per layer": clipped_sum(f, limits).sum,
        "second moment": second_moment(f),
        "variance": variance(f),
        "directional": directional(f, direction),
        "directional per layer": directional(f, direction, per_layer=True),
        "inner products": inner_products(f, few),
        "kernel": inner_products(z, z_few),
        "inner products per layer": inner_products(f, few, per_layer=True),
        "cosine": cosine_similarity(f, few),
        "el2n": el2n(f),
        "grand": grand(f),
    }
    if X.shape[0] > 1:
        scale = noise_scale(f)
        results["trace"] = scale.trace
        results["squared norm"] = scale.squared_norm
        results["noise scale"] = jnp.where(
            scale.squared_norm > 0, scale.noise_scale, jnp.zeros_like(scale.trace)
        )
        results["unbiased variance"] = variance(f, ddof=1)
    return results


def make_case(depth, n, dtype):
    params = make_params(DEPTHS[depth], dtype)
    X, y, _ = make_data(n, dtype=dtype)
    c = np.random.default_rng(1).normal(size=n).astype(dtype)
    direction = make_params(DEPTHS[depth], dtype, seed=5)
    # The network knows something, so that the mean gradient is seen among the noise.
    y = (X[:, 0] + 0.1 * X[:, 1] > 0).astype(dtype)
    return params, X, y, c, direction


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("n", [1, 40_000])  # 5 below, where nothing is compiled whole
def test_equal_to_the_materialized(depth, n, dtype):
    case = make_case(depth, n, dtype)
    wanted = jax.jit(expected)(*case)
    found = jax.jit(actual)(*case)
    assert found.keys() == wanted.keys()
    errors = {name: relative_error(found[name], wanted[name]) for name in wanted}
    assert max(errors.values()) < TOLERANCE[dtype.name], errors


@pytest.mark.parametrize("depth", DEPTHS)
def test_not_jitted(depth, x64):
    case = make_case(depth, 5, np.dtype("float64"))
    wanted, found = expected(*case), actual(*case)
    for name in wanted:
        assert relative_error(found[name], wanted[name]) < 1e-10, name


@pytest.mark.parametrize("depth", DEPTHS)
def test_mean_is_the_batch_gradient(depth, x64):
    params, X, y, _, _ = make_case(depth, 50, np.dtype("float64"))
    _, grads = loss_and_grads(params, X, y)
    assert relative_error(mean(loss_factors(params, X, y)), grads) < 1e-12


def test_permuting_rows_permutes_results(x64):
    params, X, y, c, _ = make_case(2, 20, np.dtype("float64"))
    order = np.random.default_rng(0).permutation(20)
    f, g = loss_factors(params, X, y), loss_factors(params, X[order], y[order])
    np.testing.assert_allclose(squared_norms(f)[order], squared_norms(g), rtol=1e-12)
    pairs = inner_products(f, f)[order][:, order]
    np.testing.assert_allclose(pairs, inner_products(g, g), rtol=1e-10, atol=1e-14)
    assert relative_error(weighted_sum(g, c[order]), weighted_sum(f, c)) < 1e-12


@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("memory_limit", [1, 3_000, 20_000])
def test_inner_products_in_blocks(per_layer, memory_limit, x64):
    params, X, y, _, _ = make_case(2, 50, np.dtype("float64"))
    f, g = loss_factors(params, X, y), loss_factors(params, X[:7], y[:7])
    wanted = inner_products(f, g, per_layer=per_layer)
    found = inner_products(f, g, per_layer=per_layer, memory_limit=memory_limit)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("per_layer", [False, True])
def test_inner_products_keep_their_memory_bound(per_layer):
    limit, n, m = 2**22, 4096, 512
    params = make_params((5, 64, 32, 1))
    X, _, _ = make_data(n)
    f, g = logit_factors(params, X), logit_factors(params, X[:m])
    compiled = (
        jax.jit(lambda f, g: inner_products(f, g, per_layer=per_layer, memory_limit=limit))
        .lower(f, g)
        .compile()
    )
    layers = sum(leaf.nbytes for leaf in jax.tree.leaves((f.layers, g.layers)))
    assert compiled.memory_analysis().temp_size_in_bytes <= limit + layers
    assert n * m * 4 > limit  # more than one block


def test_class_similarity(x64):
    params, X, y, _, _ = make_case(1, 30, np.dtype("float64"))
    f = loss_factors(params, X, y)
    cosines = np.array(cosine_similarity(f, f))
    np.fill_diagonal(cosines, np.nan)
    wanted = [[np.nanmean(cosines[np.ix_(y == a, y == b)]) for b in (0, 1)] for a in (0, 1)]
    np.testing.assert_allclose(class_similarity(f, y), wanted, rtol=1e-12)
    alone = class_similarity(loss_factors(params, X[:1], y[:1]), y[:1])
    assert np.isnan(alone).all()
    one_class = class_similarity(f, np.ones(30))
    np.testing.assert_allclose(one_class[1, 1], np.nanmean(cosines), rtol=1e-12)
    assert np.isnan([one_class[0, 0], one_class[0, 1]]).all()
    one_example = class_similarity(f, np.arange(30) == 3)
    assert np.isnan(one_example[1, 1])
    np.testing.assert_allclose(one_example[0, 1], np.nanmean(cosines[3]), rtol=1e-12)
    with pytest.raises(ValueError, match=r"y must have shape \(30,\)"):
        class_similarity(f, y[:3])


def test_signal_to_noise(x64):
    params, X, y, _, _ = make_case(1, 30, np.dtype("float64"))
    f = loss_factors(params, X, y)
    grads = materialize(f)
    wanted = jax.tree.map(
        lambda g: jnp.abs(g.mean(axis=0)) / jnp.std(g, axis=0, ddof=1), grads
    )
    assert relative_error(signal_to_noise(f), wanted) < 1e-10
    same = signal_to_noise(loss_factors(params, np.ones((3, 5)), np.ones(3)))
    assert np.isposinf(same[-1].b).all()


def test_results_are_differentiable(x64):
    """The gradient of a penalty on norms, against autodiff of the materialised one."""
    params, X, y, _, _ = make_case(1, 6, np.dtype("float64"))

    def by_factors(params):
        clipped = clipped_sum(loss_factors(params, X, y), MAX_NORM)
        return jnp.sum(clipped.norms) + jnp.sum(clipped.sum[0].w ** 2)

    def by_matrix(params):
        found = expected(params, X, y, y, params)
        return jnp.sum(found["norms"]) + jnp.sum(found["clipped"][0].w ** 2)

    wanted, found = jax.grad(by_matrix)(params), jax.grad(by_factors)(params)
    assert relative_error(found, wanted) < 1e-10


def test_zero_gradients_and_their_derivatives(x64):
    """A row that is predicted right to the last bit, and units that are all off."""
    params = (Layer(jnp.ones((2, 3)), -jnp.ones(3)), Layer(jnp.ones((3, 1)), jnp.zeros(1)))
    X, y = np.array([[1e6, 1e6], [-1.0, -1.0]]), np.array([1.0, 1.0])
    f = loss_factors(params, X, y)
    assert norms(f)[0] == 0
    assert norms(f, per_layer=True)[:, 1].tolist() == [0, 0.5]  # the output's bias alone
    clipped = clipped_sum(f, 0.25)
    np.testing.assert_allclose(clipped.sum[1].b, [-0.25])
    assert clipped.clipped_fraction == 0.5
    assert np.array(cosine_similarity(f, f)).tolist() == [[0, 0], [0, 1]]

    def total(params):
        f = loss_factors(params, X, y)
        layers = clipped_sum(f, [0.1, 0.1])
        return jnp.sum(norms(f)) + jnp.sum(layers.norms) + jnp.sum(layers.sum[1].b)

    slopes = jax.grad(total)(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_an_infinite_norm_clips_nothing(x64):
    params, X, y, _, _ = make_case(2, 9, np.dtype("float64"))
    f = loss_factors(params, X, y)
    clipped = clipped_sum(f, jnp.inf)
    ones = weighted_sum(f, jnp.ones(9))
    assert relative_error(clipped.sum, ones) < 1e-15
    assert clipped.clipped_fraction == 0
    assert relative_error(clipped_sum(f, [jnp.inf] * 3).sum, ones) < 1e-15


def test_an_example_that_overflows_is_left_out():
    weights = np.random.default_rng(0).normal(size=(100, 64))
    params = (
        Layer(jnp.asarray(weights, jnp.float32), jnp.zeros(64)),
        Layer(jnp.zeros((64, 1)), jnp.zeros(1)),
    )
    rows = np.ones((2, 100), np.float32)
    rows[0] = 3e38
    f = loss_factors(params, rows, np.ones(2))
    alone = clipped_sum(loss_factors(params, rows[1:], np.ones(1)), 1.0).sum
    assert relative_error(clipped_sum(f, 1.0).sum, alone) < 1e-6
    assert relative_error(clipped_sum(f, [1.0, 1.0]).sum[1], alone[1]) < 1


def test_norms_of_confident_examples_do_not_underflow():
    params = (Layer(jnp.array([[1.0]]), jnp.zeros(1)),)
    f = loss_factors(params, np.array([[60.0]]), np.array([1]))
    assert squared_norms(f)[0] == 0  # 5e-49 is below float32
    np.testing.assert_allclose(norms(f)[0], 60.008 * np.exp(-60.0), rtol=1e-4)
    certain = loss_factors(params, np.array([[3e38]], np.float32), np.array([1]))
    assert norms(certain).tolist() == [0]


def test_duplicate_rows(x64):
    params, X, y, _, _ = make_case(1, 5, np.dtype("float64"))
    f = loss_factors(params, np.repeat(X, 2, axis=0), np.repeat(y, 2))
    np.testing.assert_allclose(norms(f)[::2], norms(f)[1::2], rtol=0)
    np.testing.assert_allclose(np.diag(cosine_similarity(f, f), 1)[::2], 1, rtol=1e-12)


def test_rounding_gives_no_example_more_weight_than_the_limit():
    # Products of 1e8 cancel to an activation of some units: the output weight's gradient,
    # which is summed from them, is wrong by as much as itself.
    params = (
        Layer(jnp.array([[1.0], [-3.0]]), jnp.array([4.0])),
        Layer(jnp.array([[1e-9]]), jnp.zeros(1)),
    )
    c = np.random.default_rng(0).uniform(1e8, 2e8, 200).astype(np.float32)
    X = np.stack([c, c / 3], axis=1)

    def length(x):
        f = loss_factors(params, x[None, :], jnp.zeros(1))
        return jnp.linalg.norm(
            flat(jax.tree.map(lambda g: g[None], clipped_sum(f, 0.01).sum))
        )

    lengths = jax.jit(jax.vmap(length))(X)
    assert 0 < lengths.max() <= 0.01 * 1.002
