"""Lower bounds on ε from an attack, to hold against the ledger's upper bound."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxmlp.core.validate import check_number


class EpsilonBound(NamedTuple):
    """A lower bound on ε, and the attack that shows it.

    Attributes:
      epsilon: The bound, from 0; holds with the confidence asked for.
      threshold: Scores above it are taken for "was in".
      true_positive_rate: Share of the runs with the row that are found, of those tested.
      false_positive_rate: Share of the runs without it that are taken for one with it.
    """

    epsilon: float
    threshold: float
    true_positive_rate: float
    false_positive_rate: float


def epsilon_lower_bound(
    scores_in: ArrayLike,
    scores_out: ArrayLike,
    *,
    delta: float,
    confidence: float = 0.95,
) -> EpsilonBound:
    r"""Bounds ε from below by how well an attack tells neighbouring data sets apart.

    Any (ε, δ)-private training leaves every attack with
    $\text{TPR} \le e^\varepsilon\, \text{FPR} + \delta$, so

    $$
    \varepsilon \ge \log \frac{\text{TPR} - \delta}{\text{FPR}}
    $$

    with Clopper-Pearson bounds for both rates. The threshold is chosen on the first half
    of the runs and the rates are counted on the other half, so that the choice does not
    flatter them. A bound above what a ledger claims refutes the claim; one below proves
    nothing.

    Args:
      scores_in: The attack's score of independent runs with the row, `(k,)`; high means
        "was in".
      scores_out: The same of runs without it, `(m,)`.
      delta: The δ of the claim, in [0, 1).
      confidence: Probability with which the bound holds, in (0, 1).

    Returns:
      An `EpsilonBound`.

    Raises:
      ValueError: There are fewer than 4 scores of a kind, they are not finite, or an
        argument is out of its range.

    Source:
      Jagielski, Ullman and Oprea (2020), arXiv 2006.07709; Nasr and others (2021),
      arXiv 2101.04535.
    """
    with_row = _scores("scores_in", scores_in)
    without = _scores("scores_out", scores_out)
    delta = check_number("delta", delta, "from 0 to below 1", lambda x: 0 <= x < 1)
    confidence = check_number(
        "confidence", confidence, "between 0 and 1", lambda x: 0 < x < 1
    )
    half_in, half_out = len(with_row) // 2, len(without) // 2
    chosen_on = with_row[:half_in], without[:half_out]
    thresholds = np.unique(np.concatenate(chosen_on))
    bounds = _bounds(*chosen_on, thresholds, delta, confidence)
    threshold = thresholds[int(np.argmax(bounds))]
    tested = with_row[half_in:], without[half_out:]
    return EpsilonBound(
        epsilon=max(0.0, float(_bounds(*tested, threshold, delta, confidence))),
        threshold=float(threshold),
        true_positive_rate=float(np.mean(tested[0] > threshold)),
        false_positive_rate=float(np.mean(tested[1] > threshold)),
    )


def _bounds(
    with_row: np.ndarray,
    without: np.ndarray,
    thresholds: np.ndarray,
    delta: float,
    confidence: float,
) -> np.ndarray:
    """Bound by each threshold, `(n_thresholds,)`; minus infinity where there is none."""
    from scipy.stats import beta

    # Each rate gets half of the probability of error.
    error = (1 - confidence) / 2
    (hits, k), (alarms, m) = (_count(s, thresholds) for s in (with_row, without))
    least_hits = np.where(hits > 0, beta.ppf(error, np.maximum(hits, 1), k - hits + 1), 0)
    most_alarms = np.where(
        alarms < m, beta.ppf(1 - error, alarms + 1, np.maximum(m - alarms, 1)), 1
    )
    gain = least_hits - delta
    return np.where(gain > 0, np.log(np.where(gain > 0, gain, 1) / most_alarms), -math.inf)


def _count(scores: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, int]:
    """Number of scores above each threshold, and of all."""
    n = len(scores)
    return n - np.searchsorted(np.sort(scores), thresholds, side="right"), n


def _scores(name: str, scores: ArrayLike) -> np.ndarray:
    try:
        array = np.asarray(scores, float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, one a run, not {scores!r}") from None
    if array.ndim != 1 or len(array) < 4 or not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be at least 4 finite scores, one a run, not of shape "
            f"{array.shape}"
        )
    return array
