import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmlp.lecture as lecture
from jaxmlp import bce_with_logits, fit, forward, loss_and_grads
from jaxmlp.training import epoch_order
from tests.helpers import (
    DEPTHS,
    make_data,
    make_params,
    mean_loss,
    penalized_loss,
    relative_error,
)

KEY = jax.random.key(3)
SGD = optax.sgd(0.3)  # one object, so that tests share compiled programs
MOMENTUM = optax.sgd(0.1, momentum=0.5)


penalized_grads = jax.jit(jax.grad(penalized_loss), static_argnames="penalize_bias")


def python_loop(
    params,
    X,
    y,
    optimizer,
    n_epochs,
    batch_size,
    weight=None,
    l2=0.0,
    penalize_bias=False,
    drop_last=False,
):
    """`fit` as a plain loop, with gradients by `jax.grad` and no padding."""
    opt_state = optimizer.init(params)
    n = len(y)
    train_loss = []
    for epoch in range(n_epochs):
        order = np.arange(n)
        if batch_size < n:
            order = epoch_order(KEY, epoch, n)
        total, total_weight = 0.0, 0.0
        for rows in lecture.minibatches(order, batch_size):
            w = np.ones(len(rows)) if weight is None else weight[rows]
            if drop_last and len(rows) < batch_size < n:
                continue
            total += w.sum() * float(mean_loss(params, X[rows], y[rows], w))
            total_weight += w.sum()
            grads = penalized_grads(params, X[rows], y[rows], w, l2, penalize_bias)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
        train_loss.append(total / total_weight)
    return params, opt_state, train_loss


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("batch_size", [1, 4, 8, 20, 100])
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_a_python_loop(x64, depth, batch_size, weighted):
    X, y, weight = make_data(20, dtype=np.float64, weighted=weighted)
    params = make_params(DEPTHS[depth], np.float64)
    expected = python_loop(params, X, y, MOMENTUM, 3, batch_size, weight)
    result = fit(
        KEY,
        params,
        X,
        y,
        optimizer=MOMENTUM,
        n_epochs=3,
        batch_size=batch_size,
        sample_weight=weight,
    )
    assert relative_error(result.params, expected[0]) <= 1e-12
    assert relative_error(result.opt_state, expected[1]) <= 1e-12
    np.testing.assert_allclose(result.history["train_loss"], expected[2], rtol=1e-12)


@pytest.mark.parametrize(
    "optimizer",
    [optax.adam(0.01), optax.adamw(0.01), optax.sgd(0.1, momentum=0.9, nesterov=True)],
)
def test_any_optax_optimizer(x64, optimizer):
    X, y, _ = make_data(12, dtype=np.float64)
    params = make_params(DEPTHS[1], np.float64)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam mixes types itself
        expected, _, _ = python_loop(params, X, y, optimizer, 2, 4)
        result = fit(KEY, params, X, y, optimizer=optimizer, n_epochs=2, batch_size=4)
    assert relative_error(result.params, expected) <= 1e-10


def test_optimizer_that_looks_at_the_loss():
    X, y, _ = make_data(12)
    params = make_params(DEPTHS[1])
    optimizer = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1))
    with jax.numpy_dtype_promotion("standard"):
        result = fit(KEY, params, X, y, optimizer=optimizer, n_epochs=2, batch_size=4)
    assert np.isfinite(result.history["train_loss"]).all()


def test_schedule_counts_steps(x64):
    X, y, _ = make_data(12, dtype=np.float64)
    params = make_params(DEPTHS[1], np.float64)
    optimizer = optax.sgd(optax.linear_schedule(0.5, 0.0, 6))
    expected, _, _ = python_loop(params, X, y, optimizer, 2, 4)
    result = fit(KEY, params, X, y, optimizer=optimizer, n_epochs=2, batch_size=4)
    # optax computes the schedule in float32 where it is compiled.
    assert relative_error(result.params, expected) <= 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"l2": 0.1},
        {"l2": 0.1, "penalize_bias": True},
        {"drop_last": True},
        {"l2": 0.1, "drop_last": True},
    ],
)
@pytest.mark.parametrize("batch_size", [8, 20])
def test_penalty_and_dropped_rest(x64, options, batch_size):
    X, y, weight = make_data(20, dtype=np.float64, weighted=True)
    params = make_params(DEPTHS[2], np.float64)
    expected, _, losses = python_loop(params, X, y, SGD, 3, batch_size, weight, **options)
    result = fit(
        KEY,
        params,
        X,
        y,
        optimizer=SGD,
        n_epochs=3,
        batch_size=batch_size,
        sample_weight=weight,
        **options,
    )
    assert relative_error(result.params, expected) <= 1e-12
    np.testing.assert_allclose(result.history["train_loss"], losses, rtol=1e-12)


