import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp import backward, forward_with_cache, init_params, loss_and_grads
from jaxmlp.core import augment, loss_and_grads_augmented
from tests.helpers import DEPTHS, make_data, make_params, mean_loss, relative_error

# The project's promise for the gradient check.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def textbook(params, X, y, weight=None):
    _, cache = forward_with_cache(params, X)
    return backward(params, cache, y, weight)


def one_product(params, X, y, weight=None):
    return loss_and_grads(params, X, y, weight)[1]


grad_of_mean_loss = jax.jit(jax.grad(mean_loss))
value_and_grad_of_mean_loss = jax.jit(jax.value_and_grad(mean_loss))
BACKWARDS = {"textbook": textbook, "one product": one_product}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("n", [1, 5, 40_000])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", BACKWARDS)
def test_gradient_is_that_of_jax_grad(dtype, depth, n, weighted, name):
    X, y, weight = make_data(n, dtype=dtype, weighted=weighted)
    params = make_params(DEPTHS[depth], dtype)
    expected = grad_of_mean_loss(params, X, y, weight)
    actual = jax.jit(BACKWARDS[name])(params, X, y, weight)
    assert relative_error(actual, expected) <= TOLERANCE[dtype.name]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_grads_is_value_and_grad(variant, dtype, depth, weighted):
    X, y, weight = make_data(5, dtype=dtype, weighted=weighted)
    params = make_params(DEPTHS[depth], dtype)
    expected = value_and_grad_of_mean_loss(params, X, y, weight)
    actual = variant(loss_and_grads)(params, X, y, weight)
    assert relative_error(actual, expected) <= TOLERANCE[dtype.name]


def test_gradient_of_finite_differences(x64):
    X, y, weight = make_data(20, dtype=np.float64, weighted=True)
    params = make_params(DEPTHS[2], np.float64)
    _, grads = loss_and_grads(params, X, y, weight)
    direction = make_params(DEPTHS[2], np.float64, seed=7)
    step = 1e-6
    ahead = jax.tree.map(lambda p, d: p + step * d, params, direction)
    behind = jax.tree.map(lambda p, d: p - step * d, params, direction)
    slope = (mean_loss(ahead, X, y, weight) - mean_loss(behind, X, y, weight)) / (2 * step)
    terms = jax.tree.map(lambda g, d: jnp.sum(g * d), grads, direction)
    # Central differences err by step², rounding by 1e-16 / step: about 1e-10 here.
    assert float(sum(jax.tree.leaves(terms))) == pytest.approx(float(slope), rel=1e-7)


@pytest.mark.parametrize("depth", DEPTHS)
def test_batch_gradient_is_the_mean_of_single_gradients(x64, depth):
    X, y, _ = make_data(17, dtype=np.float64)
    params = make_params(DEPTHS[depth], np.float64)
    one = jax.vmap(lambda x, y_i: loss_and_grads(params, x[None], y_i[None])[1])
    singles = one(X, jnp.asarray(y))
    expected = jax.tree.map(lambda g: jnp.mean(g, axis=0), singles)
    assert relative_error(loss_and_grads(params, X, y)[1], expected) <= 1e-12


@pytest.mark.parametrize("depth", DEPTHS)
def test_integer_weights_are_repeated_rows(x64, depth):
    X, y, _ = make_data(6, dtype=np.float64)
    counts = np.array([2, 0, 1, 3, 0, 1])
    params = make_params(DEPTHS[depth], np.float64)
    repeated = loss_and_grads(params, np.repeat(X, counts, 0), np.repeat(y, counts))
    assert relative_error(loss_and_grads(params, X, y, counts), repeated) <= 1e-12


def test_batch_without_weight_has_zero_loss_and_gradient():
    X, y, _ = make_data(4)
    result = loss_and_grads(make_params(DEPTHS[2]), X, y, np.zeros(4))
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(result))


def test_empty_batch_has_zero_loss_and_gradient():
    result = loss_and_grads(make_params(DEPTHS[1]), np.zeros((0, 5)), np.zeros(0))
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(result))


@pytest.mark.parametrize("scale", [1e-4, 1e4, 1e15])
def test_extreme_logits_have_finite_exact_gradients(x64, scale):
    X, y, _ = make_data(50, dtype=np.float64)
    params = jax.tree.map(lambda p: scale * p, make_params(DEPTHS[0], np.float64))
    expected = grad_of_mean_loss(params, X, y)
    assert relative_error(loss_and_grads(params, X, y)[1], expected) <= 1e-12


