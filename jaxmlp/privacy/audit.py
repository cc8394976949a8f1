"""Lower bounds on ε from an attack, to hold against the ledger's upper bound."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


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
    :math:`\text{TPR} \le e^\varepsilon\, \text{FPR} + \delta`, so

    .. math:: \varepsilon \ge \log \frac{\text{TPR} - \delta}{\text{FPR}}

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
    if not 0 <= delta < 1 or not 0 < confidence < 1:
        raise ValueError(
            "delta must be from 0 to below 1 and confidence between 0 and 1, not "
            f"{delta} and {confidence}"
        )
    half_in, half_out = len(with_row) // 2, len(without) // 2
    chosen_on = with_row[:half_in], without[:half_out]
    thresholds = np.unique(np.concatenate(chosen_on))
    bounds = [_bound(*chosen_on, t, delta, confidence) for t in thresholds]
    threshold = float(thresholds[int(np.argmax(bounds))])
    tested = with_row[half_in:], without[half_out:]
    return EpsilonBound(
        epsilon=max(0.0, _bound(*tested, threshold, delta, confidence)),
        threshold=threshold,
        true_positive_rate=float(np.mean(tested[0] > threshold)),
        false_positive_rate=float(np.mean(tested[1] > threshold)),
    )


def _bound(
    with_row: np.ndarray,
    without: np.ndarray,
    threshold: float,
    delta: float,
    confidence: float,
) -> float:
    from scipy.stats import beta

    # Each rate gets half of the probability of error.
    error = (1 - confidence) / 2
    hits, k = int((with_row > threshold).sum()), len(with_row)
    alarms, m = int((without > threshold).sum()), len(without)
    least_hits = float(beta.ppf(error, hits, k - hits + 1)) if hits else 0.0
    most_alarms = float(beta.ppf(1 - error, alarms + 1, m - alarms)) if alarms < m else 1.0
    if least_hits <= delta:
        return -math.inf
    return math.log((least_hits - delta) / most_alarms)


def _scores(name: str, scores: ArrayLike) -> np.ndarray:
    array = np.asarray(scores, float)
    if array.ndim != 1 or len(array) < 4 or not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be at least 4 finite scores, one a run, not of shape "
            f"{array.shape}"
        )
    return array