def test_class_weights_are_sample_weights():
    X, y, weight = make_data(40, weighted=True)
    settings = {"optimizer": SGD, "n_epochs": 2, "batch_size": 7}
    by_class = fit(
        KEY,
        make_params(DEPTHS[1]),
        X,
        y,
        sample_weight=weight,
        class_weight={0: 0.5, 1: 3},
        **settings,
    )
    by_row = fit(
        KEY,
        make_params(DEPTHS[1]),
        X,
        y,
        sample_weight=weight * np.where(y == 1, 3, 0.5).astype(np.float32),
        **settings,
    )
    chex.assert_trees_all_equal(by_class, by_row)


def test_class_weights_weight_the_validation_loss():
    X_val, y_val, _ = make_data(30, seed=1)
    result = fit_with_validation(class_weight={0: 1, 1: 5})
    weights = np.where(y_val == 1, 5.0, 1.0).astype(np.float32)
    expected = float(mean_loss(result.params, X_val, y_val, weights))
    assert result.history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)


def test_balanced_classes_weigh_the_same():
    X, y, _ = make_data(40)
    y = (np.arange(40) < 5).astype(int)
    settings = {"optimizer": SGD, "n_epochs": 1, "batch_size": 40}
    params = make_params(DEPTHS[1])
    balanced = fit(KEY, params, X, y, class_weight="balanced", **settings)
    explicit = fit(KEY, params, X, y, class_weight={0: 40 / 70, 1: 4}, **settings)
    chex.assert_trees_all_close(balanced, explicit, rtol=1e-6)


@jax.numpy_dtype_promotion("standard")  # optax mixes types itself
def test_lbfgs_takes_the_full_batch_to_the_minimum(x64):
    # The penalised logistic loss is convex: its gradient vanishes at the minimum.
    X, y, weight = make_data(200, dtype=np.float64, weighted=True)
    result = fit(
        KEY,
        make_params(DEPTHS[0], np.float64),
        X,
        y,
        optimizer=optax.lbfgs(),
        n_epochs=30,
        batch_size=200,
        sample_weight=weight,
        l2=0.01,
    )
    grads = penalized_grads(result.params, X, y, weight, 0.01, False)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads)) < 1e-9


@jax.numpy_dtype_promotion("standard")
def test_lbfgs_on_a_network_descends(x64):
    X, y, _ = make_data(100, dtype=np.float64)
    result = fit(
        KEY,
        make_params(DEPTHS[2], np.float64),
        X,
        y,
        optimizer=optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(15)),
        n_epochs=40,
        batch_size=100,
    )
    losses = result.history["train_loss"]
    assert (np.diff(losses) <= 1e-12).all()
    assert losses[-1] < 0.5 * losses[0]


def test_clipping_is_an_optimizer_of_the_chain(x64):
    X, y, _ = make_data(20, dtype=np.float64)
    params = make_params(DEPTHS[1], np.float64)
    optimizer = optax.chain(optax.clip_by_global_norm(0.01), optax.sgd(1.0))
    result = fit(KEY, params, X, y, optimizer=optimizer, n_epochs=1, batch_size=20)
    step = jax.tree.map(lambda new, old: new - old, result.params, params)
    assert float(optax.tree.norm(step)) == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1, momentum=0.9), optax.adam(0.01)])
