"""DP-SGD against `fit`, against a loop over its steps, and its noise by statistics."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmlp import fit
from jaxmlp.gradients import loss_factors, materialize
from jaxmlp.privacy import dp_fit, epsilon, sampled_rows, secret_key
from jaxmlp.privacy.mechanism import PrivateState, add_noise_before
from tests.helpers import DEPTHS, make_data, make_params, relative_error

KEY = jax.random.key(11)
SGD, UNIT = optax.sgd(0.5), optax.sgd(1.0)
ADAM = optax.adam(0.05)
# Steps of the same length whatever the sum of clipped gradients is divided by.
WIDE, NARROW = optax.sgd(0.31), optax.sgd(0.30)
OPEN = {"noise_multiplier": 0.0, "max_grad_norm": math.inf, "delta": 1e-5}


def train(params, X, y, **kwargs):
    settings = dict(optimizer=SGD, n_epochs=2, batch_size=10, **OPEN)
    return dp_fit(KEY, params, X, y, **{**settings, **kwargs})


@pytest.mark.parametrize("depth", DEPTHS)
def test_without_noise_and_clipping_it_is_fit(depth, x64):
    params = make_params(DEPTHS[depth], np.float64)
    X, y, _ = make_data(30, dtype=np.float64)
    common = {"optimizer": SGD, "n_epochs": 4, "batch_size": 30, "l2": 0.01}
    private = dp_fit(KEY, params, X, y, **common, **OPEN)
    plain = fit(KEY, params, X, y, **common)
    assert relative_error(private.params, plain.params) < 1e-13
    np.testing.assert_allclose(
        private.history["train_loss"], plain.history["train_loss"], rtol=1e-13
    )
    assert private.guarantee.epsilon == math.inf


def samples_of(n, batch_size, n_epochs):
    """Ones for the rows of each step, `(n_steps, n)`: one shape for all samples."""
    rows_of = sampled_rows(KEY, n, batch_size, n_epochs)
    return np.stack([np.isin(np.arange(n), rows) for rows in rows_of]).astype(int)


@jax.jit
def clipped_mean(params, X, y, is_in, batch_size, max_norm):
    """From the gradients written out; and how many rows were longer."""
    grads = materialize(loss_factors(params, X, y))
    flat = [leaf.reshape(len(X), -1) for leaf in jax.tree.leaves(grads)]
    lengths = jnp.linalg.norm(jnp.concatenate(flat, axis=1), axis=1)
    shares = is_in * jnp.minimum(1, max_norm / lengths) / batch_size
    mean = jax.tree.map(lambda g: jnp.tensordot(shares, g, 1), grads)
    return mean, jnp.sum(is_in * (lengths > max_norm).astype(lengths.dtype))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("max_norm", [0.6, 1e9])
def test_steps_are_clipped_sums_by_the_expected_size(depth, max_norm, dtype):
    params = make_params(DEPTHS[depth], dtype)
    X, y, _ = make_data(60, dtype=dtype)
    result = train(params, X, y, batch_size=7, max_grad_norm=max_norm)
    samples = samples_of(60, 7, n_epochs=2)
    n_longer = []
    for is_in in samples:
        grads, n = clipped_mean(params, X, y, is_in.astype(dtype), 7.0, max_norm)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
        n_longer.append(n)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert relative_error(result.params, params) < tolerance
    fractions = np.reshape(n_longer, (2, -1)).sum(1) / samples.reshape(2, -1).sum(1)
    np.testing.assert_allclose(result.history["clipped_fraction"], fractions, rtol=1e-6)


@jax.numpy_dtype_promotion("standard")  # optax's Adam mixes types
def test_any_optimizer_sees_the_private_gradient(x64):
    params = make_params((5, 4, 1), np.float64)
    X, y, _ = make_data(40, dtype=np.float64)
    result = train(params, X, y, optimizer=ADAM, batch_size=8)
    state = ADAM.init(params)
    for is_in in samples_of(40, 8, n_epochs=2):
        grads, _ = clipped_mean(params, X, y, is_in.astype(float), 8.0, math.inf)
        updates, state = ADAM.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    assert relative_error(result.params, params) < 1e-10
    assert jax.tree.structure(result.opt_state) == jax.tree.structure(state)


def test_the_optimizer_is_not_told_the_loss():
    seen = []

    def update(grads, state, params=None, *, value=None, **others):
        seen.append((value, *others.values()))
        return jax.tree.map(jnp.negative, grads), state

    optimizer = optax.GradientTransformationExtraArgs(lambda _: (), update)
    params, (X, y, _) = make_params((5, 4, 1)), make_data(50)
    train(params, X, y, optimizer=optimizer, noise_multiplier=1.0, max_grad_norm=1.0)
    assert seen
    assert all(value is None for values in seen for value in values)


def displacement(n_epochs, batch_size, noise, max_norm, key=KEY):
    """How far SGD with a step size of 1 comes, as one vector, and its length P."""
    params, (X, y, _) = make_params((20, 100, 1)), make_data(40, p=20)
    result = dp_fit(
        key,
        params,
        X,
        y,
        optimizer=UNIT,
        n_epochs=n_epochs,
        batch_size=batch_size,
        noise_multiplier=noise,
        max_grad_norm=max_norm,
        delta=1e-5,
    )
    moves = jax.tree.map(lambda a, b: np.ravel(a - b), result.params, params)
    return np.concatenate(jax.tree.leaves(moves))


def test_noise_has_the_stated_size():
    # One step; so little is clipped to that the noise is all there is.
    moves = displacement(1, 40, noise=3.0, max_norm=0.01)
    wanted = 3.0 * 0.01 / 40
    n = len(moves)
    assert abs(moves.std() / wanted - 1) < 5 / math.sqrt(2 * n) + 0.02
    assert abs(moves.mean() / wanted) < 5 / math.sqrt(n) + 0.02


def test_noise_is_calibrated_to_the_sum_and_divided_by_the_expected_size():
    # 8 steps of samples of 5 expected: the variances of independent noise add up.
    moves = displacement(1, 5, noise=50.0, max_norm=0.01)
    wanted = math.sqrt(8) * 50.0 * 0.01 / 5
    assert abs(moves.std() / wanted - 1) < 5 / math.sqrt(2 * len(moves)) + 0.02


def test_no_key_is_used_twice():
    a = displacement(1, 40, noise=3.0, max_norm=0.01)
    other = displacement(1, 40, noise=3.0, max_norm=0.01, key=jax.random.key(12))
    assert abs(np.corrcoef(a, other)[0, 1]) < 5 / math.sqrt(len(a))
    two = displacement(2, 40, noise=3.0, max_norm=0.01) - a  # the second step's noise
    assert abs(np.corrcoef(a, two)[0, 1]) < 5 / math.sqrt(len(a))
    # Noise of neighbouring parameters is independent, and that of different arrays.
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 5 / math.sqrt(len(a))
    starts = [a[:100], a[2000:2100], a[2100:2200]]  # (20, 100), (100,), (100, 1)
    assert abs(np.corrcoef(starts)[np.triu_indices(3, 1)]).max() < 0.5


def test_the_key_of_the_samples_does_not_make_the_noise():
    moves = displacement(1, 40, noise=3.0, max_norm=0.01)
    zeros = jax.tree.map(jnp.zeros_like, make_params((20, 100, 1)))
    noise_of = add_noise_before(UNIT, 1.0, "threefry2x32").update

    def correlation(key):
        noise, _ = noise_of(zeros, PrivateState(key, UNIT.init(zeros)), zeros)
        drawn = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(noise)])
        return np.corrcoef(moves, drawn)[0, 1]

    sample_key, noise_key = jax.random.split(KEY)
    assert correlation(noise_key) > 0.99
    assert abs(correlation(sample_key)) < 5 / math.sqrt(len(moves))
    assert abs(correlation(KEY)) < 5 / math.sqrt(len(moves))


def test_progress_is_a_result_without_the_key():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(50)
    seen = []
    result = train(
        params, X, y, noise_multiplier=1.0, max_grad_norm=1.0, n_epochs=3,
        callback=lambda now: seen.append(now.result()) or now.n_done == 2,
    )  # fmt: skip
    assert len(seen) == 2
    assert jax.tree.structure(seen[-1].opt_state) == jax.tree.structure(SGD.init(params))
    assert seen[-1].guarantee == result.guarantee
    assert relative_error(seen[-1].params, result.params) == 0


def test_secret_keys_differ():
    keys = [jax.random.key_data(secret_key()).tolist() for _ in range(20)]
    assert len({tuple(key) for key in keys}) == 20
    assert len(sampled_rows(secret_key(), 20, 5, 1)) == 4


def test_keys_of_the_older_kind_are_taken():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(50)
    private = {"noise_multiplier": 1.0, "max_grad_norm": 1.0}
    settings = {"optimizer": SGD, "n_epochs": 2, "batch_size": 10, **OPEN, **private}
    old = dp_fit(jax.random.PRNGKey(11), params, X, y, **settings)
    assert relative_error(old.params, train(params, X, y, **private).params) == 0


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", ["w", "b"])
def test_every_array_gets_its_noise(layer, name):
    # 200 runs: the standard deviation of a deviation of 200 numbers is 5%.
    params, (X, y, _) = make_params((2, 3, 1)), make_data(40, p=2)
    private = {"noise_multiplier": 3.0, "max_grad_norm": 0.01, "delta": 1e-5}
    before = getattr(params[layer], name)
    moves = [
        getattr(
            dp_fit(
                key, params, X, y, optimizer=UNIT, n_epochs=1, batch_size=40, **private
            ).params[layer],
            name,
        )
        - before
        for key in jax.random.split(jax.random.key(0), 200)
    ]
    deviations = np.std(moves, axis=0)
    np.testing.assert_allclose(deviations, 3.0 * 0.01 / 40, rtol=0.3)


def test_same_bits_with_and_without_a_callback():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(50)
    private = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "n_epochs": 7}
    runs = [
        train(params, X, y, **private),
        train(params, X, y, **private, callback=lambda _: None, callback_every=2),
    ]
    for a, b in zip(*(jax.tree.leaves(run.params) for run in runs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_guarantee_counts_what_was_planned():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(50)
    result = train(
        params,
        X,
        y,
        n_epochs=6,
        noise_multiplier=2.0,
        max_grad_norm=1.5,
        callback=lambda progress: progress.n_done == 2,
    )
    assert len(result.history["train_loss"]) == 2
    found = result.guarantee
    wanted = {"sampling_rate": 0.2, "noise_multiplier": 2.0, "n_steps": 30, "delta": 1e-5}
    assert found.epsilon == epsilon(**wanted)
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert found.max_grad_norm == 1.5
    assert "one training row, added or removed" in found.adjacency
    assert "Poisson" in found.sampling
    text = " ".join(found.not_covered)
    for what in ("hyper-parameter search", "statistics", "validation", "training loss"):
        assert what in text


def test_a_delta_that_allows_a_row_to_be_published_is_named():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(50)
    found = train(params, X, y, delta=0.02, n_epochs=1).guarantee
    assert "publishing of a row" in found.not_covered[0]
    right = train(params, X, y, delta=0.019, n_epochs=1).guarantee
    assert found.not_covered[1:] == right.not_covered


def test_the_accountant_can_be_chosen():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(50)
    private = {"noise_multiplier": 2.0, "max_grad_norm": 1.0}
    rdp = train(params, X, y, **private, accountant="rdp").guarantee
    assert rdp.accountant == "rdp"
    assert rdp.epsilon > train(params, X, y, **private).guarantee.epsilon


def test_validation_part_patience_and_quantiles():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(80)
    result = train(
        params,
        X[:50],
        y[:50],
        X_val=X[50:],
        y_val=y[50:],
        n_epochs=60,
        patience=2,
        max_grad_norm=0.5,
        norm_quantiles=(0.5,),
    )
    assert result.history.keys() == {
        "train_loss",
        "val_loss",
        "norm_q50",
        "clipped_fraction",
    }
    assert len(result.history["val_loss"]) == result.best_epoch + 2
    assert result.guarantee.n_steps == 60 * 5


def test_sampled_rows_have_the_expected_size():
    sizes = [len(rows) for rows in sampled_rows(KEY, 100, 12.5, 400)]
    assert len(sizes) == 400 * 8
    deviation = math.sqrt(100 * 0.125 * 0.875 / len(sizes))
    assert abs(np.mean(sizes) - 12.5) < 5 * deviation
    assert sampled_rows(KEY, 3, 3, 2)[1].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="n_epochs must be a whole number from 1"):
        sampled_rows(KEY, 10, 2, 0)
    with pytest.raises(ValueError, match="only 10 rows: the sampling rate"):
        sampled_rows(KEY, 10, 11, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0, not 0.0"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be above 0"),
        ({"max_grad_norm": math.nan}, "max_grad_norm must be above 0"),
        ({"noise_multiplier": -1.0}, "noise_multiplier must be a finite number from 0"),
        ({"noise_multiplier": 1.0}, "max_grad_norm is infinite, so no noise hides"),
        ({"delta": 0.0}, "delta must be between 0 and 1"),
        ({"delta": 1.0}, "delta must be between 0 and 1"),
        ({"batch_size": 51}, "are only 50 rows: the sampling rate would be above 1"),
        ({"batch_size": 0.9}, "batch_size must be from 1, not 0.9"),
        ({"n_epochs": 0}, "n_epochs must be a whole number from 1"),
        ({"optimizer": optax.lbfgs()}, "optimizer needs more than the gradient"),
        ({"norm_quantiles": (2.0,)}, "norm_quantiles must be from 0 to 1, not 2.0"),
        ({"patience": 2}, "patience needs a validation part"),
        ({"norm_quantiles": 0.5}, "norm_quantiles must be a sequence of numbers"),
        (
            {"noise_multiplier": 1.0, "max_grad_norm": 1e-36},
            "max_grad_norm of 1e-36 makes noise of 1e-37, which float32 cannot hold",
        ),
        ({"noise_multiplier": 1.0, "max_grad_norm": 1e39}, "which float32 cannot hold"),
        ({"max_grad_norm": 10**400}, "max_grad_norm must be above 0"),
        ({"batch_size": None}, "batch_size must be from 1, not None"),
        ({"noise_multiplier": "1"}, "noise_multiplier must be a finite number from 0"),
        ({"max_grad_norm": []}, r"max_grad_norm must be above 0, not \[\]"),
        ({"accountant": "x"}, "accountant must be 'pld' or 'rdp'"),
    ],
)
def test_bad_arguments(change, message):
    params, (X, y, _) = make_params((5, 4, 1)), make_data(50)
    with pytest.raises(ValueError, match=message):
        train(params, X, y, **change)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_row_that_overflows_moves_nothing(depth):
    params = make_params(DEPTHS[depth])
    X, y, _ = make_data(30)
    huge = np.concatenate([X, np.full((1, 5), 3e38, np.float32)])
    one_more = train(
        params, huge, np.append(y, 1), batch_size=31, max_grad_norm=0.5, n_epochs=1,
        optimizer=WIDE,
    )  # fmt: skip
    without = train(
        params, X, y, batch_size=30, max_grad_norm=0.5, n_epochs=1, optimizer=NARROW
    )
    assert relative_error(one_more.params, without.params) < 1e-5


def test_bad_rows():
    params, (X, y, _) = make_params((5, 4, 1)), make_data(50)
    with pytest.raises(ValueError, match="y must hold labels 0 and 1; row 0 is 2"):
        train(params, X, np.full(50, 2))
    with pytest.raises(ValueError, match="X must be finite"):
        train(params, np.full((50, 5), np.nan), y)
    with pytest.raises(ValueError, match="X is empty"):
        train(params, X[:0], y[:0])
