"""How sure metrics are: the bootstrap over rows."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from jaxmlp.interfaces.metrics import Metrics, evaluate_logits, row_scores

METRICS = ("log_loss", "roc_auc", "average_precision", "accuracy", "brier")
"""In this order along the last axis of what `bootstrap` returns."""

N_RESAMPLES = 1000
_MOST_DRAWS = 20_000_000  # of rows in all; with very many rows, fewer resamples will do
_FEWEST_RESAMPLES = 200
_CHUNK = 2**21

Floats: TypeAlias = NDArray[np.float64]
Interval = dict[str, float | None]
"""`value`, and the 95% interval from `low` to `high`; null where it cannot be told."""


def count_resamples(n: int) -> int:
    """How often n rows are drawn anew."""
    return max(_FEWEST_RESAMPLES, min(N_RESAMPLES, _MOST_DRAWS // n))


def all_metrics(
    logits: NDArray[np.floating], y: NDArray[np.int32], threshold_logit: float
) -> Metrics:
    """As `evaluate_logits`, and `average_precision`, None where a class is absent."""
    from sklearn.metrics import average_precision_score

    metrics = evaluate_logits(logits, y, threshold_logit)
    has_both = 0 < y.sum() < len(y)
    precision = float(average_precision_score(y, logits)) if has_both else None
    return {**metrics, "average_precision": precision}


def bootstrap(
    rng: np.random.Generator,
    y: NDArray[np.int32],
    logits: list[NDArray[np.floating]],
    threshold_logit: float,
    n_resamples: int,
) -> Floats:
    """Computes the metrics of several models on rows drawn with replacement.

    Every model is measured on the same draws, so that differences are paired.

    Args:
      rng: Draws the rows.
      y: Labels in {0, 1}, `(n,)`.
      logits: Of each of m models, `(n,)`.
      threshold_logit: Log odds from which on label 1 is predicted.
      n_resamples: Number of draws.

    Returns:
      `(n_resamples, m, 5)`, the metrics in the order of `METRICS`; NaN for ROC AUC and
      average precision where a draw has one class.
    """
    measures = [_measure(y, z, threshold_logit) for z in logits]
    size = max(1, _CHUNK // len(y))
    parts = []
    for start in range(0, n_resamples, size):
        counts = draw_counts(rng, len(y), min(size, n_resamples - start))
        parts.append(np.stack([measure(counts) for measure in measures], axis=1))
    return np.concatenate(parts)


def draw_counts(rng: np.random.Generator, n: int, size: int) -> Floats:
    """How often each of n rows is drawn in each of some resamples, `(size, n)`."""
    draws = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
    counts = np.bincount(draws.ravel(), minlength=size * n)
    return counts.reshape(size, n).astype(np.float64)


def interval(value: float | None, draws: Floats) -> Interval:
    """A metric with the middle 95% of its draws, those that are numbers."""
    known = draws[~np.isnan(draws)]
    if value is None or not len(known):
        return {"value": value, "low": None, "high": None}
    low, high = np.quantile(known, (0.025, 0.975)).tolist()
    return {"value": value, "low": low, "high": high}


def _measure(
    y: NDArray[np.int32], logits: NDArray[np.floating], threshold_logit: float
) -> Callable[[Floats], Floats]:
    """A function from counts of the rows, `(size, n)`, to the metrics, `(size, 5)`."""
    per_row = row_scores(logits, y, threshold_logit).T
    order = np.argsort(-logits, kind="stable")
    is_positive = y[order] == 1
    # Rows of one score are passed together: the curves have a point where it ends.
    ends = np.append(np.flatnonzero(np.diff(logits[order])), len(y) - 1)

    def of_counts(counts: Floats) -> Floats:
        loss, accuracy, brier = (counts @ per_row / len(y)).T
        drawn = counts[:, order]
        passed = np.cumsum(drawn, axis=1)[:, ends]
        positives = np.cumsum(drawn * is_positive, axis=1)[:, ends]
        area, precision = _areas(positives, passed)
        return np.stack([loss, area, precision, accuracy, brier], axis=1)

    return of_counts


def _areas(positives: Floats, passed: Floats) -> tuple[Floats, Floats]:
    """ROC AUC and average precision of each line.

    Args:
      positives: Positive rows from the highest score down to each score.
      passed: All rows down to it.
    """
    negatives = passed - positives
    new_positives = np.diff(positives, prepend=0.0)
    new_negatives = np.diff(negatives, prepend=0.0)
    n_positive, n_negative = positives[:, -1], negatives[:, -1]
    beaten = (new_negatives * (positives - new_positives / 2)).sum(axis=1)
    precise = (new_positives * positives / np.maximum(passed, 1)).sum(axis=1)
    has_both = (n_positive > 0) & (n_negative > 0)
    pairs = np.where(has_both, n_positive * n_negative, np.nan)
    return beaten / pairs, precise / np.where(has_both, n_positive, np.nan)
