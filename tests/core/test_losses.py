import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmlp import bce, bce_with_logits
from jaxmlp.core import output_delta


def test_bce_is_the_lecture_s_formula():
    probs, y = jnp.array([0.9, 0.2, 0.5]), jnp.array([1, 0, 1])
    expected = -np.log([0.9, 0.8, 0.5])
    np.testing.assert_allclose(bce(probs, y), expected, rtol=1e-6)


def test_bce_of_certain_predictions():
    losses = bce(jnp.array([1.0, 0.0, 1.0, 0.0]), jnp.array([1, 0, 0, 1]))
    np.testing.assert_array_equal(losses, [0, 0, np.inf, np.inf])


def test_both_losses_agree(dtype):
    logits = jnp.linspace(-8, 8, 101, dtype=dtype)
    for y in (jnp.zeros(101), jnp.ones(101)):
        actual = bce_with_logits(logits, y)
        assert actual.dtype == dtype
        # Probabilities near 1 keep 1e-7 of 1, not of the distance to 1.
        np.testing.assert_allclose(actual, bce(jax.nn.sigmoid(logits), y), rtol=2e-3)


@pytest.mark.parametrize("size", [1e9, 3e38])
def test_extreme_logits(variant, size):
    logits = jnp.array([size, -size, size, -size], jnp.float32)
    y = jnp.array([1, 0, 0, 1])
    losses = variant(bce_with_logits)(logits, y)
    np.testing.assert_array_equal(losses, np.float32([0, 0, size, size]))
    np.testing.assert_array_equal(variant(output_delta)(logits, y), [0, 0, 1, -1])


@given(
    st.floats(-1e4, 1e4, width=32),
    st.sampled_from([0.0, 0.25, 1.0]),
)
def test_delta_is_the_derivative_of_the_loss(z, y):
    logits, y = jnp.array([z]), jnp.array([y])
    derivative = jax.grad(lambda z: bce_with_logits(z, y)[0])(logits)
    # Absolute for soft labels, where the two terms may cancel.
    np.testing.assert_allclose(
        output_delta(logits, y), derivative, rtol=1e-5, atol=1e-7 if y[0] == 0.25 else 0
    )


@given(st.floats(-100, 100, width=32))
def test_loss_is_symmetric_in_the_label(z):
    one = bce_with_logits(jnp.array([z]), jnp.array([1]))
    zero = bce_with_logits(jnp.array([-z]), jnp.array([0]))
    np.testing.assert_allclose(one, zero, rtol=1e-6)


@pytest.mark.parametrize("function", [bce, bce_with_logits, output_delta])
def test_shapes_must_match(function):
    for y in (jnp.zeros(3), jnp.zeros((2, 1)), jnp.zeros(())):
        with pytest.raises(ValueError, match=r"must both have shape \(n,\)"):
            function(jnp.full(2, 0.5), y)
