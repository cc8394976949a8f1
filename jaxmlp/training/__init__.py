"""Training: one network with `fit` or `fit_stream`, many with `search` or
`search_stream`.
"""

from jaxmlp.training.checkpoints import CheckpointError, Checkpoints
from jaxmlp.training.diagnostics import Diagnostics
from jaxmlp.training.fit import FitProgress, FitResult, fit
from jaxmlp.training.fit_stream import fit_stream
from jaxmlp.training.folds import Candidate, CrossFitResult, cross_fit
from jaxmlp.training.members import Member
from jaxmlp.training.orders import epoch_order
from jaxmlp.training.race import CrossFitProgress
from jaxmlp.training.ranking import (
    Configuration,
    Network,
    SearchProgress,
    SearchResult,
)
from jaxmlp.training.resume import Stopped
from jaxmlp.training.search import search
from jaxmlp.training.search_stream import search_stream
from jaxmlp.training.stack import stack_params
from jaxmlp.training.windows import Elsewhere

__all__ = [
    "Candidate",
    "CheckpointError",
    "Checkpoints",
    "Configuration",
    "CrossFitProgress",
    "CrossFitResult",
    "Diagnostics",
    "Elsewhere",
    "FitProgress",
    "FitResult",
    "Member",
    "Network",
    "SearchProgress",
    "SearchResult",
    "Stopped",
    "cross_fit",
    "epoch_order",
    "fit",
    "fit_stream",
    "search",
    "search_stream",
    "stack_params",
]