def test_confident_and_right_example_keeps_its_tiny_gradient():
    # sigma(z) - 1 would round to 0 in float32; the gradient is -exp(-30).
    params = jax.tree.map(jnp.zeros_like, init_params(jax.random.key(0), (1, 1)))
    params = (params[0]._replace(b=jnp.array([30.0])),)
    _, grads = loss_and_grads(params, jnp.ones((1, 1)), jnp.array([1]))
    np.testing.assert_allclose(grads[0].b, -np.exp(-30), rtol=1e-6)


def test_permuting_rows_changes_nothing(x64):
    X, y, weight = make_data(100, dtype=np.float64, weighted=True)
    params = make_params(DEPTHS[2], np.float64)
    order = np.random.default_rng(1).permutation(100)
    permuted = loss_and_grads(params, X[order], y[order], weight[order])
    assert relative_error(permuted, loss_and_grads(params, X, y, weight)) <= 1e-12


@pytest.mark.parametrize("label_type", [bool, np.int8, np.int64, np.float32])
def test_labels_of_any_number_type(label_type):
    X, y, _ = make_data(10)
    params = make_params(DEPTHS[1])
    chex.assert_trees_all_equal(
        loss_and_grads(params, X, y.astype(label_type)), loss_and_grads(params, X, y)
    )


@pytest.mark.parametrize("name", BACKWARDS)
def test_exact_zeros_before_a_relu(variant, x64, name):
    # Without biases, a row whose first-layer units are all inactive gives exact zeros in
    # the second layer: the derivative of ReLU there is a convention that both must share.
    X, y, _ = make_data(40_000, dtype=np.float64)
    params = init_params(jax.random.key(0), (5, 3, 4, 1), dtype=np.float64)
    _, cache = forward_with_cache(params, X)
    assert (np.asarray(cache.inputs[1]) == 0).all(axis=1).any()
    expected = grad_of_mean_loss(params, X, y)
    actual = variant(BACKWARDS[name])(params, X, y)
    assert relative_error(actual, expected) <= 1e-12


def test_relu_derivative_at_zero_is_zero():
    params = jax.tree.map(jnp.zeros_like, init_params(jax.random.key(0), (2, 3, 1)))
    params = (params[0], params[1]._replace(w=jnp.ones((3, 1))))
    for gradient in BACKWARDS.values():
        grads = gradient(params, jnp.ones((4, 2)), jnp.array([1, 1, 0, 1]))
        assert not np.asarray(grads[0].w).any()
        assert grads[1].b[0] == pytest.approx(-0.25)


@pytest.mark.parametrize("depth", DEPTHS)
def test_products_in_bfloat16(variant, depth):
    X, y, weight = make_data(2_000, weighted=True)
    params = make_params(DEPTHS[depth])
    low = augment(jnp.asarray(X)).astype(jnp.bfloat16)
    loss, actual = variant(loss_and_grads_augmented)(params, low, y, weight)
    expected_loss, expected = loss_and_grads(params, X, y, weight)
    chex.assert_trees_all_equal_dtypes(actual, expected)
    errors = jax.tree.map(lambda a, e: jnp.abs(a - e).max(), actual, expected)
    largest = max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    # bfloat16 has 8 bits; operands are rounded, sums are not. And it is no float32.
    assert 1e-5 < max(jax.tree.leaves(errors)) / largest < 2**-5
    assert float(loss) == pytest.approx(float(expected_loss), rel=2**-8)


def test_one_trace_a_shape():
    traced = jax.jit(chex.assert_max_traces(loss_and_grads, n=1))
    X, y, _ = make_data(8)
    for seed in range(3):
        traced(make_params(DEPTHS[1], seed=seed), X, y)


@pytest.mark.parametrize(
    ("X", "y", "weight", "message"),
    [
        (np.zeros((4, 6)), np.zeros(4), None, r"X must have shape \(n, 5\)"),
        (np.zeros(5), np.zeros(1), None, r"X must have shape \(n, 5\)"),
        (np.zeros((4, 5)), np.zeros(3), None, "logits and y"),
        (np.zeros((4, 5)), np.zeros((4, 1)), None, "logits and y"),
        (np.zeros((4, 5)), np.zeros(4), np.ones(3), "sample_weight"),
        (np.zeros((4, 5)), np.zeros(4), np.ones((4, 1)), "sample_weight"),
    ],
)
def test_wrong_shapes_are_named(X, y, weight, message):
    with pytest.raises(ValueError, match=message):
        loss_and_grads(make_params(DEPTHS[1]), X, y, weight)
