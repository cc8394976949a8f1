import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmlp import Layer, bce_with_logits, fit, forward, init_params
from jaxmlp.interfaces.playground.runs import (
    CHECKS,
    n_runs,
    snapshot_epochs,
    start_params,
)
from jaxmlp.training import epoch_order
from tests.helpers import mean_loss, relative_error
from tests.interfaces.playground.conftest import GRID


def params_of(flat, q):
    """The stored order: W1 unit by unit, b1, W2, b2."""
    return (
        Layer(jnp.asarray(flat[: 2 * q].reshape(q, 2).T), jnp.asarray(flat[2 * q : 3 * q])),
        Layer(jnp.asarray(flat[3 * q : 4 * q, None]), jnp.asarray(flat[4 * q :])),
    )


def find(replay, **wanted):
    """The run of these values of the grid."""
    names = {"width": "widths", "batch_size": "batch_sizes", "init": "inits"}
    names["learning_rate"] = "learning_rates"
    choice = {k: getattr(GRID, names[k]).index(v) for k, v in wanted.items()}
    (found,) = (run for run in replay.runs if run.choice._asdict() == choice)
    return found


def test_snapshots_are_close_together_at_first():
    epochs = snapshot_epochs(300)
    assert epochs[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert epochs[-1] == 300
    assert 25 <= len(epochs) <= 35
    assert snapshot_epochs(1).tolist() == [0, 1]


@pytest.mark.parametrize("batch_size", GRID.batch_sizes)
def test_snapshots_are_those_of_fit(replay, batch_size):
    run = find(replay, width=3, batch_size=batch_size, init="he", learning_rate=0.3)
    init_key, shuffle_key = jax.random.split(jax.random.key(1))
    points = replay.points
    params = init_params(init_key, (2, 3, 1))
    for k in (0, 1, 5, len(replay.epochs) - 1):
        if replay.epochs[k]:
            params = fit(
                shuffle_key,
                init_params(init_key, (2, 3, 1)),
                points.X_train,
                points.y_train,
                optimizer=optax.sgd(0.3),
                n_epochs=int(replay.epochs[k]),
                batch_size=batch_size or len(points.y_train),
            ).params
        assert relative_error(params_of(run.params[k], 3), params) < 1e-5
    orders = [epoch_order(shuffle_key, int(e), len(points.y_train)) for e in replay.epochs]
    np.testing.assert_array_equal(replay.orders, orders)


def test_checks_are_jax_s_numbers(replay, x64):
    run = find(replay, width=2, batch_size=16, init="he", learning_rate=0.3)
    points = replay.points
    X, y = jnp.asarray(points.X_train, jnp.float64), points.y_train.astype(float)
    for k, i in enumerate(replay.checked):
        params = params_of(run.params[k].astype(np.float64), 2)
        grads = jax.grad(mean_loss)(params, X, y)
        own = jax.grad(mean_loss)(params, X[i : i + 1], y[i : i + 1])
        logit = forward(params, X[i : i + 1])
        lengths = [optax.tree.norm(grads), optax.tree.norm(own)]
        X_val, y_val = points.X_val.astype(float), points.y_val.astype(float)
        expected = {
            "train_loss": mean_loss(params, X, y),
            "val_loss": mean_loss(params, X_val, y_val),
            "mean_gradient_norm": lengths[0],
            "logit": logit[0],
            "loss": bce_with_logits(logit, y[i : i + 1])[0],
            "gradient_norm": lengths[1],
        }
        np.testing.assert_allclose(
            run.checks[k], [expected[name] for name in CHECKS], rtol=1e-9, atol=1e-12
        )


def test_a_run_that_diverges_is_lost_from_there_on(replay):
    run = find(replay, width=3, batch_size=16, init="he", learning_rate=1e30)
    assert np.isfinite(run.params[0]).all()
    assert np.isnan(run.params[-1]).all()
    assert len(run.params) == len(replay.epochs)


def test_zero_weights_stay_zero_but_for_the_last_bias(replay):
    run = find(replay, width=3, batch_size=16, init="zero", learning_rate=0.3)
    assert not run.params[:, :-1].any()
    assert run.params[-1, -1] != 0
    assert all(
        not leaf.any()
        for leaf in jax.tree.leaves(start_params(jax.random.key(0), 3, "zero"))
    )


def test_every_combination_is_there_once(replay):
    assert (
        len({run.choice for run in replay.runs}) == len(replay.runs) == n_runs(GRID) == 16
    )
    # The page finds a run by its place.
    assert [run.choice for run in replay.runs] == sorted(run.choice for run in replay.runs)
