"""How good predicted logits are."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Metrics = dict[str, float | None]
"""`log_loss` in nats, `roc_auc`, `accuracy` at the threshold, `brier`."""


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
    from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

    has_both = 0 < y.sum() < len(y)
    return {
        "log_loss": float(log_losses(logits, y).mean()),
        "roc_auc": float(roc_auc_score(y, logits)) if has_both else None,
        "accuracy": float(accuracy_score(y, logits >= threshold_logit)),
        "brier": float(brier_score_loss(y, expit(logits), pos_label=1, labels=[0, 1])),
    }


def log_losses(logits: NDArray[np.floating], y: NDArray[np.int32]) -> NDArray[np.float64]:
    """`jaxmlp.bce_with_logits` by NumPy: JAX would compile for each number of rows anew."""
    z = logits.astype(np.float64)
    return np.logaddexp(0, np.where(y == 1, -z, z))
