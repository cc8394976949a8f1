"""What DP-SGD costs in privacy, and the noise that a budget asks for, by dp-accounting."""

import functools
import math
from types import ModuleType
from typing import Any, Literal

Accountant = Literal["pld", "rdp"]

_LEAST_NOISE, _MOST_NOISE = 0.1, 2.0**20


def epsilon(
    *,
    sampling_rate: float,
    noise_multiplier: float,
    n_steps: int,
    delta: float,
    accountant: Accountant = "pld",
) -> float:
    """Computes the ε of DP-SGD with Poisson sampling.

    Neighbouring data sets differ by one row, added or removed. Each step takes every row
    with probability `sampling_rate`, independently, and adds Gaussian noise to the sum of
    their clipped gradients.

    Args:
      sampling_rate: Probability of a row to be in a step's sample, in (0, 1].
      noise_multiplier: Standard deviation of the noise by the clipping norm; 0 is no
        privacy.
      n_steps: Number of steps, all of which are released.
      delta: Probability δ with which ε may be exceeded, in (0, 1); choose it well below
        one by the number of rows.
      accountant: `"pld"`, privacy loss distributions, the tighter one, or `"rdp"`, Rényi
        differential privacy. Both are upper bounds.

    Returns:
      ε, from 0; infinite without noise.

    Raises:
      ValueError: An argument is out of its range.
      ImportError: dp-accounting is not installed.

    Example:
      >>> from jaxmlp.privacy import epsilon
      >>> run = dict(sampling_rate=0.04, noise_multiplier=1.5, n_steps=2250, delta=1e-5)
      >>> print(f"{epsilon(**run, accountant='rdp'):.3f}, {epsilon(**run):.3f}")
      7.329, 6.769

    Source:
      Mironov, Talwar and Zhang (2019), arXiv 1908.10530, for RDP; Koskela, Jälkö and
      Honkela (2020), arXiv 1906.03049, for PLD; both as in Google's dp-accounting.
    """
    _check(sampling_rate, n_steps, delta, accountant)
    if not 0 <= noise_multiplier < math.inf:
        raise ValueError(
            f"noise_multiplier must be a finite number from 0, not {noise_multiplier}"
        )
    if noise_multiplier == 0:
        return math.inf
    return _epsilon(
        float(sampling_rate), float(noise_multiplier), int(n_steps), delta, accountant
    )


@functools.lru_cache(maxsize=256)
def _epsilon(
    sampling_rate: float,
    noise_multiplier: float,
    n_steps: int,
    delta: float,
    accountant: Accountant,
) -> float:
    ledger = _make_accountant(accountant)
    ledger.compose(_event(sampling_rate, noise_multiplier, n_steps))
    return max(0.0, float(ledger.get_epsilon(delta)))


def calibrate(
    target_epsilon: float,
    delta: float,
    *,
    sampling_rate: float,
    n_steps: int,
    accountant: Accountant = "pld",
) -> float:
    """Finds the least noise that keeps DP-SGD within a privacy budget.

    Args:
      target_epsilon: The ε that may be spent, above 0.
      delta: As of `epsilon`.
      sampling_rate: As of `epsilon`.
      n_steps: As of `epsilon`.
      accountant: As of `epsilon`.

    Returns:
      The noise multiplier: `epsilon` of it is at most the target, and not lower by more
      than 1e-3.

    Raises:
      ValueError: An argument is out of its range, or no noise reaches the target.
      ImportError: dp-accounting is not installed.

    Source:
      dp-accounting's `calibrate_dp_mechanism`.
    """
    _check(sampling_rate, n_steps, delta, accountant)
    if not 0 < target_epsilon < math.inf:
        raise ValueError(
            f"target_epsilon must be a finite number above 0, not {target_epsilon}"
        )

    return _calibrate(
        float(target_epsilon), float(sampling_rate), int(n_steps), delta, accountant
    )


@functools.lru_cache(maxsize=64)
def _calibrate(
    target_epsilon: float,
    sampling_rate: float,
    n_steps: int,
    delta: float,
    accountant: Accountant,
) -> float:
    def of(noise: float) -> float:
        return _epsilon(sampling_rate, noise, n_steps, delta, accountant)

    # Rényi's bound at whole orders takes milliseconds and a few per cent more noise.
    rough, high = _LEAST_NOISE, _MOST_NOISE
    reaches = _rough_epsilon(sampling_rate, high, n_steps, delta) <= target_epsilon
    while reaches and high > 1.01 * rough:
        middle = math.sqrt(rough * high)
        if _rough_epsilon(sampling_rate, middle, n_steps, delta) > target_epsilon:
            rough = middle
        else:
            high = middle
    if of(high) > target_epsilon:
        raise ValueError(
            f"target_epsilon of {target_epsilon} cannot be reached with delta {delta}: "
            f"noise of {high:g} times the clipping norm still costs more; "
            "give a larger epsilon or delta"
        )
    low = high
    while of(low) <= target_epsilon:
        low, high = low / (1.15 if reaches else 2), low
        if low < _LEAST_NOISE:
            raise ValueError(
                f"target_epsilon of {target_epsilon} is spent by next to no noise (a "
                f"multiplier of {high:g} costs less): it would protect nobody; give a "
                "smaller one, or set the noise multiplier itself"
            )
    calibration = _dp_accounting().mechanism_calibration
    return float(
        calibration.calibrate_dp_mechanism(
            lambda: _make_accountant(accountant),
            lambda noise: _event(sampling_rate, noise, n_steps),
            target_epsilon,
            delta,
            calibration.ExplicitBracketInterval(low, high),
            tol=1e-4 * low / max(1.0, target_epsilon),
        )
    )


def _rough_epsilon(
    sampling_rate: float, noise_multiplier: float, n_steps: int, delta: float
) -> float:
    ledger = _dp_accounting().rdp.RdpAccountant(orders=[*range(2, 65), 96, 128, 256, 512])
    ledger.compose(_event(sampling_rate, noise_multiplier, n_steps))
    return float(ledger.get_epsilon(delta))


def _event(sampling_rate: float, noise_multiplier: float, n_steps: int) -> Any:
    dp = _dp_accounting()
    step = dp.PoissonSampledDpEvent(sampling_rate, dp.GaussianDpEvent(noise_multiplier))
    return dp.SelfComposedDpEvent(step, n_steps)


def _make_accountant(accountant: Accountant) -> Any:
    dp = _dp_accounting()
    relation = dp.NeighboringRelation.ADD_OR_REMOVE_ONE
    if accountant == "pld":
        return dp.pld.PLDAccountant(relation)
    return dp.rdp.RdpAccountant(neighboring_relation=relation)


def _dp_accounting() -> ModuleType:
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ImportError as error:
        raise ImportError(
            "the privacy ledger needs dp-accounting: install jaxmlp[privacy]"
        ) from error
    return dp_accounting


def _check(sampling_rate: float, n_steps: int, delta: float, accountant: str) -> None:
    if not 0 < sampling_rate <= 1:
        raise ValueError(
            f"sampling_rate must be above 0 and at most 1, not {sampling_rate}"
        )
    if n_steps < 1 or n_steps != int(n_steps):
        raise ValueError(f"n_steps must be a whole number from 1, not {n_steps}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must be between 0 and 1, not {delta}")
    if accountant not in ("pld", "rdp"):
        raise ValueError(f"accountant must be 'pld' or 'rdp', not {accountant!r}")
