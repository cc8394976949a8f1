"""The ledger against published figures, closed forms, and itself."""

import math
import sys

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from jaxmlp.privacy import calibrate, epsilon

OPACUS = {"sampling_rate": 0.04, "noise_multiplier": 1.5, "n_steps": 2250, "delta": 1e-5}


def test_the_figure_of_opacus_own_test():
    assert epsilon(**OPACUS, accountant="rdp") == pytest.approx(7.329, abs=5e-4)
    assert epsilon(**OPACUS) <= epsilon(**OPACUS, accountant="rdp")


def gaussian_epsilon(noise, n_steps, delta):
    """Of the Gaussian mechanism, in closed form (Balle and Wang 2018, theorem 8)."""
    mu = math.sqrt(n_steps) / noise

    def excess(eps):
        inner = norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * norm.cdf(-mu / 2 - eps / mu)
        return inner - delta

    return brentq(excess, 0, 100)


@pytest.mark.parametrize(("noise", "n_steps"), [(4.0, 1), (10.0, 100), (30.0, 50)])
def test_without_sampling_it_is_the_gaussian_mechanism(noise, n_steps):
    run = {
        "sampling_rate": 1.0,
        "noise_multiplier": noise,
        "n_steps": n_steps,
        "delta": 1e-5,
    }
    exact = gaussian_epsilon(noise, n_steps, 1e-5)
    assert epsilon(**run) == pytest.approx(exact, rel=2e-3)
    assert exact <= epsilon(**run, accountant="rdp") < 1.2 * exact


def test_less_noise_more_steps_and_a_smaller_delta_cost_more():
    base = epsilon(**OPACUS)
    for change in (
        {"noise_multiplier": 1.4},
        {"n_steps": 2500},
        {"delta": 1e-6},
        {"sampling_rate": 0.05},
    ):
        assert epsilon(**{**OPACUS, **change}) > base
    assert epsilon(**{**OPACUS, "noise_multiplier": 0.0}) == math.inf


@pytest.mark.parametrize(
    ("target", "sampling_rate", "n_steps", "accountant"),
    [
        (1.0, 0.01, 500, "rdp"),
        (7.329, 0.04, 2250, "rdp"),
        (1.0, 0.03, 100, "pld"),
        (0.2, 1.0, 5, "pld"),
        (5.0, 1.0, 3, "pld"),
    ],
)
def test_calibrate_inverts_epsilon(target, sampling_rate, n_steps, accountant):
    run = {"sampling_rate": sampling_rate, "n_steps": n_steps, "accountant": accountant}
    noise = calibrate(target, 1e-5, **run)
    spent = epsilon(noise_multiplier=noise, delta=1e-5, **run)
    assert target - 1e-3 <= spent <= target
    if target == 7.329:
        assert noise == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling_rate": 1.1}, "sampling_rate must be above 0 and at most 1, not 1.1"),
        ({"sampling_rate": 0.0}, "sampling_rate"),
        ({"sampling_rate": None}, "sampling_rate must be above 0 and at most 1, not None"),
        ({"n_steps": math.nan}, "n_steps must be a whole number from 1, not nan"),
        ({"delta": "1e-5"}, "delta must be between 0 and 1, not '1e-5'"),
        ({"noise_multiplier": None}, "noise_multiplier must be a finite number from 0"),
        ({"noise_multiplier": -1.0}, "noise_multiplier must be a finite number from 0"),
        ({"noise_multiplier": math.nan}, "noise_multiplier"),
        ({"n_steps": 0}, "n_steps must be a whole number from 1"),
        ({"delta": 0.0}, "delta must be between 0 and 1, not 0.0"),
        ({"delta": 1.0}, "delta must be between 0 and 1"),
        ({"accountant": "prv"}, "accountant must be 'pld' or 'rdp'"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        epsilon(**{**OPACUS, **change})


@pytest.mark.parametrize("target", [0.0, -1.0, math.inf, math.nan, None, "3"])
def test_bad_targets(target):
    with pytest.raises(ValueError, match="target_epsilon must be a finite number above 0"):
        calibrate(target, 1e-5, sampling_rate=0.1, n_steps=10)


def test_targets_that_no_noise_meets():
    run = {"sampling_rate": 1.0, "n_steps": 1000}
    with pytest.raises(ValueError, match="cannot be reached with delta 1e-12"):
        calibrate(1e-9, 1e-12, **run)
    with pytest.raises(ValueError, match=r"give a larger epsilon or delta, or acc.*'pld'"):
        calibrate(1e-9, 1e-12, **run, accountant="rdp")
    with pytest.raises(ValueError, match="it would protect nobody"):
        calibrate(1e6, 1e-5, sampling_rate=0.01, n_steps=1, accountant="rdp")


def test_noise_too_small_for_the_tables():
    with pytest.raises(ValueError, match="too small for the accountant 'pld'"):
        epsilon(sampling_rate=0.1, noise_multiplier=1e-5, n_steps=10, delta=1e-5)


def test_without_dp_accounting_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ImportError, match=r"install jaxmlp\[privacy\]"):
        epsilon(**{**OPACUS, "n_steps": 7})
