import jax
import numpy as np
import pytest

from jaxmlp import loss_and_grads
from jaxmlp.training.objective import penalized
from tests.helpers import DEPTHS, make_data, make_params, penalized_loss, relative_error


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("penalize_bias", [False, True])
def test_value_and_gradient_are_those_of_the_penalised_loss(x64, depth, penalize_bias):
    X, y, weight = make_data(20, dtype=np.float64, weighted=True)
    params = make_params(DEPTHS[depth], np.float64)
    batch = (params, X, y, weight)
    reference = jax.jit(jax.value_and_grad(penalized_loss), static_argnums=5)
    expected = reference(*batch, 0.1, penalize_bias)

    objective = penalized(loss_and_grads, np.float64(0.1), penalize_bias)
    loss, value, grads, *_ = jax.jit(objective.evaluate)(*batch)
    assert relative_error((value, grads), expected) <= 1e-12
    assert relative_error(loss, loss_and_grads(*batch)[0]) <= 1e-12
    # What a line search sees: the value alone, and what JAX makes its derivative.
    assert relative_error(jax.jit(objective.value)(*batch), expected[0]) <= 1e-12
    derived = jax.jit(jax.value_and_grad(objective.value))(*batch)
    assert relative_error(derived, expected) <= 1e-12


def test_without_penalty_value_is_the_loss(x64):
    batch = (make_params(DEPTHS[1], np.float64), *make_data(20, dtype=np.float64))
    loss, value, grads, *_ = penalized(loss_and_grads, None, False).evaluate(*batch)
    assert float(loss) == float(value)
    assert relative_error(grads, loss_and_grads(*batch)[1]) == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_a_penalty_once_a_mini_batch_is_shared_by_its_weight(x64, weighted):
    X, y, weight = make_data(20, dtype=np.float64, weighted=weighted)
    batch = (make_params(DEPTHS[1], np.float64), X, y, weight)
    total = weight.sum() if weighted else 20
    once = penalized(loss_and_grads, np.float64(3), False, penalize_once=True)
    share = penalized(loss_and_grads, np.float64(3 / total), False)
    assert relative_error(once.evaluate(*batch), share.evaluate(*batch)) <= 1e-14


def test_a_mini_batch_without_weight_has_no_penalty(x64):
    X, y, _ = make_data(20, dtype=np.float64)
    batch = (make_params(DEPTHS[1], np.float64), X, y, np.zeros(20))
    found = penalized(loss_and_grads, np.float64(3), False, penalize_once=True)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(found.evaluate(*batch)))
