import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmlp import (
    bce_with_logits,
    ensemble_proba,
    fit,
    forward,
    init_params,
    loss_and_grads,
    predict_proba,
    search,
)
from jaxmlp.training import pool
from jaxmlp.training.arrays import check_data
from jaxmlp.training.grid import (
    Choice,
    draw_starts,
    footprint,
)
from jaxmlp.training.orders import make_orders
from jaxmlp.training.validate import make_settings
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
    options = {"key": KEY, **defaults, **options}
    return search(options.pop("key"), *data, **options)


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
            seed_key = jax.random.fold_in(init_key, 0)
            params = init_params(seed_key, (4, *widths, 1), dtype=np.float64)
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
    best = result.best.configuration
    assert (best.learning_rate, best.hidden_sizes) == (rate, widths)
    assert relative_error(result.best.params, one.params) <= 1e-8
    for name, curve in one.history.items():
        np.testing.assert_allclose(result.best.history[name], curve, rtol=1e-8)


def test_every_penalty_and_seed_is_a_fit_too(x64, data):
    result = run(data, learning_rates=(0.3,), hidden_sizes=(3,), l2=(0, 0.1), n_seeds=2)
    init_key, shuffle_key = jax.random.split(KEY)
    table = [(row.l2, row.seed) for row in result.table]
    assert table == [(0, 0), (0, 1), (0.1, 0), (0.1, 1)]
    losses = []
    for l2, seed in table:
        seed_key = jax.random.fold_in(init_key, seed)
        one = fit(
            shuffle_key,
            init_params(seed_key, (4, 3, 1), dtype=np.float64),
            *data[:2],
            optimizer=optax.sgd(0.3),
            n_epochs=12,
            batch_size=16,
            l2=l2,
            X_val=data[2],
            y_val=data[3],
        )
        losses.append(one.history["val_loss"].min())
    np.testing.assert_allclose([row.val_loss for row in result.table], losses, rtol=1e-9)
    assert len(set(losses)) == 4


def test_best_has_the_lowest_validation_loss_and_its_parameters(data):
    result = run(data)
    best = result.best
    assert best.configuration in result.table
    assert best.configuration.val_loss == min(row.val_loss for row in result.table)
    logits = forward(best.params, data[2])
    assert float(jnp.mean(bce_with_logits(logits, data[3]))) == pytest.approx(
        best.configuration.val_loss, rel=1e-5
    )
    sizes = [layer.b.shape[0] for layer in best.params]
    assert sizes == [*best.configuration.hidden_sizes, 1]


def test_ensemble_is_the_best_networks_of_any_depth(data):
    result = run(data, n_best=5, n_seeds=2)
    losses = sorted(row.val_loss for row in result.table)
    assert [n.configuration.val_loss for n in result.networks] == losses[:5]
    assert len({len(n.configuration.hidden_sizes) for n in result.networks}) > 1
    expected = np.mean([predict_proba(n.params, data[2]) for n in result.networks], axis=0)
    np.testing.assert_allclose(
        ensemble_proba(result.ensemble, data[2]), expected, rtol=1e-5
    )
    chex.assert_trees_all_equal(result.best, run(data, n_seeds=2).best)


@pytest.mark.parametrize("n_parallel", [1, 3])
def test_same_key_same_bits_whatever_the_chunks_and_threads(data, n_parallel, monkeypatch):
    seen = []
    options = {"hidden_sizes": (3, 8, (4, 2)), "n_best": 6, "n_parallel": n_parallel}
    monkeypatch.setattr(pool, "n_processors", lambda: 1)
    plain = run(data, **options)
    monkeypatch.setattr(pool, "n_processors", lambda: 3)
    watched = run(data, **options, callback=seen.append, callback_every=5)
    assert plain.table == watched.table
    chex.assert_trees_all_equal(plain.networks, watched.networks)
    done = [now.n_done for now in seen]
    assert done == sorted(done)
    assert (done[-1], seen[-1].n_epochs) == (6 * 12, 6 * 12)
    assert seen[-1].table == plain.table
    ends = run(data, **{**options, "n_best": 1}, callback=lambda now: seen.append("end"))
    assert ends.table == plain.table
    assert seen.count("end") == (6 if n_parallel == 1 else 3)
    assert any(0 < len(now.table) < 6 for now in seen)


