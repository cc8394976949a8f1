"""What `fit` records of the examples' gradients, against a loop over the steps."""

import jax
import numpy as np
import optax
import pytest

from jaxmlp import Diagnostics, fit
from jaxmlp.gradients import loss_factors, materialize, noise_scale_of, norms
from jaxmlp.training import epoch_order
from tests.helpers import make_data, make_params

KEY = jax.random.key(3)
SGD = optax.sgd(0.3)
QUANTILES = (0.1, 0.5, 1.0)


def record_by_hand(params, X, y, weight, batch_size, n_epochs, max_norm):
    """The curves, from materialised gradients, one step after another."""
    curves = {"norm_q10": [], "norm_q50": [], "norm_q100": []}
    curves |= {"clipped_fraction": [], "noise_scale": []}
    for epoch in range(n_epochs):
        order = np.arange(len(X))
        if batch_size < len(X):
            order = epoch_order(KEY, epoch, len(X))
        lengths, noise, signal = [], 0.0, 0.0
        for start in range(0, len(X), batch_size):
            rows = order[start : start + batch_size]
            rows = rows[weight[rows] > 0]
            share = weight[rows] / weight[rows].sum()
            f = loss_factors(params, X[rows], y[rows])
            leaves = [np.asarray(a) for a in jax.tree.leaves(materialize(f))]
            matrix = np.concatenate([a.reshape(len(rows), -1) for a in leaves], axis=1)
            scaled = len(rows) * share[:, None] * matrix
            mean = scaled.mean(axis=0)
            if len(rows) > 1:
                parts = noise_scale_of(
                    (scaled**2).sum(axis=1).mean(), mean @ mean, len(rows)
                )
                noise += (len(rows) - 1) * parts.trace
                signal += (len(rows) - 1) * parts.squared_norm
            lengths += norms(f).tolist()
            grads = jax.tree.map(
                lambda g, c=share: np.tensordot(c, np.asarray(g), 1), materialize(f)
            )
            params = jax.tree.map(lambda p, g: p - 0.3 * g, params, grads)
        for q in QUANTILES:
            curves[f"norm_q{100 * q:g}"].append(np.quantile(lengths, q))
        curves["clipped_fraction"].append(np.mean(np.array(lengths) > max_norm))
        curves["noise_scale"].append(noise / signal if signal > 0 else np.inf)
    return curves


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [7, 30])
def test_curves_are_those_of_a_loop(batch_size, weighted, x64):
    params = make_params((5, 4, 1), np.float64)
    X, _, weight = make_data(30, dtype=np.float64, weighted=weighted)
    y = (X[:, 0] > 0).astype(int)
    result = fit(
        KEY,
        params,
        X,
        y,
        optimizer=SGD,
        n_epochs=3,
        batch_size=batch_size,
        sample_weight=weight,
        diagnostics=Diagnostics(QUANTILES, max_norm=0.5),
    )
    weight = np.ones(30) if weight is None else weight
    wanted = record_by_hand(params, X, y, weight, batch_size, 3, 0.5)
    assert result.history.keys() == {"train_loss", *wanted}
    for name, curve in wanted.items():
        np.testing.assert_allclose(result.history[name], curve, rtol=1e-9, err_msg=name)


def test_recording_changes_no_step():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(100)
    runs = [
        fit(
            KEY,
            params,
            X,
            y,
            optimizer=SGD,
            n_epochs=5,
            batch_size=8,
            l2=0.01,
            diagnostics=wanted,
        )
        for wanted in (None, Diagnostics())
    ]
    for a, b in zip(*(jax.tree.leaves(run.params) for run in runs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    names = {"norm_q5", "norm_q25", "norm_q50", "norm_q75", "norm_q95", "noise_scale"}
    assert runs[1].history.keys() == {"train_loss", *names}


def test_batches_of_one_have_no_noise_scale():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(6)
    result = fit(
        KEY,
        params,
        X,
        y,
        optimizer=SGD,
        n_epochs=2,
        batch_size=1,
        diagnostics=Diagnostics((0.5,)),
    )
    assert np.isnan(result.history["noise_scale"]).all()
    assert np.isfinite(result.history["norm_q50"]).all()


@pytest.mark.parametrize(
    ("diagnostics", "message"),
    [
        (Diagnostics((0.5, 1.5)), "quantiles must be from 0 to 1"),
        (Diagnostics(max_norm=0.0), "max_norm must be above 0"),
        ((0.5,), "diagnostics must be Diagnostics"),
    ],
)
def test_bad_diagnostics(diagnostics, message):
    params, (X, y, _) = make_params((5, 4, 1)), make_data(6)
    with pytest.raises(ValueError, match=message):
        fit(
            KEY,
            params,
            X,
            y,
            optimizer=SGD,
            n_epochs=2,
            batch_size=1,
            diagnostics=diagnostics,
        )


def test_a_gradient_function_without_norms_has_no_diagnostics():
    from jaxmlp import loss_and_grads

    params, (X, y, _) = make_params((5, 4, 1)), make_data(6)
    with pytest.raises(ValueError, match="returns \\(loss, grads, norms\\)"):
        fit(
            KEY,
            params,
            X,
            y,
            optimizer=SGD,
            n_epochs=2,
            batch_size=2,
            gradient_fn=loss_and_grads,
            diagnostics=Diagnostics(),
        )
