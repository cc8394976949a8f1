"""Training: one network with `fit`, many with `search`."""

from jaxmlp.training.diagnostics import Diagnostics
from jaxmlp.training.fit import FitProgress, FitResult, fit
from jaxmlp.training.orders import epoch_order
from jaxmlp.training.ranking import (
    Configuration,
    Network,
    SearchProgress,
    SearchResult,
)
from jaxmlp.training.search import search
from jaxmlp.training.stack import stack_params

__all__ = [
    "Configuration",
    "Diagnostics",
    "FitProgress",
    "FitResult",
    "Network",
    "SearchProgress",
    "SearchResult",
    "epoch_order",
    "fit",
    "search",
    "stack_params",
]