@jax.numpy_dtype_promotion("standard")
def test_warm_start_goes_on_where_a_run_stopped(x64, optimizer):
    X, y, _ = make_data(20, dtype=np.float64)
    settings = {"optimizer": optimizer, "batch_size": 20}  # no orders to differ in
    params = make_params(DEPTHS[1], np.float64)
    once = fit(KEY, params, X, y, n_epochs=5, **settings)
    first = fit(KEY, params, X, y, n_epochs=2, **settings)
    kept = jax.tree.map(np.array, first.opt_state)
    second = fit(KEY, first.params, X, y, n_epochs=3, opt_state=first.opt_state, **settings)
    chex.assert_trees_all_equal(first.opt_state, kept)
    assert relative_error(second.params, once.params) <= 1e-13


def test_metrics_are_measured_at_each_epoch_s_end():
    def accuracy(logits, y):
        return jnp.mean((logits >= 0) == (y == 1))

    X_val, y_val, _ = make_data(30, seed=1)
    for n_epochs in (1, 3):
        result = fit_with_validation(n_epochs=n_epochs, metrics={"accuracy": accuracy})
        expected = np.mean((np.asarray(forward(result.params, X_val)) >= 0) == y_val)
        assert result.history["val_accuracy"].shape == (n_epochs,)
        assert result.history["val_accuracy"][-1] == pytest.approx(expected)


def test_callback_stops_and_keeps_what_it_took():
    taken = []

    def stop_at_four(now):
        taken.append(now.result())
        assert (now.n_epochs, len(now.history["val_loss"])) == (7, now.n_done)
        return now.n_done == 4

    result = fit_with_validation(callback=stop_at_four, callback_every=2)
    assert len(taken) == 2
    seen = []
    fit_with_validation(callback=seen.append)
    with pytest.raises(RuntimeError, match="within the callback"):
        seen[0].result()
    chex.assert_trees_all_equal(taken[1], result)
    plain = fit_with_validation(n_epochs=4)
    chex.assert_trees_all_equal(result.params, plain.params)
    chex.assert_trees_all_equal(taken[0].params, fit_with_validation(n_epochs=2).params)


def test_callback_sees_each_epoch_once_when_patience_runs_out():
    seen = []
    result = fit_with_validation(
        n_epochs=60, patience=3, callback=lambda now: seen.append(now.n_done)
    )
    assert seen == list(range(1, len(result.history["val_loss"]) + 1))


def test_checks_for_early_stopping_change_no_bit():
    X, y, _ = make_data(60)
    settings = {"optimizer": SGD, "n_epochs": 7, "batch_size": 8}
    without = fit(KEY, make_params(DEPTHS[1]), X, y, **settings)
    watched = fit_with_validation(callback=lambda now: None, callback_every=2)
    patient = fit_with_validation(patience=7)
    chex.assert_trees_all_equal(without.params, watched.params)
    chex.assert_trees_all_equal(patient.history, watched.history)
    chex.assert_trees_all_equal(patient.opt_state, watched.opt_state)


def test_products_in_bfloat16():
    X, y, _ = make_data(500)
    y = (X[:, 0] > 0).astype(int)
    settings = {"optimizer": SGD, "n_epochs": 10, "batch_size": 50}
    params = make_params(DEPTHS[1])
    full = fit(KEY, params, X, y, **settings)
    half = fit(KEY, params, X, y, compute_dtype="bfloat16", **settings)
    chex.assert_trees_all_equal_dtypes(half.params, full.params)
    assert not np.array_equal(half.params[0].w, full.params[0].w)
    # Rounded to 8 bits, products change the curve by about a hundredth.
    np.testing.assert_allclose(
        half.history["train_loss"], full.history["train_loss"], rtol=0.02
    )


@pytest.mark.parametrize("device", ["cpu", jax.devices("cpu")[0]])
def test_device_is_where_the_result_is(device):
    X, y, _ = make_data(20)
    settings = {"optimizer": SGD, "n_epochs": 1, "batch_size": 7}
    here = fit(KEY, make_params(DEPTHS[1]), X, y, **settings, device=device)
    assert here.params[0].w.devices() == {jax.devices("cpu")[0]}
    if jax.default_backend() == "cpu":
        default = fit(KEY, make_params(DEPTHS[1]), X, y, **settings)
        chex.assert_trees_all_equal(here.params, default.params)