def test_callback_ends_the_search(data, monkeypatch):
    monkeypatch.setattr(pool, "n_processors", lambda: 1)
    result = run(data, hidden_sizes=(3, 8), callback=lambda now: len(now.table) == 1)
    assert len(result.table) == 4
    has_run = [row.epoch > 0 for row in result.table]
    assert has_run[0]
    assert not has_run[-1]
    assert result.best.configuration.epoch > 0


def test_error_in_the_callback_ends_the_search(data):
    def fail(now):
        raise RuntimeError("told to")

    with pytest.raises(RuntimeError, match="told to"):
        run(data, callback=fail)
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


@pytest.mark.parametrize("n_parallel", [1, 4])
def test_patience_stops_each_run_by_itself(data, n_parallel):
    options = {"hidden_sizes": (3, 8), "n_epochs": 40, "n_best": 4}
    full = run(data, **options, n_parallel=n_parallel)
    stopped = run(data, **options, n_parallel=n_parallel, patience=2)
    curves = {
        network.configuration[:4]: network.history["val_loss"] for network in full.networks
    }
    assert [row.epoch for row in stopped.table] == [
        best_epoch_with_patience(curves[row[:4]], 2) for row in stopped.table
    ]
    pairs = zip(full.table, stopped.table, strict=True)
    assert any(short.epoch < long.epoch for long, short in pairs)
    for network in stopped.networks:
        curve = network.history["val_loss"]
        assert len(curve) == min(40, network.configuration.epoch + 2)
        assert np.isfinite(curve).all()


def best_epoch_with_patience(curve, patience):
    best = 0
    for epoch in range(len(curve)):
        if curve[epoch] < curve[best]:
            best = epoch
        elif epoch - best == patience:
            break
    return best + 1


def test_memory_limit_cuts_chunks_and_changes_little(data):
    options = {"hidden_sizes": (3, 30), "n_seeds": 3, "n_parallel": 12}
    free = run(data, **options, memory_limit=2**40)
    work = grid_work(data)
    need = footprint((4, 30, 1), work.data, work.settings)
    choices = [Choice((30,), 0.1, 0.0, seed) for seed in range(12)]
    for n_networks, size in ((5, 4), (1, 1), (100, 12)):
        limit = need.of_chunk(n_networks)
        (group,), n_threads = pool.plan_groups(work, choices, 12, limit)
        assert {len(chunk) for chunk in group.chunks} == {size}
        assert n_threads * need.of_chunk(size) <= limit
    tight = run(data, **options, memory_limit=need.of_chunk(5))
    for a, b in zip(free.table, tight.table, strict=True):
        assert b.val_loss == pytest.approx(a.val_loss, rel=1e-5)


CASES = [
    (options, widths, size)
    for options in (
        {},
        {"optimizer": optax.adam},
        {"p": 300, "batch_size": 64},
        {"p": 300, "batch_size": 64, "compute_dtype": "bfloat16"},
        {"p": 300, "batch_size": 100, "compute_dtype": "bfloat16"},
    )
    for widths in ((), (30, 20))
    for size in (1, 8)
] + [  # half of them, as L-BFGS takes long to compile
    ({"p": 300, "batch_size": 100, "optimizer": optax.lbfgs}, (), 8),
    ({"p": 300, "batch_size": 100, "optimizer": optax.lbfgs}, (30, 20), 1),
    ({"p": 300, "batch_size": 64, "optimizer": optax.lbfgs}, (), 1),
    ({"p": 300, "batch_size": 64, "optimizer": optax.lbfgs}, (30, 20), 8),
]


