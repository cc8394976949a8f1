import jax
import numpy as np
import optax
import pytest

from jaxmlp import ensemble_proba, forward
from jaxmlp.training import Candidate, cross_fit
from jaxmlp.training import race as race_module

N, P = 90, 4


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, P)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] + 0.3 * rng.normal(size=N) > 0).astype(int)
    return X, y


def run(X, y, sizes=((), (6,)), **given):
    candidates = [Candidate(X, size, 0.05) for size in sizes]
    settings = {"n_epochs": 4, "batch_size": 16, "n_folds": 4, "optimizer": optax.sgd}
    return cross_fit(jax.random.key(3), candidates, y, **{**settings, **given})


def test_every_row_is_judged_by_the_network_that_left_it_out(data):
    X, y = data
    found = run(X, y)
    assert [member.fold for member in found.members] == [0, 1, 2, 3]
    for member in found.members:
        rows = found.folds == member.fold
        np.testing.assert_allclose(
            found.logits[rows], forward(member.params, X[rows]), rtol=1e-5, atol=1e-6
        )
        losses = np.logaddexp(0, found.logits[rows]) - y[rows] * found.logits[rows]
        assert member.val_loss == pytest.approx(losses.mean(), rel=1e-5)
        assert member.val_loss == pytest.approx(member.history["val_loss"].min(), rel=1e-6)
        assert found.val_losses[found.best, member.fold] == pytest.approx(member.val_loss)


def test_folds_hold_each_label_alike(data):
    _, y = data
    folds = run(*data).folds
    for label in (0, 1):
        counts = np.bincount(folds[y == label], minlength=4)
        assert counts.max() - counts.min() <= 1
    assert np.bincount(folds).max() - np.bincount(folds).min() <= 1


def test_a_member_never_sees_its_fold(data):
    # Labels of the fold decide its epoch alone; with one epoch they decide nothing.
    X, y = data
    found = run(X, y, sizes=((5,),), n_epochs=1)
    spoiled = X.copy()
    spoiled[found.folds == 0] += 50
    again = run(spoiled, y, sizes=((5,),), n_epochs=1)
    for a, b in zip(found.members, again.members, strict=True):
        same = np.array_equal(a.params[0].w, b.params[0].w)
        assert same == (a.fold == 0)


def zero_steps(learning_rate):
    return optax.sgd(0 * learning_rate)


def test_training_is_gradient_descent_on_the_other_rows(data, x64):
    # One step with all of a member's rows but, where its fold is small, one at random.
    X, y = data
    X = X.astype(np.float64)
    alone = {"sizes": ((),), "n_epochs": 1, "batch_size": 1000}
    found, start = run(X, y, **alone), run(X, y, optimizer=zero_steps, **alone)
    n_checked = 0
    for member, begin in zip(found.members, start.members, strict=True):
        rows = np.flatnonzero(found.folds != member.fold)
        if len(rows) > N - 23:
            continue
        w, b = begin.params[0].w[:, 0], begin.params[0].b[0]
        delta = (1 / (1 + np.exp(-(X[rows] @ w + b))) - y[rows]) / len(rows)
        expected = w - 0.05 * X[rows].T @ delta
        np.testing.assert_allclose(member.params[0].w[:, 0], expected, rtol=1e-10)
        n_checked += 1
    assert n_checked == 2  # 90 rows in four folds: two of 23 and two of 22


def test_same_bits_on_one_thread_and_with_a_callback(data, monkeypatch):
    seen = []
    found = run(*data)
    monkeypatch.setattr(race_module, "n_processors", lambda: 1)
    again = run(*data, callback=seen.append)
    np.testing.assert_array_equal(found.logits, again.logits)
    np.testing.assert_array_equal(found.val_losses, again.val_losses)
    assert seen[-1].n_done == seen[-1].n_members == len(seen)


def test_race_drops_the_worse_ones(data):
    X, y = data
    found = run(X, y, sizes=((), (3,), (16,), (8, 4)), n_folds=8, n_epochs=30)
    counts = (~np.isnan(found.val_losses)).sum(axis=1)
    assert sorted(counts) == [2, 2, 4, 8]
    assert counts[found.best] == 8
    first = found.val_losses[:, :2].mean(axis=1)
    assert set(np.argsort(first)[:2]) == set(np.flatnonzero(counts > 2))
    everyone = run(X, y, sizes=((), (3,)), n_folds=8, race=False)
    assert not np.isnan(everyone.val_losses).any()
    assert everyone.best == everyone.val_losses.mean(axis=1).argmin()


