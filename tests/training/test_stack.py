import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmlp import (
    ensemble_logits,
    ensemble_proba,
    fit,
    forward,
    loss_and_grads,
    predict_proba,
    stack_params,
)
from jaxmlp.training.stack import cut_params
from tests.helpers import make_data, make_params, relative_error


def first(stacked):
    return jax.tree.map(lambda array: array[0], stacked)


@pytest.mark.parametrize("sizes", [(5, 3, 1), (5, 3, 2, 1)])
def test_padding_with_zero_units_changes_nothing(x64, sizes):
    X, y, _ = make_data(20, dtype=np.float64)
    params = make_params(sizes, np.float64)
    wider = make_params([5, *(size + 4 for size in sizes[1:-1]), 1], np.float64)
    wide = first(stack_params([params, wider]))
    assert [layer.b.shape[0] for layer in wide] == [layer.b.shape[0] for layer in wider]
    chex.assert_trees_all_equal(cut_params(wide, sizes[1:-1]), params)
    # To rounding, not to the bit: a product over more units is summed in other groups.
    assert relative_error(forward(wide, X), forward(params, X)) <= 1e-14
    wide_loss, wide_grads = loss_and_grads(wide, X, y)
    loss, grads = loss_and_grads(params, X, y)
    assert float(wide_loss) == pytest.approx(float(loss), rel=1e-14)
    narrow_grads = cut_params(wide_grads, sizes[1:-1])
    assert relative_error(narrow_grads, grads) <= 1e-13
    padded_again = first(stack_params([narrow_grads, wider]))
    chex.assert_trees_all_equal(padded_again, wide_grads)  # the padding has no gradient


def test_networks_of_any_depth_and_width_compute_what_they_did(dtype):
    X, _, _ = make_data(50, dtype=dtype)
    sizes = [(5, 1), (5, 7, 1), (5, 2, 9, 1), (5, 3, 1)]
    networks = [make_params(s, dtype, seed=i) for i, s in enumerate(sizes)]
    stacked = stack_params(networks)
    assert [layer.w.shape for layer in stacked] == [(4, 5, 7), (4, 7, 9), (4, 9, 1)]
    together = jax.vmap(forward, (0, None))(stacked, X)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for logits, params in zip(together, networks, strict=True):
        assert relative_error(logits, forward(params, X)) <= tolerance


def test_ensemble_averages_probabilities(variant, x64):
    X, _, _ = make_data(30, dtype=np.float64)
    networks = [make_params((5, 4, 1), np.float64, seed=seed) for seed in range(3)]
    stacked = stack_params(networks)
    expected = np.mean([predict_proba(params, X) for params in networks], axis=0)
    np.testing.assert_allclose(variant(ensemble_proba)(stacked, X), expected, rtol=1e-13)
    logits = variant(ensemble_logits)(stacked, X)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), expected, rtol=1e-13)


@pytest.mark.parametrize("scale", [1e2, 1e6])
def test_ensemble_logits_of_certain_members(scale):
    X = np.array([[1.0], [-1.0]], np.float32)
    sure, surer = (
        (make_params((1, 1))[0]._replace(w=jnp.full((1, 1), s, jnp.float32)),)
        for s in (scale, 2 * scale)
    )
    logits = np.asarray(ensemble_logits(stack_params([sure, surer]), X))
    # The mean of two failure odds is half the greater one: log 2 more than the lesser sure.
    np.testing.assert_allclose(np.abs(logits), scale + np.log(2), rtol=2e-2)
    assert logits[0] > 0 > logits[1]


def test_ensemble_of_one_is_the_network():
    X, _, _ = make_data(10)
    params = make_params((5, 4, 1))
    np.testing.assert_array_equal(
        ensemble_logits(stack_params([params]), X), forward(params, X)
    )


@pytest.mark.parametrize("networks", [[], [make_params((3, 2, 1)), make_params((4, 2, 1))]])
def test_networks_must_fit_together(networks):
    with pytest.raises(ValueError, match="at least one, all of the same input width"):
        stack_params(networks)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.sgd(0.1),
        optax.sgd(0.1, momentum=0.9),
        optax.adam(0.01),
        optax.adamw(0.01),
        optax.rmsprop(0.01),
    ],
)
@jax.numpy_dtype_promotion("standard")  # optax mixes types itself
def test_padding_stays_zero_and_changes_no_training(dtype, optimizer):
    X, y, _ = make_data(64, dtype=dtype)
    params = make_params((5, 3, 2, 1), dtype)
    wide = first(stack_params([params, make_params((5, 7, 6, 1), dtype)]))
    settings = {"optimizer": optimizer, "n_epochs": 5, "batch_size": 8, "l2": 0.01}
    narrow_fit = fit(jax.random.key(0), params, X, y, **settings)
    wide_fit = fit(jax.random.key(0), wide, X, y, **settings)
    cut = cut_params(wide_fit.params, (3, 2))
    # To rounding, which 40 steps add up: sums over more units are grouped otherwise.
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert relative_error(cut, narrow_fit.params) <= tolerance
    padded_again = first(stack_params([cut, make_params((5, 7, 6, 1), dtype)]))
    chex.assert_trees_all_equal(padded_again, wide_fit.params)


def test_padded_float32_network_computes_the_same_to_the_last_bit_of_a_number():
    X, _, _ = make_data(1_000)
    params = make_params((5, 30, 1))
    wide = first(stack_params([params, make_params((5, 64, 1))]))
    expected = np.asarray(forward(params, X))
    # Only the last sum, over units that now include zeros, is grouped otherwise.
    error = np.abs(np.asarray(forward(wide, X)) - expected).max()
    assert error <= np.finfo(np.float32).eps * np.abs(expected).max()


def test_networks_must_be_of_one_type(x64):
    with pytest.raises(ValueError, match="networks must be of one floating-point type"):
        stack_params([make_params((3, 1), np.float32), make_params((3, 1), np.float64)])