@pytest.mark.skipif(jax.default_backend() == "cpu", reason="needs an accelerator")
def test_accelerator_agrees_with_the_cpu(dtype):
    X, y, _ = make_data(2_000, dtype=dtype)
    settings = {"optimizer": SGD, "n_epochs": 5, "batch_size": 64}
    here, on_cpu = (
        fit(KEY, make_params(DEPTHS[1], dtype), X, y, **settings, device=device)
        for device in (None, "cpu")
    )
    # 160 steps on the same mini-batches, sums in another order.
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    assert relative_error(here.params, jax.device_get(on_cpu.params)) <= tolerance


def test_large_table_trains_on_every_row(dtype):
    n = 40_000
    X, y, _ = make_data(n, dtype=dtype)
    params = make_params(DEPTHS[1], dtype)
    optimizer = optax.sgd(0.5)
    result = fit(KEY, params, X, y, optimizer=optimizer, n_epochs=1, batch_size=n)
    _, grads = loss_and_grads(params, X, y)
    expected = jax.tree.map(lambda p, g: p - jnp.asarray(0.5, p.dtype) * g, params, grads)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert relative_error(result.params, expected) <= tolerance
    settings = {"optimizer": optimizer, "n_epochs": 1, "batch_size": 7_000}
    expected, _, _ = python_loop(params, X, y, *settings.values())
    batches = fit(KEY, params, X, y, **settings)
    assert relative_error(batches.params, expected) <= tolerance


def fit_with_validation(**options):
    X, y, _ = make_data(60)
    X_val, y_val, _ = make_data(30, seed=1)
    defaults = {"optimizer": SGD, "n_epochs": 7, "batch_size": 8}
    params = make_params(DEPTHS[1])
    return fit(KEY, params, X, y, X_val=X_val, y_val=y_val, **{**defaults, **options})


def test_validation_loss_is_that_of_the_epoch_s_end():
    X_val, y_val, _ = make_data(30, seed=1)
    for n_epochs in (1, 3):
        result = fit_with_validation(n_epochs=n_epochs)
        expected = jnp.mean(bce_with_logits(forward(result.params, X_val), y_val))
        assert result.history["val_loss"].shape == (n_epochs,)
        assert result.history["val_loss"][-1] == pytest.approx(float(expected), rel=1e-6)


def test_validation_part_changes_no_parameter():
    X, y, _ = make_data(60)
    without = fit(
        KEY,
        make_params(DEPTHS[1]),
        X,
        y,
        optimizer=SGD,
        n_epochs=7,
        batch_size=8,
    )
    chex.assert_trees_all_close(without.params, fit_with_validation().params, rtol=1e-6)
    assert without.best_epoch is None
    assert without.history.keys() == {"train_loss"}


@pytest.mark.parametrize("every", [1, 2, 3, 7, 50])
def test_chunks_change_no_bit(every):
    seen = []
    plain = fit_with_validation()
    watched = fit_with_validation(
        callback=lambda now: seen.append((now.n_done, len(now.history["val_loss"]))),
        callback_every=every,
    )
    chex.assert_trees_all_equal(watched, plain)
    ends = [*range(every, 7, every), 7]
    assert seen == [(end, end) for end in ends]


def test_same_key_same_bits_other_key_other_bits():
    chex.assert_trees_all_equal(fit_with_validation(), fit_with_validation())
    X, y, _ = make_data(60)
    results = [
        fit(
            key,
            make_params(DEPTHS[1]),
            X,
            y,
            optimizer=SGD,
            n_epochs=1,
            batch_size=8,
        )
        for key in (KEY, jax.random.key(4))
    ]
    assert not np.array_equal(results[0].params[0].w, results[1].params[0].w)


@pytest.mark.parametrize("callback", [None, lambda now: None])
def test_patience_stops_and_restores_the_best_epoch(callback):
    # Labels are noise, so the validation loss turns upward soon.
    full = fit_with_validation(n_epochs=60)
    curve = full.history["val_loss"]
    best = int(curve.argmin()) + 1
    stopped = fit_with_validation(n_epochs=60, patience=3, callback=callback)
    run = len(stopped.history["val_loss"])
    assert stopped.best_epoch == int(curve[:run].argmin()) + 1
    assert run == stopped.best_epoch + 3 < 60
    np.testing.assert_array_equal(stopped.history["val_loss"], curve[:run])
    at_best = fit_with_validation(n_epochs=stopped.best_epoch)
    chex.assert_trees_all_close(stopped.params, at_best.params, rtol=1e-6)
    assert full.best_epoch == best