def test_ensemble_averages_the_members(data):
    X, _ = data
    found = run(*data)
    probs = [1 / (1 + np.exp(-np.asarray(forward(m.params, X)))) for m in found.members]
    np.testing.assert_allclose(
        ensemble_proba(found.ensemble, X), np.mean(probs, axis=0), rtol=1e-5
    )


def test_stopped_run_keeps_what_it_has(data):
    found = run(*data, is_stopped=lambda: True)
    assert len(found.members) == 1
    assert found.best == 0
    assert np.isnan(found.logits).sum() == (found.folds != 0).sum()


def test_a_network_waits_for_half_as_many_epochs_as_its_best_took(data):
    result = run(*data, sizes=((6,),), n_epochs=300, patience=3)
    n_waited = {}
    for member in result.members:
        losses = member.history["val_loss"]
        assert member.epoch == 1 + np.argmin(losses)
        n_waited[member.epoch] = len(losses) - member.epoch
        # An earlier best epoch waited in vain for less.
        bests = np.flatnonzero(losses == np.minimum.accumulate(losses)) + 1
        assert (np.diff(bests) <= np.maximum(3, bests[:-1] // 2)).all()
    stopped = {best: n for best, n in n_waited.items() if best + n < 300}
    assert stopped
    assert all(n == max(3, best // 2) for best, n in stopped.items())
    assert any(best // 2 > 3 for best in stopped)


def test_diverged_candidate_loses_and_all_diverged_is_an_error(data):
    X, y = data
    candidates = [Candidate(X, (4,), 1e30), Candidate(X, (4,), 0.1)]
    settings = {"n_epochs": 3, "batch_size": 16, "n_folds": 4, "optimizer": optax.sgd}
    found = cross_fit(jax.random.key(0), candidates, y, **settings)
    assert found.best == 1
    with pytest.raises(FloatingPointError, match="no candidate had a finite"):
        cross_fit(jax.random.key(0), candidates[:1], y, **settings)


def test_weights_count_in_training_and_validation(data):
    X, y = data
    weight = np.where(np.arange(N) % 3 == 0, 0.0, 2.0)
    found = run(X, y, sizes=((5,),), sample_weight=weight)
    for member in found.members:
        rows = found.folds == member.fold
        losses = np.logaddexp(0, found.logits[rows]) - y[rows] * found.logits[rows]
        expected = np.average(losses, weights=weight[rows])
        assert member.val_loss == pytest.approx(expected, rel=1e-5)
    spoiled = np.where(weight[:, None] == 0, X + 9, X)
    again = run(spoiled, y, sizes=((5,),), sample_weight=weight)
    for a, b in zip(found.members, again.members, strict=True):
        np.testing.assert_allclose(a.params[0].w, b.params[0].w, rtol=1e-6)


def test_float64_is_computed_in_float64(data, x64):
    X, y = data
    found = run(X.astype(np.float64), y)
    assert found.logits.dtype == np.float64
    assert found.members[0].params[0].w.dtype == np.float64


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_folds": 1}, "n_folds"),
        ({"n_folds": 60}, "n_folds = 60"),
        ({"batch_size": 0}, "batch_size"),
        ({"n_epochs": 0}, "n_epochs"),
    ],
)
def test_bad_arguments_are_named(data, given, message):
    with pytest.raises(ValueError, match=message):
        run(*data, **given)


def test_bad_candidates_are_named(data):
    X, y = data
    for candidate, message in [
        (Candidate(X[0], (3,), 0.1), "X must have shape"),
        (Candidate(X, (0,), 0.1), "hidden_sizes"),
        (Candidate(X, (3,), -1.0), "learning_rate"),
        (Candidate(X, (3,), 0.1, dropout=1.0), "dropout"),
        (Candidate(X[:5], (3,), 0.1), "X must have|y must have"),
    ]:
        with pytest.raises(ValueError, match=message):
            cross_fit(jax.random.key(0), [candidate], y, n_epochs=1, batch_size=8)
    with pytest.raises(ValueError, match="candidates is empty"):
        cross_fit(jax.random.key(0), [], y, n_epochs=1, batch_size=8)
