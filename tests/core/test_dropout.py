import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp import bce_with_logits, loss_and_grads
from jaxmlp.core import augment
from jaxmlp.core.dropout import Dropout, Masks, draw_masks, loss_and_grads_dropped
from tests.helpers import DEPTHS, make_data, make_params, relative_error

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def thinned_loss(params, X, y, weight, masks):
    """The definition: each layer's inputs times mask and scale."""
    h = X
    kept = (None if masks.inputs is None else masks.inputs[:, :-1], *(masks.hidden or ()))
    kept += (None,) * (len(params) - len(kept))
    for i, (layer, mask, scale) in enumerate(zip(params, kept, masks.scales, strict=True)):
        h = h if mask is None else jnp.where(mask, h * scale, 0)
        h = h @ layer.w + layer.b[None, :]
        h = jax.nn.relu(h) if i + 1 < len(params) else h
    losses = bce_with_logits(h[:, 0], y)
    weight = jnp.ones_like(losses) if weight is None else weight
    return jnp.sum(weight * losses) / jnp.sum(weight)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("n", [1, 5, 40_000])
@pytest.mark.parametrize("dropout", [(0.25, 0.0), (0.0, 0.4), (0.5, 0.3)])
def test_gradient_is_that_of_jax_grad(dtype, depth, n, dropout):
    X, y, weight = make_data(n, dtype=dtype, weighted=True)
    params = make_params(DEPTHS[depth], dtype)
    masks = draw_masks(jax.random.key(n), params, n, Dropout(*dropout))

    @jax.jit
    def both(params, X, y, weight, inputs, hidden):
        given = Masks(inputs, hidden, masks.scales)
        right = jax.value_and_grad(thinned_loss)(params, X, y, weight, given)
        return loss_and_grads_dropped(params, augment(X), y, weight, given), right

    actual, expected = both(params, X, y, weight, masks.inputs, masks.hidden)
    assert relative_error(actual, expected) <= TOLERANCE[dtype.name]


@pytest.mark.parametrize("depth", DEPTHS)
def test_without_dropout_it_is_the_gradient(depth):
    X, y, _ = make_data(7, dtype=np.float32, weighted=False)
    params = make_params(DEPTHS[depth], np.float32)
    masks = draw_masks(jax.random.key(0), params, 7, Dropout())
    actual = loss_and_grads_dropped(params, augment(X), y, None, masks)
    assert relative_error(actual, loss_and_grads(params, X, y)) == 0


def test_masks_have_the_shares_and_keep_the_bias():
    params = make_params((4, 300, 1), np.float32)
    masks = draw_masks(jax.random.key(1), params, 5000, Dropout(0.25, 0.5))
    assert masks.inputs.shape == (5000, 5)
    assert masks.inputs[:, -1].all()
    # Five standard errors of 20,000 and of 1,500,000 coins.
    np.testing.assert_allclose(masks.inputs[:, :-1].mean(), 0.5, atol=0.018)
    np.testing.assert_allclose(masks.hidden[0].mean(), 0.75, atol=0.0018)
    assert masks.scales == (2.0, 4 / 3)


def test_layers_have_masks_of_their_own():
    params = make_params((3, 50, 50, 1), np.float32)
    first, second = draw_masks(jax.random.key(2), params, 40, Dropout(0.5)).hidden
    assert (first != second).mean() > 0.4


@pytest.mark.parametrize("n", [1, 3, 4, 6, 1001])
def test_any_number_of_rows_has_masks_of_their_own(n):
    # Four rows share random words: they must not share masks.
    params = make_params((2000, 1), np.float32)
    kept = draw_masks(jax.random.key(4), params, n, Dropout(0.0, 0.5)).inputs[:, :-1]
    assert kept.shape == (n, 2000)
    correlations = np.corrcoef(np.asarray(kept, float)).reshape(n, n)[np.triu_indices(n, 1)]
    # Of 2,000 coins, 6 standard errors; there are up to half a million pairs.
    assert (abs(correlations) < 6 / np.sqrt(2000)).all()


def test_mean_over_masks_is_the_whole_network():
    # Without hidden layer the logit is linear in the mask, so its mean is exact.
    X, _, _ = make_data(1, dtype=np.float32, weighted=False)
    params = make_params(DEPTHS[0], np.float32)
    rows = jnp.tile(jnp.asarray(X), (40_000, 1))
    masks = draw_masks(jax.random.key(3), params, len(rows), Dropout(0.0, 0.5))
    thin = jnp.where(masks.inputs[:, :-1], rows * masks.scales[0], 0) @ params[0].w
    whole = (X @ params[0].w).item()
    error = float(thin.std()) / np.sqrt(len(rows))
    assert abs(float(thin.mean()) - whole) < 5 * error
