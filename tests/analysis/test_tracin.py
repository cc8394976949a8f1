import jax
import numpy as np
import pytest

from jaxmlp import bce_with_logits, forward
from jaxmlp.analysis import tracin
from tests.helpers import DEPTHS, make_data, make_params


def loss_of_one(params, x, y_i):
    return bce_with_logits(forward(params, x[None, :]), y_i[None])[0]


def gradients(params, X, y):
    grads = jax.vmap(jax.grad(loss_of_one), (None, 0, 0))(params, X, y)
    leaves = [np.asarray(leaf).reshape(len(y), -1) for leaf in jax.tree.leaves(grads)]
    return np.concatenate(leaves, axis=1)


@pytest.mark.parametrize("depth", DEPTHS)
def test_sums_products_of_gradients(depth, dtype):
    checkpoints = [make_params(DEPTHS[depth], dtype, seed) for seed in (0, 5)]
    X, y, _ = make_data(20, dtype=dtype)
    X_query, y_query, _ = make_data(4, dtype=dtype, seed=1)
    found = tracin(checkpoints, [0.1, 0.3], X, y, X_query, y_query)
    wanted = sum(
        rate * gradients(params, X_query, y_query) @ gradients(params, X, y).T
        for params, rate in zip(checkpoints, (0.1, 0.3), strict=True)
    )
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
    assert found.dtype == dtype


def test_a_step_on_the_row_lowers_the_loss_by_its_score(x64):
    params = make_params(DEPTHS[1], np.float64)
    X, y, _ = make_data(1, dtype=np.float64)
    score = float(tracin([params], [1e-6], X, y, X, y)[0, 0])
    grad = jax.grad(loss_of_one)(params, X[0], y[0])
    after = jax.tree.map(lambda a, g: a - 1e-6 * g, params, grad)
    change = loss_of_one(params, X[0], y[0]) - loss_of_one(after, X[0], y[0])
    assert score > 0
    assert float(change) == pytest.approx(score, rel=1e-4)


@pytest.mark.parametrize(
    ("checkpoints", "rates", "message"),
    [
        ([], [], "checkpoints and learning_rates must be as many"),
        ([make_params((5, 1))], [0.1, 0.2], "not 1 and 2"),
        ([make_params((5, 1))], [np.nan], r"learning_rates\[0\] must be a finite number"),
        ([make_params((4, 1))], [0.1], "X_train must have shape"),
        ([make_params((5, 1))], 0.1, "learning_rates must be a sequence"),
    ],
)
def test_bad_input(checkpoints, rates, message):
    X, y, _ = make_data(6)
    with pytest.raises(ValueError, match=message):
        tracin(checkpoints, rates, X, y, X, y)


def test_queries_need_labels():
    X, y, _ = make_data(6)
    with pytest.raises(ValueError, match="y_query must hold the queries' labels"):
        tracin([make_params((5, 1))], [0.1], X, y, X, None)