def test_params_given_are_not_changed_and_can_be_used_again():
    params = make_params(DEPTHS[1])
    before = jax.tree.map(np.array, params)
    X, y, _ = make_data(20)
    for _ in range(2):
        fit(KEY, params, X, y, optimizer=SGD, n_epochs=1, batch_size=5)
    chex.assert_trees_all_equal(params, before)


def test_one_trace_for_repeated_calls():
    gradient_fn = chex.assert_max_traces(loss_and_grads, n=1)
    X, y, _ = make_data(20)
    for seed in range(3):
        fit(
            jax.random.key(seed),
            make_params(DEPTHS[1], seed=seed),
            X,
            y,
            optimizer=SGD,
            n_epochs=4,
            batch_size=5,
            gradient_fn=gradient_fn,
        )


def test_gradient_fn_replaces_the_gradient():
    def twice(params, X, y, sample_weight):
        loss, grads = loss_and_grads(params, X, y, sample_weight)
        return loss, jax.tree.map(lambda g: g + g, grads)

    X, y, _ = make_data(20)
    params = make_params(DEPTHS[1])
    settings = {"n_epochs": 2, "batch_size": 6}
    doubled = fit(KEY, params, X, y, optimizer=SGD, gradient_fn=twice, **settings)
    faster = fit(KEY, params, X, y, optimizer=optax.sgd(0.6), **settings)
    chex.assert_trees_all_close(doubled.params, faster.params, rtol=1e-5)


def test_types_that_do_not_fit_together_are_named():
    data = make_data(8, dtype=np.float64)[:2]
    settings = {"optimizer": MOMENTUM, "n_epochs": 1, "batch_size": 8}
    single = MOMENTUM.init(make_params(DEPTHS[1]))
    with jax.enable_x64(True):
        params = make_params(DEPTHS[1], np.float64)
        with pytest.raises(ValueError, match="opt_state does not belong to"):
            fit(KEY, params, *data, opt_state=single, **settings)
    with pytest.raises(ValueError, match="params are float64, which JAX has switched off"):
        fit(KEY, params, *data, **settings)


@pytest.mark.parametrize("scale", [1e-300, 1e38, 1e300])
def test_only_the_ratios_of_weights_count(scale):
    X, y, weight = make_data(20, weighted=True)
    settings = {"optimizer": SGD, "n_epochs": 1, "batch_size": 8}
    params = make_params(DEPTHS[1])
    expected = fit(KEY, params, X, y, sample_weight=weight, **settings)
    power = 2.0 ** round(np.log2(scale))
    scaled_weight = weight.astype(float) * power
    scaled = fit(KEY, params, X, y, sample_weight=scaled_weight, **settings)
    chex.assert_trees_all_equal(scaled, expected)
    huge = {0: scale, 1: 3 * scale}
    by_class = [
        fit(KEY, params, X, y, class_weight=weights, **settings)
        for weights in (huge, {0: 1, 1: 3})
    ]
    chex.assert_trees_all_close(*by_class, rtol=1e-6)


def test_epoch_without_weight_has_no_loss_and_no_step():
    X, y, _ = make_data(9)
    weight = np.zeros(9)
    weight[epoch_order(KEY, 0, 9)[-1]] = 1  # in the mini-batch that is dropped
    params = make_params(DEPTHS[1])
    settings = {"optimizer": SGD, "n_epochs": 1, "batch_size": 8, "drop_last": True}
    result = fit(KEY, params, X, y, sample_weight=weight, **settings)
    assert result.history["train_loss"] == [0]
    chex.assert_trees_all_equal(result.params, params)


def test_divergence_is_seen_in_the_history():
    result = fit_with_validation(optimizer=optax.sgd(1e30), n_epochs=3)
    assert not np.isfinite(result.history["val_loss"]).any()
    assert result.best_epoch is None


