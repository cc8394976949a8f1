"""What the page draws of predicted probabilities, as JSON values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = list[list[float]]

N_BINS = 10
"""Of the calibration."""

N_BARS = 20
"""Of the histogram of probabilities."""

_MOST_POINTS = 160
_NORMAL = 1.959964  # its 97.5% quantile


def roc_points(y: NDArray[np.int32], logits: NDArray[np.floating]) -> Points | None:
    """False and true positive rate at falling thresholds; None where a class is absent."""
    from sklearn.metrics import roc_curve

    if not 0 < y.sum() < len(y):
        return None
    false, true, _ = roc_curve(y, logits)
    return _thin(np.stack([false, true], axis=1))


def precision_recall_points(
    y: NDArray[np.int32], logits: NDArray[np.floating]
) -> Points | None:
    """Recall and precision at falling thresholds; None where a class is absent."""
    from sklearn.metrics import precision_recall_curve

    if not 0 < y.sum() < len(y):
        return None
    precision, recall, _ = precision_recall_curve(y, logits)
    # The last of scikit-learn's points, recall 0 and precision 1, is no threshold's.
    return _thin(np.stack([recall, precision], axis=1)[-2::-1])


def _thin(points: NDArray[np.float64]) -> Points:
    """At most so many points as a screen can show, the ends among them."""
    wanted = np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int)
    return points[np.unique(wanted)].round(4).tolist()


def calibration(y: NDArray[np.int32], probs: NDArray[np.floating]) -> list[dict[str, Any]]:
    """Share of positive rows in ten bins of equal width; bins without rows are left out.

    Returns:
      Rows with `rows`, `positives`, `predicted` (the mean probability), `observed` (the
      share of positives) and its Wilson interval from `low` to `high`, 95%.
    """
    bins = np.minimum((probs * N_BINS).astype(int), N_BINS - 1)
    found = []
    for j in np.unique(bins):
        inside = bins == j
        n, positives = int(inside.sum()), int(y[inside].sum())
        low, high = wilson(positives, n)
        found.append(
            {
                "rows": n,
                "positives": positives,
                "predicted": float(probs[inside].mean(dtype=np.float64)),
                "observed": positives / n,
                "low": low,
                "high": high,
            }
        )
    return found


def wilson(n_positive: int, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share.

    Source:
      Wilson (1927), "Probable inference, the law of succession, and statistical
      inference".
    """
    share, extra = n_positive / n, _NORMAL**2 / n
    centre = (share + extra / 2) / (1 + extra)
    spread = np.sqrt(share * (1 - share) * extra + extra**2 / 4) / (1 + extra)
    return max(0.0, float(centre - spread)), min(1.0, float(centre + spread))


def confusion(
    y: NDArray[np.int32], logits: NDArray[np.floating], threshold_logit: float
) -> dict[str, int]:
    """Counts of rows by label and prediction."""
    is_predicted, is_positive = logits >= threshold_logit, y == 1
    return {
        "true_positives": int((is_predicted & is_positive).sum()),
        "false_positives": int((is_predicted & ~is_positive).sum()),
        "false_negatives": int((~is_predicted & is_positive).sum()),
        "true_negatives": int((~is_predicted & ~is_positive).sum()),
    }


def by_class(
    values: NDArray[np.floating], y: NDArray[np.int32], edges: NDArray[np.float64]
) -> dict[str, list[Any]]:
    """Histogram of rows' values for each class."""
    negative, positive = (np.histogram(values[y == code], edges)[0] for code in (0, 1))
    return {
        "edges": [float(f"{edge:.6g}") for edge in edges],
        "negative": negative.tolist(),
        "positive": positive.tolist(),
    }


def probability_histogram(
    y: NDArray[np.int32], probs: NDArray[np.floating]
) -> dict[str, list[Any]]:
    """Histogram of predicted probabilities for each class."""
    return by_class(probs, y, np.linspace(0, 1, N_BARS + 1))
