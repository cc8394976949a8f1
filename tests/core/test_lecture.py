import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmlp.lecture as lecture
from jaxmlp import Layer, bce_with_logits, forward, loss_and_grads
from tests.helpers import make_data, make_params, mean_loss, relative_error

SIZES = (3, 4, 1)

# Small enough to be worked by hand: p = 2, q = 2.
W1 = np.array([[1.0, -1.0], [2.0, 0.5]])
B1 = np.array([0.5, -4.0])
W2 = np.array([[2.0, 3.0]])
B2 = np.array([-1.0])
HAND_PARAMS = (
    Layer(w=jnp.array(W1.T), b=jnp.array(B1)),
    Layer(w=jnp.array(W2.T), b=jnp.array(B2)),
)
HAND_X = np.array([1.0, 1.0])


def test_example_worked_by_hand(x64):
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), HAND_PARAMS)
    forward_pass = lecture.forward_one(params, HAND_X)
    # a = (1 - 1 + 0.5, 2 + 0.5 - 4), h = (0.5, 0), z = 2 · 0.5 - 1 = 0, ŷ = 1/2.
    np.testing.assert_allclose(forward_pass.a, [[0.5], [-1.5]])
    np.testing.assert_allclose(forward_pass.h, [[0.5], [0.0]])
    np.testing.assert_allclose(forward_pass.z, [[0.0]])
    np.testing.assert_allclose(forward_pass.y_hat, [[0.5]])
    one = lecture.backward_one(params, HAND_X, 1)
    np.testing.assert_allclose(one.loss, [[np.log(2)]])
    np.testing.assert_allclose(one.dL_dyhat, [[-2.0]])
    np.testing.assert_allclose(one.dyhat_dz, [[0.25]])
    np.testing.assert_allclose(one.dL_dz, [[-0.5]])  # (1)
    np.testing.assert_allclose(one.dL_dW2, [[-0.25, 0.0]])  # (2)
    np.testing.assert_allclose(one.dL_db2, [[-0.5]])  # (3)
    np.testing.assert_allclose(one.dL_dh, [[-1.0], [-1.5]])  # (4)
    np.testing.assert_allclose(one.dh_da, [[1.0], [0.0]])
    np.testing.assert_allclose(one.dL_da, [[-1.0], [0.0]])  # (5)
    np.testing.assert_allclose(one.dL_dW1, [[-1.0, -1.0], [0.0, 0.0]])  # (6)
    np.testing.assert_allclose(one.dL_db1, [[-1.0], [0.0]])  # (7)


@pytest.mark.parametrize("label", [0, 1])
def test_every_derivative_is_that_of_jax_grad(variant, x64, label):
    params = make_params(SIZES, np.float64)
    x = jnp.asarray(make_data(1, p=3, dtype=np.float64)[0][0])[:, None]
    theta = lecture.Theta.from_params(params)
    one = variant(lecture.backward_one)(params, x, label)
    fwd = lecture.forward_one(params, x)

    def loss_of_yhat(y_hat):
        return jnp.sum(-(label * jnp.log(y_hat) + (1 - label) * jnp.log(1 - y_hat)))

    def loss_of_z(z):
        return loss_of_yhat(jax.nn.sigmoid(z))

    def loss_of_h(h):
        return loss_of_z(theta.W2 @ h + theta.b2)

    def loss_of_a(a):
        return loss_of_h(jnp.maximum(a, 0))

    def loss_of_theta(theta):
        h = jnp.maximum(theta.W1 @ x + theta.b1, 0)
        return loss_of_z(theta.W2 @ h + theta.b2)

    of_theta = jax.grad(loss_of_theta)(theta)
    expected = {
        "loss": loss_of_z(fwd.z).reshape(1, 1),
        "dL_dyhat": jax.grad(loss_of_yhat)(fwd.y_hat),
        "dyhat_dz": jax.grad(lambda z: jnp.sum(jax.nn.sigmoid(z)))(fwd.z),
        "dL_dz": jax.grad(loss_of_z)(fwd.z),
        "dL_dW2": of_theta.W2,
        "dL_db2": of_theta.b2,
        "dL_dh": jax.grad(loss_of_h)(fwd.h),
        "dh_da": jax.grad(lambda a: jnp.sum(jnp.maximum(a, 0)))(fwd.a),
        "dL_da": jax.grad(loss_of_a)(fwd.a),
        "dL_dW1": of_theta.W1,
        "dL_db1": of_theta.b1,
    }
    assert expected.keys() == one._asdict().keys()
    for name, value in expected.items():
        assert relative_error(getattr(one, name), value) <= 1e-12, name


def test_equation_1_is_the_product_before_it(x64):
    one = lecture.backward_one(make_params(SIZES, np.float64), np.ones(3), 0)
    np.testing.assert_allclose(one.dL_dyhat * one.dyhat_dz, one.dL_dz, rtol=1e-12)


@pytest.mark.parametrize("s", [1, 2, 7])
@pytest.mark.parametrize("form", [lecture.minibatch_loop, lecture.minibatch_vmap])
def test_loop_vmap_and_matrix_form_agree(variant, x64, s, form):
    X, y, _ = make_data(s, p=3, dtype=np.float64)
    params = make_params(SIZES, np.float64)
    expected = jax.jit(lecture.minibatch_matrix)(params, X, y)
    assert relative_error(variant(form)(params, X, y), expected) <= 1e-12


