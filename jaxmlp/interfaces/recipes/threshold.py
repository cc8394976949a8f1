"""From which probability on the positive label is predicted."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Metric = Literal["accuracy", "balanced-accuracy", "f1"]


class Costs(NamedTuple):
    """What mistakes cost, in one unit.

    Attributes:
      false_positive: Of predicting the positive label wrongly.
      false_negative: Of missing it.
    """

    false_positive: float
    false_negative: float


Rule = float | Metric | Costs
"""A threshold itself, or what it shall be best for on the validation part."""


def choose_threshold(
    probs: NDArray[np.floating], y: NDArray[np.int32], rule: Rule
) -> float:
    """Finds the threshold that is best on rows which the networks have not seen.

    Candidates lie halfway between neighbouring probabilities; of equally good ones, the
    one nearest to 1/2, or to false_positive / (false_positive + false_negative), where it
    would be if the probabilities were exact.

    Args:
      probs: Probabilities of the positive label, `(n,)`.
      y: Labels in {0, 1}, `(n,)`.
      rule: What counts.

    Returns:
      The threshold, above 0 and below 1.

    Examples:
      >>> import numpy as np
      >>> probs, y = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 1, 0, 1])
      >>> round(choose_threshold(probs, y, Costs(1.0, 5.0)), 3)
      0.15
    """
    if isinstance(rule, float):
        return rule
    order = np.argsort(probs, kind="stable")
    sorted_probs, positives = probs[order].astype(np.float64), y[order] == 1
    # Below candidate j are the first j rows.
    false_negatives = np.concatenate([[0], np.cumsum(positives)])
    true_negatives = np.concatenate([[0], np.cumsum(~positives)])
    n_positive, n_negative = false_negatives[-1], true_negatives[-1]
    true_positives = n_positive - false_negatives
    false_positives = n_negative - true_negatives
    ends = np.concatenate([[0.0], sorted_probs, [1.0]])
    candidates = (ends[:-1] + ends[1:]) / 2
    merit: NDArray[np.float64]
    ideal = 0.5
    if isinstance(rule, Costs):
        ideal = rule.false_positive / (rule.false_positive + rule.false_negative)
        cost_of_positives = rule.false_positive * false_positives
        merit = -(cost_of_positives + rule.false_negative * false_negatives)
    elif rule == "accuracy":
        merit = (true_positives + true_negatives) / len(y)
    elif rule == "balanced-accuracy":
        merit = true_positives / max(n_positive, 1) + true_negatives / max(n_negative, 1)
    else:
        n_named = n_positive + true_positives + false_positives
        merit = 2 * true_positives / np.maximum(n_named, 1)
    # Rows of equal probability cannot be told apart, and 0 and 1 have no logit.
    is_possible = (ends[:-1] < ends[1:]) & (candidates > 0) & (candidates < 1)
    best = merit[is_possible].astype(np.float64).max(initial=-np.inf)
    ties = candidates[is_possible & (merit == best)]
    return float(ties[np.argmin(np.abs(ties - ideal))]) if len(ties) else ideal
