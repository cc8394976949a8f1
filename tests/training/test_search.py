import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmlp import bce_with_logits, fit, forward, init_params, search
from tests.helpers import relative_error

KEY = jax.random.key(5)
RATES = (0.03, 0.3)
WIDTHS = (0, 3, 6, (4, 3))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 4))
    y = (X[:, 0] * X[:, 1] + 0.3 * rng.normal(size=160) > 0).astype(int)
    return X[:100], y[:100], X[100:], y[100:]


def run(data, **options):
    defaults = {
        "learning_rates": RATES,
        "hidden_sizes": WIDTHS,
        "n_epochs": 12,
        "batch_size": 16,
    }
    return search(KEY, *data, **{**defaults, **options})


@pytest.mark.parametrize(("optimizer", "n_parallel"), [(optax.sgd, 1), (optax.adam, 3)])
@jax.numpy_dtype_promotion("standard")  # optax's Adam mixes types itself
def test_every_run_is_a_fit(x64, data, optimizer, n_parallel):
    rates = RATES if optimizer is optax.sgd else (0.001, 0.01)
    options = {"learning_rates": rates, "optimizer": optimizer}
    result = run(data, n_parallel=n_parallel, **options)
    X, y, X_val, y_val = data
    init_key, shuffle_key = jax.random.split(KEY)
    expected = []
    for widths in [(), (3,), (6,), (4, 3)]:
        for rate in rates:
            params = init_params(init_key, (4, *widths, 1), dtype=np.float64)
            one = fit(
                shuffle_key,
                params,
                X,
                y,
                optimizer=optimizer(rate),
                n_epochs=12,
                batch_size=16,
                X_val=X_val,
                y_val=y_val,
                patience=12,
            )
            curve = one.history["val_loss"]
            assert one.best_epoch == curve.argmin() + 1
            expected.append((rate, widths, one, curve.min()))
    assert [(row.learning_rate, row.hidden_sizes) for row in result.table] == [
        (rate, widths) for rate, widths, _, _ in expected
    ]
    for row, (_, _, one, loss) in zip(result.table, expected, strict=True):
        assert row.epoch == one.best_epoch
        assert row.val_loss == pytest.approx(loss, rel=1e-9)
        at_best = one.history["train_loss"][row.epoch - 1]
        assert row.train_loss == pytest.approx(at_best, rel=1e-9)
    rate, widths, one, _ = min(expected, key=lambda run: run[3])
    assert (result.best.learning_rate, result.best.hidden_sizes) == (rate, widths)
    assert relative_error(result.best.params, one.params) <= 1e-8
    for name, curve in one.history.items():
        np.testing.assert_allclose(result.best.history[name], curve, rtol=1e-8)


def test_best_has_the_lowest_validation_loss_and_its_parameters(data):
    result = run(data)
    best = result.best
    assert best.val_loss == min(row.val_loss for row in result.table)
    logits = forward(best.params, data[2])
    assert float(jnp.mean(bce_with_logits(logits, data[3]))) == pytest.approx(
        best.val_loss, rel=1e-5
    )
    assert [layer.b.shape[0] for layer in best.params] == [*best.hidden_sizes, 1]


def test_same_key_same_bits_whatever_the_chunks(data):
    seen = []

    def watch(n_done, history):
        seen.append((n_done, history["val_loss"].shape))

    plain = run(data, hidden_sizes=(3, 8))
    watched = run(data, hidden_sizes=(3, 8), callback=watch, callback_every=5)
    assert plain.table == watched.table
    chex.assert_trees_all_equal(plain.best.params, watched.best.params)
    assert seen == [(5, (4, 5)), (10, (4, 10)), (12, (4, 12))]


@pytest.mark.parametrize("n_parallel", [1, 4])
def test_patience_stops_each_run_by_itself(data, n_parallel):
    full = run(data, hidden_sizes=(3, 8), n_epochs=40, n_parallel=n_parallel)
    stopped = run(data, hidden_sizes=(3, 8), n_epochs=40, n_parallel=n_parallel, patience=2)
    assert len({row.epoch for row in stopped.table}) > 1
    for long, short in zip(full.table, stopped.table, strict=True):
        assert short.epoch <= long.epoch
    assert len(stopped.best.history["val_loss"]) == min(40, stopped.best.epoch + 2)
    assert np.isfinite(stopped.best.history["val_loss"]).all()


def test_diverging_runs_stay_in_the_table_and_are_not_chosen(data):
    result = run(data, learning_rates=(1e30, 0.1), hidden_sizes=(8,))
    assert result.table[0].epoch == 0
    assert not np.isfinite(result.table[0].val_loss)
    assert result.best.learning_rate == 0.1


def test_all_diverging(data):
    with pytest.raises(FloatingPointError, match=r"rate, 1e\+30, is too large"):
        run(data, learning_rates=(1e30,), hidden_sizes=(8,))


def test_integers_are_features_too(data):
    X, y, X_val, y_val = data
    result = run(
        ((10 * X).astype(int), y, (10 * X_val).astype(int), y_val), hidden_sizes=(3,)
    )
    assert result.best.params[0].w.dtype == np.float32


def test_xavier_starts_elsewhere(data):
    he, xavier = (run(data, init=init, hidden_sizes=(3,)) for init in ("he", "xavier"))
    assert he.best.val_loss != xavier.best.val_loss


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": np.ones(3)}, r"sample_weight must have shape \(100,\)"),
        ({"learning_rates": ()}, "learning_rates is empty"),
        (
            {"learning_rates": (0.1, -1)},
            "learning_rates must be positive and finite, not -1",
        ),
        ({"learning_rates": (float("nan"),)}, "learning_rates must be positive and finite"),
        ({"hidden_sizes": ()}, "hidden_sizes is empty"),
        ({"hidden_sizes": (-1,)}, "hidden_sizes must be a whole number from 0, not -1"),
        ({"hidden_sizes": ((3, 0),)}, "hidden_sizes must be a whole number from 1, not 0"),
        ({"n_epochs": 0}, "n_epochs must be a whole number from 1"),
        ({"n_parallel": 0}, "n_parallel must be a whole number from 1"),
        ({"init": "zero"}, "'he' or 'xavier', not 'zero'"),
        ({"patience": 0}, "patience must be a whole number from 1"),
    ],
)
def test_bad_input_is_named(data, options, message):
    with pytest.raises(ValueError, match=message):
        run(data, **options)


def test_bad_arrays_are_called_by_their_argument(data):
    X, y, X_val, y_val = data
    with pytest.raises(
        ValueError, match="X_train must be finite in float32; row 3, column 1"
    ):
        run((np.where(X[3, 1] == X, np.nan, X), y, X_val, y_val))
    with pytest.raises(ValueError, match="y_train must hold labels 0 and 1; row"):
        run((X, y + 1, X_val, y_val))
    with pytest.raises(ValueError, match="X_val must have 4 columns, as X_train, not 3"):
        run((X, y, X_val[:, :3], y_val))
