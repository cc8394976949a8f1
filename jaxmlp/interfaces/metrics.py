"""How good predicted logits are."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxmlp.core import bce_with_logits

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

    probs = np.asarray(jax.nn.sigmoid(jnp.asarray(logits)))
    losses = np.asarray(bce_with_logits(jnp.asarray(logits), jnp.asarray(y)), np.float64)
    has_both = 0 < y.sum() < len(y)
    return {
        "log_loss": float(losses.mean()),
        "roc_auc": float(roc_auc_score(y, logits)) if has_both else None,
        "accuracy": float(accuracy_score(y, logits >= threshold_logit)),
        "brier": float(brier_score_loss(y, probs, pos_label=1, labels=[0, 1])),
    }