def test_matrix_form_is_the_library_s_gradient(variant, dtype):
    X, y, _ = make_data(11, p=3, dtype=dtype)
    params = make_params(SIZES, dtype)
    actual = variant(lecture.minibatch_matrix)(params, X, y)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert relative_error(actual, jax.jit(loss_and_grads)(params, X, y)) <= tolerance


def test_recap_tables_have_the_lecture_s_dimensions():
    params = make_params((5, 4, 1))
    rows = lecture.forward_recap(params, jnp.ones(5), 1)
    assert [row.dimension for row in rows] == [
        "(4 × 1)",
        "(4 × 1)",
        "(1 × 1)",
        "(1 × 1)",
        "(1 × 1)",
    ]
    rows = lecture.backward_recap(params, jnp.ones(5), 1)
    assert [row.dimension for row in rows] == [
        "(1 × 1)",
        "(1 × 4)",
        "(1 × 1)",
        "(4 × 1)",
        "(4 × 1)",
        "(4 × 1)",
        "(4 × 5)",
        "(4 × 1)",
    ]
    one = lecture.backward_one(params, jnp.ones(5), 1)
    np.testing.assert_array_equal(rows[6].value, one.dL_dW1)


def test_sgd_update_is_the_lecture_s_four_lines():
    params = make_params(SIZES)
    one = lecture.backward_one(params, np.ones(3), 1)
    theta = lecture.Theta.from_params(params)
    updated = lecture.Theta.from_params(lecture.sgd_update(params, one.to_grads(), 0.1))
    np.testing.assert_allclose(updated.W2, theta.W2 - 0.1 * one.dL_dW2, rtol=1e-6)
    np.testing.assert_allclose(updated.b2, theta.b2 - 0.1 * one.dL_db2, rtol=1e-6)
    np.testing.assert_allclose(updated.W1, theta.W1 - 0.1 * one.dL_dW1, rtol=1e-6)
    np.testing.assert_allclose(updated.b1, theta.b1 - 0.1 * one.dL_db1, rtol=1e-6)


def test_gd_is_the_epoch_with_one_batch_of_all(x64):
    X, y, _ = make_data(10, p=3, dtype=np.float64)
    params = make_params(SIZES, np.float64)
    loss, updated = lecture.gd_update(params, X, y, 0.1)
    assert float(loss) == pytest.approx(float(mean_loss(params, X, y)), rel=1e-12)
    epoch = lecture.epoch(params, X, y, jnp.arange(10), 10, 0.1)
    assert relative_error(updated, epoch) <= 1e-14


@pytest.mark.parametrize(
    ("m", "s", "sizes"), [(6, 2, [2, 2, 2]), (7, 3, [3, 3, 1]), (2, 5, [2])]
)
def test_minibatches_visit_every_example_once(m, s, sizes):
    batches = list(lecture.minibatches(jnp.arange(m), s))
    assert [len(batch) for batch in batches] == sizes
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(m))


def test_minibatch_size_must_be_positive():
    with pytest.raises(ValueError, match="s must be at least 1, not 0"):
        list(lecture.minibatches(jnp.arange(3), 0))


def test_logistic_objective_is_bce_without_hidden_layer(x64):
    X, y, _ = make_data(30, p=3, dtype=np.float64)
    beta = jnp.array([0.5, -2.0, 1.0])
    params = (Layer(w=beta[:, None], b=jnp.zeros(1)),)
    expected = jnp.mean(bce_with_logits(forward(params, X), y))
    objective = lecture.logistic_regression_nll(beta, X, y)
    assert float(objective) == pytest.approx(float(expected), rel=1e-12)
    gradient = jax.grad(lecture.logistic_regression_nll)(beta, X, jnp.asarray(y, float))
    _, grads = loss_and_grads(params, X, y)
    np.testing.assert_allclose(grads[0].w[:, 0], gradient, rtol=1e-12)


def test_linear_regression_objective():
    X, y = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1.0, 0.0])
    # Residuals 1 - 3 and 0 - 7: (4 + 49) / (2 · 2).
    assert float(lecture.linear_regression_sse(jnp.ones(2), X, y)) == pytest.approx(13.25)


@pytest.mark.parametrize("sizes", [(3, 1), (3, 4, 4, 1)])
@pytest.mark.parametrize("form", ["minibatch_loop", "minibatch_vmap", "minibatch_matrix"])
def test_only_one_hidden_layer(sizes, form):
    with pytest.raises(ValueError, match="one hidden layer"):
        getattr(lecture, form)(make_params(sizes), np.ones((2, 3)), np.ones(2))


def test_wrong_features_are_named():
    with pytest.raises(
        ValueError, match=r"x must have shape \(3,\) or \(3, 1\), not \(4,\)"
    ):
        lecture.forward_one(make_params(SIZES), np.ones(4))


def test_every_public_name_exists_and_is_documented():
    for name in lecture.__all__:
        assert getattr(lecture, name).__doc__
