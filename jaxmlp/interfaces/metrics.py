"""How good predicted logits are: of a table in memory, or of one that comes in parts."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Metrics = dict[str, float | None]
"""`log_loss` in nats, `roc_auc`, `accuracy` at the threshold, `brier`."""

_SHIFT = 9  # leaves 14 bits of the mantissa
_FIRST = (127 - 24) << 23  # bits of 2^-24
_LAST = (127 + 8) << 23  # bits of 2^8
_HALF = (_LAST - _FIRST) >> _SHIFT

N_BINS = 2 * _HALF
"""Bins of logits, `2^20`."""


def evaluate_logits(
    logits: NDArray[np.floating], y: NDArray[np.int32], threshold_logit: float = 0.0
) -> Metrics:
    """Computes the metrics of predicted logits.

    Args:
      logits: Predicted scores, `(n,)`.
      y: Labels in {0, 1}, `(n,)`.
      threshold_logit: Log odds from which on label 1 is predicted.

    Returns:
      The metrics; `roc_auc` is None where only one of the two classes occurs.
    """
    from sklearn.metrics import roc_auc_score

    has_both = 0 < y.sum() < len(y)
    means = row_scores(logits, y, threshold_logit).mean(axis=1)
    return _metrics(means, float(roc_auc_score(y, logits)) if has_both else None)


def row_scores(
    logits: NDArray[np.floating], y: NDArray[np.int32], threshold_logit: float
) -> NDArray[np.float64]:
    """Each row's log loss, whether it is predicted right, and squared error, `(3, n)`."""
    is_right = (logits >= threshold_logit) == (y == 1)
    squares = (expit(logits.astype(np.float64)) - y) ** 2
    return np.stack([log_losses(logits, y), is_right, squares])


def log_losses(logits: NDArray[np.floating], y: NDArray[np.int32]) -> NDArray[np.float64]:
    """`jaxmlp.bce_with_logits` by NumPy: JAX would compile for each number of rows anew."""
    z = logits.astype(np.float64)
    return np.logaddexp(0, np.where(y == 1, -z, z))


@dataclass
class MetricSums:
    r"""The metrics of rows that come in parts, in memory that does not grow with them.

    Log loss, accuracy and Brier score are those of `evaluate_logits` but for rounding.
    The ROC AUC is that of logits rounded to bins: from $2^{-24}$ to $2^8$ in
    size each is $2^{-14}$ of its logits wide, smaller ones are taken for 0, and
    larger ones for $2^8$. It is exact if no bin holds both classes, and differs by at
    most `auc_error` else, half the share of the pairs that fall into one bin:

    $$
    \frac{1}{2} \sum_b P_b N_b \Big/ \sum_b P_b \sum_b N_b
    $$

    where $P_b$ and $N_b$ rows of bin b have label 1 and 0.

    Attributes:
      threshold_logit: Log odds from which on label 1 is predicted.
      sums: Of `row_scores`, `(3,)`.
      counts: Rows with label 0 and 1 in each bin, `(2, N_BINS)`.
    """

    threshold_logit: float = 0.0
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    counts: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((2, N_BINS), np.int64)
    )

    def add(self, logits: NDArray[np.floating], y: NDArray[np.int32]) -> None:
        """Takes rows in: their scores and labels in {0, 1}, each `(n,)`."""
        self.sums += row_scores(logits, y, self.threshold_logit).sum(axis=1)
        np.add.at(self.counts.reshape(-1), _bins(logits) + N_BINS * (y == 1), 1)

    def merge(self, other: "MetricSums") -> None:
        """Takes the rows of another in, such as another host's, in whatever order."""
        self.sums += other.sums
        self.counts += other.counts

    def to_bytes(self) -> bytes:
        """What `from_bytes` makes the sums of, for another process."""
        return self.sums.tobytes() + self.counts.tobytes()

    @classmethod
    def from_bytes(cls, threshold_logit: float, content: bytes) -> "MetricSums":
        """The inverse of `to_bytes`."""
        sums = np.frombuffer(content, np.float64, 3)
        counts = np.frombuffer(content, np.int64, offset=sums.nbytes).reshape(2, -1)
        return cls(threshold_logit, sums.copy(), counts.copy())

    @property
    def n_rows(self) -> int:
        """Rows so far."""
        return int(self.counts.sum())

    @property
    def auc_error(self) -> float | None:
        """Most that `roc_auc` can differ from that of the logits themselves, or None."""
        negatives, positives = self.counts.astype(np.float64)
        n_pairs = negatives.sum() * positives.sum()
        return float(negatives @ positives / 2 / n_pairs) if n_pairs else None

    def result(self) -> Metrics:
        """The metrics of all rows, of which there must be one."""
        return _metrics(self.sums / self.n_rows, self._auc())

    def _auc(self) -> float | None:
        negatives, positives = self.counts.astype(np.float64)
        n_pairs = negatives.sum() * positives.sum()
        below = np.cumsum(negatives) - negatives / 2  # a tie counts half
        return float(positives @ below / n_pairs) if n_pairs else None


def _metrics(means: NDArray[np.float64], auc: float | None) -> Metrics:
    log_loss, accuracy, brier = means.tolist()
    return {"log_loss": log_loss, "roc_auc": auc, "accuracy": accuracy, "brier": brier}


def _bins(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    """Numbers that rise with the logits: floats' bits rise with their size."""
    with np.errstate(over="ignore"):
        bits = logits.astype(np.float32).view(np.int32)
    size = (np.clip(bits & 0x7FFFFFFF, _FIRST, _LAST - 1) - _FIRST) >> _SHIFT
    return _HALF + np.where(bits < 0, -size, size)