@pytest.mark.parametrize(("options", "widths", "size"), CASES)
@jax.numpy_dtype_promotion("standard")
def test_memory_limit_is_kept(data, options, widths, size):
    work = grid_work(data, widths=widths, **options)
    choices = [Choice(widths, 0.1, 0.0, 0)] * size
    group = pool.Group(widths, [list(range(size))])
    program = pool._compile(work, choices, group).run
    memory = program.memory_analysis()
    shared = sum(leaf.nbytes for leaf in jax.tree.leaves((work.data, work.orders(0))))
    # What XLA itself says that the program holds at once, beside the data.
    held = memory.argument_size_in_bytes - shared + memory.temp_size_in_bytes
    held += memory.output_size_in_bytes - memory.alias_size_in_bytes
    sizes = (work.draws.n_features, *widths, 1)
    assert held <= footprint(sizes, work.data, work.settings).of_chunk(size)


def grid_work(
    data, widths=(30,), *, p=4, batch_size=16, optimizer=optax.sgd, compute_dtype=None
):
    """What a search would hand to its threads, of features repeated to p columns."""
    X, y, X_val, y_val = data
    X, X_val = (np.tile(features, (1, p // 4)) for features in (X, X_val))
    checked = check_data(
        X,
        y,
        dtype=np.float32,
        compute_dtype=compute_dtype,
        X_val=X_val,
        y_val=y_val,
        augmented=True,
    )
    settings = make_settings(
        checked.X.shape[0],
        has_validation=True,
        optimizer=optimizer,
        gradient_fn=None,
        n_epochs=12,
        batch_size=batch_size,
        drop_last=False,
        patience=None,
        metrics=None,
        penalize_bias=False,
    )
    draws, seed = draw_starts(KEY, [Choice(widths, 0.1, 0.0, 11)], p, "he", "float32")
    device = jax.devices()[0]
    orders = make_orders(seed, settings.plan, device)
    return pool.Work(checked, settings, draws, orders, device, False, None)


def test_bfloat16_side_by_side(data):
    options = {"hidden_sizes": (3, 8), "compute_dtype": "bfloat16"}
    alone, together = (run(data, **options, n_parallel=n) for n in (1, 4))
    for a, b in zip(alone.table, together.table, strict=True):
        assert b.val_loss == pytest.approx(a.val_loss, rel=1e-2)


def test_repeated_searches_trace_once(data):
    gradient_fn = chex.assert_max_traces(loss_and_grads, n=1)
    for _ in range(2):
        run(data, hidden_sizes=(3, 8), gradient_fn=gradient_fn)


def test_settings_of_a_with_block_hold_in_all_threads(data):
    with jax.numpy_dtype_promotion("standard"):
        result = run(data, hidden_sizes=(3,), optimizer=optax.adam, n_seeds=4)
    assert np.isfinite([row.val_loss for row in result.table]).all()


def test_lbfgs_side_by_side(data):
    with jax.numpy_dtype_promotion("standard"):
        alone, together = (
            run(
                data,
                hidden_sizes=(0,),
                learning_rates=(1.0,),
                l2=(0.01, 0.1),
                optimizer=optax.lbfgs,
                batch_size=100,
                n_parallel=n_parallel,
            )
            for n_parallel in (1, 2)
        )
    for a, b in zip(alone.table, together.table, strict=True):
        assert b.val_loss == pytest.approx(a.val_loss, rel=1e-4)


def test_diverging_runs_stay_in_the_table_and_are_not_chosen(data):
    result = run(data, learning_rates=(1e30, 0.1), hidden_sizes=(8,))
    assert result.table[0].epoch == 0
    assert not np.isfinite(result.table[0].val_loss)
    assert result.best.configuration.learning_rate == 0.1


def test_diverged_networks_are_in_no_ensemble(data):
    result = run(data, learning_rates=(1e30, 0.1), hidden_sizes=(8,), n_best=2)
    assert [n.configuration.learning_rate for n in result.networks] == [0.1]
    assert len(result.table) == 2


def test_all_diverging(data):
    with pytest.raises(
        FloatingPointError, match=r"rate, 1e\+30, and penalty, 0, are too large"
    ):
        run(data, learning_rates=(1e30,), hidden_sizes=(8,))


def test_integers_are_features_too(data):
    X, y, X_val, y_val = data
    result = run(
        ((10 * X).astype(int), y, (10 * X_val).astype(int), y_val), hidden_sizes=(3,)
    )
    assert result.best.params[0].w.dtype == np.float32


def test_a_validation_weight_of_two_is_the_row_twice(data):
    X, y, X_val, y_val = data
    counts = np.arange(len(y_val)) % 3
    again = np.repeat(np.arange(len(y_val)), counts)
    settings = {"hidden_sizes": (3,), "class_weight": {0: 1, 1: 4}}
    weighted = run(data, sample_weight_val=counts, **settings)
    repeated = run((X, y, X_val[again], y_val[again]), **settings)
    losses = [[row.val_loss for row in found.table] for found in (weighted, repeated)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert run(data, **settings).table[0].val_loss != pytest.approx(losses[0][0], rel=1e-3)


def test_xavier_starts_elsewhere(data):
    he, xavier = (run(data, init=init, hidden_sizes=(3,)) for init in ("he", "xavier"))
    assert he.table[0].val_loss != xavier.table[0].val_loss


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": np.ones(3)}, r"sample_weight must have shape \(100,\)"),
        ({"sample_weight_val": np.zeros(60)}, "sample_weight_val is zero for every row"),
        ({"learning_rates": ()}, "learning_rates is empty"),
        (
            {"learning_rates": (0.1, -1)},
            "learning_rates must be positive and finite, not -1",
        ),
        ({"learning_rates": (float("nan"),)}, "learning_rates must be positive and finite"),
        ({"learning_rates": (1e39,)}, "learning_rates must be positive and finite, not 1e"),
        ({"hidden_sizes": 3}, r"hidden_sizes must be a sequence such as \[3\], not 3"),
        ({"hidden_sizes": ()}, "hidden_sizes is empty"),
        ({"hidden_sizes": (-1,)}, "hidden_sizes must be a whole number from 0, not -1"),
        ({"hidden_sizes": ((3, 0),)}, "hidden_sizes must be a whole number from 1, not 0"),
        ({"n_epochs": 0}, "n_epochs must be a whole number from 1"),
        ({"n_parallel": 0}, "n_parallel must be a whole number from 1"),
        ({"init": "zero"}, "'he' or 'xavier', not 'zero'"),
        ({"memory_limit": 1_000}, "memory_limit of 1000 bytes is too little: a network of"),
        ({"memory_limit": 0}, "memory_limit must be a whole number from 1, not 0"),
        ({"n_epochs": 2**31}, "n_epochs must be a whole number from 1 to 2147483647, not"),
        ({"optimizer": optax.sgd(0.1)}, "optimizer must make an optimiser from a step"),
        ({"optimizer": "sgd"}, "optimizer must make an optimiser from a step size"),
        ({"key": 0}, "key must be one JAX random key"),
        ({"l2": (-1,)}, "l2 must be a finite number from 0, not -1"),
        ({"l2": ()}, "l2 is empty"),
        ({"n_seeds": 0}, "n_seeds must be a whole number from 1"),
        ({"n_best": 9}, "n_best is 9, but there are only 8 networks"),
        ({"n_best": 0}, "n_best must be a whole number from 1"),
        ({"callback_every": 0}, "callback_every must be a whole number from 1"),
        ({"device": "abacus"}, "device 'abacus' is not to be had; JAX sees:"),
        ({"class_weight": {1: 2}}, "class_weight must be 'balanced' or hold"),
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
    with pytest.raises(
        ValueError, match="X_val must have 4 columns, as the training part, not 3"
    ):
        run((X, y, X_val[:, :3], y_val))
    with pytest.raises(ValueError, match="search chooses on a validation part"):
        run((X, y, None, None))


def test_a_run_that_diverges_ends_at_once():
    X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32) * 1e15
    y = (X[:, 0] > 0).astype(int)
    result = search(
        jax.random.key(0),
        X,
        y,
        X,
        y,
        learning_rates=[1e-40, 1e30],
        hidden_sizes=[4],
        n_epochs=50,
        batch_size=10,
        n_best=1,
    )
    calm, wild = result.table
    assert (calm.diverged, wild.diverged) == (None, 1)
