"""Ranks labels by cleanlab's scores, in an environment that has cleanlab.

    python cleanlab_worker.py probabilities.npz scores.npz

The input holds `y` (n,) and any number of arrays of probabilities of label 1, (n,), or
(k, n) of k models; the output, for each of those, every documented score of one model, or
of an ensemble, under `NAME/METHOD`, highest for the rows most likely to be wrong.
"""

import sys

import numpy as np
from cleanlab.rank import get_label_quality_ensemble_scores, get_label_quality_scores

METHODS = {
    "self-confidence": {"method": "self_confidence"},
    "normalized margin": {"method": "normalized_margin"},
    "confidence-weighted entropy": {"method": "confidence_weighted_entropy"},
    "self-confidence, adjusted": {
        "method": "self_confidence",
        "adjust_pred_probs": True,
    },
    "normalized margin, adjusted": {
        "method": "normalized_margin",
        "adjust_pred_probs": True,
    },
}


WEIGHTS = ("uniform", "accuracy", "log_loss_search")


def main() -> None:
    given = dict(np.load(sys.argv[1]))
    y = given.pop("y")
    scores = {}
    for name, probs in given.items():
        probs = np.clip(probs, 1e-6, 1 - 1e-6)
        both = np.stack([1 - probs, probs], axis=-1)
        for method, options in METHODS.items():
            if both.ndim == 2:
                scores[f"{name}/{method}"] = -get_label_quality_scores(y, both, **options)
                continue
            for weights in WEIGHTS:
                quality = get_label_quality_ensemble_scores(
                    y,
                    list(both),
                    weight_ensemble_members_by=weights,
                    verbose=False,
                    **options,
                )
                scores[f"{name}/{method}, weights {weights}"] = -quality
    np.savez(sys.argv[2], **scores)


if __name__ == "__main__":
    main()
