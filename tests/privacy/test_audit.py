"""The lower bound on epsilon, on mechanisms whose epsilon is known."""

import numpy as np
import pytest

from jaxmlp.privacy import epsilon, epsilon_lower_bound

DELTA = 1e-5


@pytest.mark.parametrize("noise", [0.7, 1.0, 2.0])
def test_bound_is_under_the_ledger_s_and_not_far(noise):
    # The Gaussian mechanism: scores are a normal number, or one that is 1 / noise higher.
    upper = epsilon(sampling_rate=1.0, noise_multiplier=noise, n_steps=1, delta=DELTA)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 20_000))
    bound = epsilon_lower_bound(scores[0] + 1 / noise, scores[1], delta=DELTA)
    assert 0.2 * upper < bound.epsilon < upper
    assert bound.true_positive_rate > bound.false_positive_rate


def test_too_little_noise_is_found_out():
    claimed = epsilon(sampling_rate=1.0, noise_multiplier=4.0, n_steps=1, delta=DELTA)
    rng = np.random.default_rng(0)
    scores = 0.5 * rng.normal(size=(2, 4_000))
    assert epsilon_lower_bound(scores[0] + 1, scores[1], delta=DELTA).epsilon > claimed


def test_bound_holds_as_often_as_it_says():
    # Indistinguishable: the true epsilon is 0, and a bound above it is an error.
    rng = np.random.default_rng(0)
    errors = sum(
        epsilon_lower_bound(*rng.normal(size=(2, 100)), delta=0.0, confidence=0.9).epsilon
        > 0
        for _ in range(200)
    )
    assert errors <= 0.1 * 200


def test_bound_by_hand():
    # Of the tested half, 2 of 2 are found and none of 2 is taken wrongly: Clopper-Pearson
    # bounds of error / 2 are its square root, and one minus that.
    bound = epsilon_lower_bound([5, 5, 5, 5], [0, 0, 0, 0], delta=0.01, confidence=0.8)
    wanted = np.log((np.sqrt(0.1) - 0.01) / (1 - np.sqrt(0.1)))
    assert bound.threshold == 0
    assert bound.epsilon == max(0, wanted) == 0
    bound = epsilon_lower_bound(np.full(8, 5), np.zeros(8), delta=0.01, confidence=0.8)
    least = 0.1**0.25
    np.testing.assert_allclose(bound.epsilon, np.log((least - 0.01) / (1 - least)))
    assert (bound.true_positive_rate, bound.false_positive_rate) == (1, 0)


def test_scores_that_say_nothing():
    assert epsilon_lower_bound(np.ones(50), np.ones(50), delta=DELTA).epsilon == 0
    assert epsilon_lower_bound(np.zeros(50), np.ones(50), delta=DELTA).epsilon == 0


@pytest.mark.parametrize(
    ("scores", "kwargs", "message"),
    [
        (np.ones(3), {"delta": 0.1}, "scores_in must be at least 4 finite scores"),
        (np.full(9, np.nan), {"delta": 0.1}, "scores_in must be at least 4 finite"),
        (["a"] * 9, {"delta": 0.1}, "scores_in must be numbers, one a run"),
        (np.ones(9), {"delta": "a"}, "delta must be from 0 to below 1, not 'a'"),
        (np.ones(9), {"delta": 1.0}, "delta must be from 0 to below 1"),
        (
            np.ones(9),
            {"delta": 0.1, "confidence": 1.0},
            "confidence must be between 0 and 1",
        ),
    ],
)
def test_bad_arguments(scores, kwargs, message):
    with pytest.raises(ValueError, match=message):
        epsilon_lower_bound(scores, np.ones(9), **kwargs)
