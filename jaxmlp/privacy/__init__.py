"""Training with differential privacy, its ledger, and an audit of the claim."""

from jaxmlp.privacy.audit import EpsilonBound, epsilon_lower_bound
from jaxmlp.privacy.dp_sgd import (
    DpFitProgress,
    DpFitResult,
    dp_fit,
    sampled_rows,
    secret_key,
)
from jaxmlp.privacy.guarantee import Guarantee
from jaxmlp.privacy.ledger import calibrate, epsilon

__all__ = [
    "DpFitProgress",
    "DpFitResult",
    "EpsilonBound",
    "Guarantee",
    "calibrate",
    "dp_fit",
    "epsilon",
    "epsilon_lower_bound",
    "sampled_rows",
    "secret_key",
]
