"""Training: one network with `fit`, many with `search`."""

from jaxmlp.training.fit import FitResult, fit
from jaxmlp.training.search import SearchResult, search

__all__ = ["FitResult", "SearchResult", "fit", "search"]