X, Y, _ = make_data(8)
VALIDATION = {"X_val": X, "y_val": Y}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": X[0]}, r"X must have shape \(n, p\), not \(5,\)"),
        ({"X": X[:0], "y": Y[:0]}, "X is empty"),
        ({"X": X[:, :4]}, "X has 4 columns, params take 5"),
        (
            {"X": np.where(X[2, 3] == X, np.nan, X)},
            "X must be finite in float32; row 2, column 3",
        ),
        (
            {"X": np.where(X[2, 3] == X, 1e300, X.astype(float))},
            "X must be finite in float32",
        ),
        ({"X": X.astype(str)}, "X must be real numbers"),
        ({"y": Y[:7]}, r"y must have shape \(8,\), not \(7,\)"),
        ({"y": Y[:, None]}, r"y must have shape \(8,\), not \(8, 1\)"),
        ({"y": Y + 1}, "y must hold labels 0 and 1; row"),
        ({"y": np.array(["a", "b"] * 4)}, "y must hold labels 0 and 1; row 0"),
        (
            {"y": np.where(np.arange(8) == 5, np.nan, Y)},
            "y must hold labels 0 and 1; row 5",
        ),
        ({"sample_weight": np.ones(7)}, "sample_weight must have shape"),
        ({"sample_weight": -np.ones(8)}, "sample_weight is negative at row 0"),
        ({"sample_weight": np.zeros(8)}, "sample_weight is zero for every row"),
        ({"sample_weight": np.full(8, np.inf)}, "sample_weight must be finite"),
        ({"X_val": X}, "X_val and y_val must be given together"),
        (
            {"X_val": X[:, :3], "y_val": Y},
            "X_val must have 5 columns, as the training part, not 3",
        ),
        ({"X_val": X, "y_val": Y[:2]}, "y_val must have shape"),
        ({"patience": 3}, "patience needs a validation part"),
        ({"patience": 0, **VALIDATION}, "patience must be a whole number from 1"),
        ({"n_epochs": 0}, "n_epochs must be a whole number from 1, not 0"),
        ({"n_epochs": 1.5}, "n_epochs must be a whole number from 1, not 1.5"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1"),
        ({"batch_size": True}, "batch_size must be a whole number from 1"),
        ({"callback_every": 0}, "callback_every must be a whole number from 1"),
        ({"optimizer": optax.sgd}, "optimizer must be an optax optimiser such as"),
        ({"optimizer": optax.MultiSteps(SGD, 2)}, r"its gradient_transformation\(\)\)"),
        ({"opt_state": optax.adam(0.1).init({})}, "opt_state does not belong to"),
        ({"key": 0}, "key must be one JAX random key"),
        ({"key": jax.random.split(KEY, 3)}, "key must be one JAX random key"),
        ({"params": list(make_params((5, 1)))}, "params must be a tuple of Layer"),
        ({"params": make_params((5, 3, 1))[::-1]}, "that follow each other and end in 1"),
        ({"params": make_params((5, 3, 1))[:1]}, "that follow each other and end in 1"),
        ({"device": 0}, "device must be a JAX device or its name, not 0"),
        ({"device": "abacus"}, "device 'abacus' is not to be had; JAX sees:"),
        ({"compute_dtype": "float16"}, "bfloat16 or the parameters' float32, not 'floa"),
        ({"l2": -1}, "l2 must be a finite number from 0, not -1"),
        ({"class_weight": {1: 2}}, "class_weight must be 'balanced' or hold"),
        ({**VALIDATION, "metrics": {"a": None}}, "metrics must be functions"),
        ({**VALIDATION, "metrics": {"loss": mean_loss}}, "metrics: 'loss' is measured"),
        (
            {**VALIDATION, "metrics": {"odds": lambda logits, y: jnp.exp(logits)}},
            r"metrics: 'odds' must return a scalar, not shape \(8,\)",
        ),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {
        "key": KEY,
        "params": make_params(DEPTHS[1]),
        "X": X,
        "y": Y,
        "optimizer": SGD,
        "n_epochs": 1,
        "batch_size": 4,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        fit(**arguments)
