"""What DP-SGD costs in privacy, and the noise that a budget asks for, by dp-accounting."""

import functools
import math
from types import ModuleType
from typing import Any, Literal

from jaxmlp.core.validate import check_count, check_number

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

    Examples:
      >>> from jaxmlp.privacy import epsilon
      >>> run = dict(sampling_rate=0.04, noise_multiplier=1.5, n_steps=2250, delta=1e-5)
      >>> print(f"{epsilon(**run, accountant='rdp'):.3f}, {epsilon(**run):.3f}")
      7.329, 6.769

    Source:
      Mironov, Talwar and Zhang (2019), arXiv 1908.10530, for RDP; Koskela, Jälkö and
      Honkela (2020), arXiv 1906.03049, for PLD; both as in Google's dp-accounting.
    """
    run = _check_run(sampling_rate, n_steps, accountant)
    noise, delta = check_noise(noise_multiplier), check_delta(delta)
    return _epsilon(*run, noise, delta, accountant) if noise else math.inf


@functools.lru_cache(maxsize=256)
def _epsilon(
    sampling_rate: float,
    n_steps: int,
    noise_multiplier: float,
    delta: float,
    accountant: Accountant,
) -> float:
    ledger = _make_accountant(accountant)
    try:
        ledger.compose(_event(sampling_rate, noise_multiplier, n_steps))
        return max(0.0, float(ledger.get_epsilon(delta)))
    except MemoryError as error:
        raise ValueError(
            f"noise_multiplier of {noise_multiplier} is too small for the accountant "
            f"{accountant!r}, whose tables do not fit into memory: give more noise, or "
            "accountant='rdp'"
        ) from error


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
      The noise multiplier: `epsilon` of it is at most the target, and lower by at most
      1e-3, or a thousandth of a target below 1, unless the accountant's bound has a step
      there.

    Raises:
      ValueError: An argument is out of its range, or no noise reaches the target.
      ImportError: dp-accounting is not installed.

    Source:
      As of `epsilon`. dp-accounting's own `calibrate_dp_mechanism` finds the same root
      with about twice as many values of ε.
    """
    run = _check_run(sampling_rate, n_steps, accountant)
    target = check_number(
        "target_epsilon",
        target_epsilon,
        "a finite number above 0",
        lambda x: 0 < x < math.inf,
    )
    return _calibrate(target, *run, check_delta(delta), accountant)


@functools.lru_cache(maxsize=64)
def _calibrate(
    target_epsilon: float,
    sampling_rate: float,
    n_steps: int,
    delta: float,
    accountant: Accountant,
) -> float:
    def of(noise: float) -> float:
        return _epsilon(sampling_rate, n_steps, noise, delta, accountant)

    # Rényi's bound at whole orders takes milliseconds and a few per cent more noise.
    def rough(noise: float) -> float:
        return _rough_epsilon(sampling_rate, noise, n_steps, delta)

    low, high = _LEAST_NOISE, 1.0
    while rough(high) > target_epsilon and high < _MOST_NOISE:
        low, high = high, 2 * high
    reaches = high < _MOST_NOISE
    while reaches and high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rough(middle) > target_epsilon else (low, middle)
    while of(high) > target_epsilon and high < _MOST_NOISE:
        high *= (
            2  # rounding up makes the other accountant's bound of tiny ε the greater one
        )
    if of(high) > target_epsilon:
        raise ValueError(
            f"target_epsilon of {target_epsilon} cannot be reached with delta {delta}: "
            f"noise of {high:g} times the clipping norm still costs more; give a larger "
            "epsilon or delta" + (", or accountant='pld'" if accountant == "rdp" else "")
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
    from scipy.optimize import brentq

    slack = 1e-3 * min(1.0, target_epsilon)
    aim = target_epsilon - slack / 2
    if of(high) >= aim:
        return high

    # In logarithms the curve is nearly straight, and each of its values may take seconds.
    def excess(log_noise: float) -> float:
        return math.log(max(of(math.exp(log_noise)) / aim, 0.1))

    tolerance = slack / (20 * target_epsilon)
    noise = math.exp(brentq(excess, math.log(low), math.log(high), xtol=tolerance))
    while of(noise) > target_epsilon:
        noise *= 1 + tolerance
    return noise


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


def check_noise(value: Any) -> float:
    """Returns a noise multiplier, or raises ValueError unless finite and from 0."""
    return check_number(
        "noise_multiplier", value, "a finite number from 0", lambda x: 0 <= x < math.inf
    )


def check_delta(value: Any) -> float:
    """Returns δ, or raises ValueError unless between 0 and 1."""
    return check_number("delta", value, "between 0 and 1", lambda x: 0 < x < 1)


def _check_run(sampling_rate: Any, n_steps: Any, accountant: Any) -> tuple[float, int]:
    rate = check_number(
        "sampling_rate", sampling_rate, "above 0 and at most 1", lambda x: 0 < x <= 1
    )
    if accountant not in ("pld", "rdp"):
        raise ValueError(f"accountant must be 'pld' or 'rdp', not {accountant!r}")
    return rate, check_count("n_steps", n_steps, most=2**63)
