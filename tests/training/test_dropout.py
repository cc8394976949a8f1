import jax
import numpy as np
import optax
import pytest

from jaxmlp import Diagnostics, fit, loss_and_grads
from jaxmlp.core import augment
from jaxmlp.core.dropout import Dropout, draw_masks, loss_and_grads_dropped
from jaxmlp.training import epoch_order
from jaxmlp.training.orders import Plan
from jaxmlp.training.state import Settings, dropout_key
from tests.helpers import DEPTHS, make_data, make_params, relative_error

KEY = jax.random.key(5)
SGD = optax.sgd(0.2)
SHARES = {"dropout": 0.25, "input_dropout": 0.4}


def run(X, y, params, batch_size=6, **given):
    settings = {**SHARES, **given}
    return fit(
        KEY, params, X, y, optimizer=SGD, n_epochs=3, batch_size=batch_size, **settings
    )


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("batch_size", [6, 20])
def test_fit_is_a_python_loop_over_the_masks(x64, depth, batch_size):
    X, y, _ = make_data(20, dtype=np.float64)
    params = make_params(DEPTHS[depth], np.float64)
    result = run(X, y, params, batch_size)
    plan = Plan(20, batch_size, 3, drop_last=False)
    settings = Settings(SGD, loss_and_grads, plan, None, (), False, dropout=Dropout(0.25))
    key = dropout_key(jax.random.key_data(KEY), settings)
    dropout = Dropout(SHARES["dropout"], SHARES["input_dropout"])
    for epoch in range(3):
        order = np.arange(20) if batch_size == 20 else epoch_order(KEY, epoch, 20)
        for i in range(plan.n_batches):
            rows = order[i * batch_size : (i + 1) * batch_size]
            step_key = jax.random.fold_in(key, epoch * plan.n_batches + i)
            masks = draw_masks(step_key, params, batch_size, dropout)
            n = len(rows)  # fewer in an epoch's last mini-batch
            cut = masks._replace(
                inputs=masks.inputs[:n], hidden=tuple(m[:n] for m in masks.hidden)
            )
            _, grads = loss_and_grads_dropped(
                params, augment(jax.numpy.asarray(X[rows])), y[rows], None, cut
            )
            params = jax.tree.map(lambda p, g: p - 0.2 * g, params, grads)
    assert relative_error(result.params, params) <= 1e-12


def test_same_key_same_bits_whatever_the_chunks():
    X, y, _ = make_data(50)
    params = make_params(DEPTHS[1])
    plain = run(X, y, params)
    watched = run(X, y, params, callback=lambda now: None, callback_every=1)
    assert relative_error(watched.params, plain.params) == 0
    np.testing.assert_array_equal(
        watched.history["train_loss"], plain.history["train_loss"]
    )
    assert relative_error(run(X, y, params, dropout=0.0).params, plain.params) > 0


def test_validation_sees_the_whole_network():
    X, y, _ = make_data(40)
    params = make_params(DEPTHS[1])
    result = run(X, y, params, X_val=X, y_val=y)
    assert result.history["val_loss"][-1] == pytest.approx(
        float(loss_and_grads(result.params, X, y)[0]), rel=1e-6
    )
    assert result.history["val_loss"][-1] != result.history["train_loss"][-1]


def test_keys_of_every_kind_work():
    X, y, _ = make_data(8)
    params = make_params(DEPTHS[1])
    key = jax.random.key(0, impl="rbg")
    result = fit(key, params, X, y, optimizer=SGD, n_epochs=1, batch_size=4, dropout=0.5)
    assert np.isfinite(result.history["train_loss"]).all()


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan"), "half"])
@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
def test_shares_that_cannot_be_are_named(name, share):
    X, y, _ = make_data(8)
    with pytest.raises(ValueError, match=f"^{name}"):
        run(X, y, make_params(DEPTHS[1]), **{name: share})


@pytest.mark.parametrize(
    "given", [{"gradient_fn": loss_and_grads}, {"diagnostics": Diagnostics()}]
)
def test_what_does_not_go_with_dropout_is_named(given):
    X, y, _ = make_data(8)
    with pytest.raises(ValueError, match=f"{next(iter(given))} does not go with dropout"):
        run(X, y, make_params(DEPTHS[1]), **given)
