"""Which rows made this model: influence, leave-one-out, label errors, uncertainty.

`influence`, `leave_one_out`, `self_influence` and `laplace` ask the damped Gauss-Newton
model at given parameters, `optimum` brings parameters to where it is at home, and
`leave_one_out_check` and `linear_datamodeling_score` hold it against retraining.
"""

from jaxmlp.analysis.evaluation import (
    LeaveOneOutCheck,
    label_error_check,
    leave_one_out_check,
    linear_datamodeling_score,
    retrain,
)
from jaxmlp.analysis.influence import influence
from jaxmlp.analysis.label_errors import (
    LabelErrors,
    label_errors,
    label_errors_from_logits,
)
from jaxmlp.analysis.laplace import Laplace, laplace
from jaxmlp.analysis.leave_one_out import leave_one_out, self_influence
from jaxmlp.analysis.optimum import Optimum, optimum
from jaxmlp.analysis.strength import Evidence, LaplaceStrength, evidence, laplace_l2
from jaxmlp.analysis.tracin import tracin

__all__ = [
    "Evidence",
    "LabelErrors",
    "Laplace",
    "LaplaceStrength",
    "LeaveOneOutCheck",
    "Optimum",
    "evidence",
    "influence",
    "label_error_check",
    "label_errors",
    "label_errors_from_logits",
    "laplace",
    "laplace_l2",
    "leave_one_out",
    "leave_one_out_check",
    "linear_datamodeling_score",
    "optimum",
    "retrain",
    "self_influence",
    "tracin",
]
