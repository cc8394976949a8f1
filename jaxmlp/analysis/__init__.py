"""Which rows made this model: influence, leave-one-out, uncertainty."""

from jaxmlp.analysis.influence import influence, leave_one_out, self_influence
from jaxmlp.analysis.laplace import Evidence, Laplace, evidence, laplace
from jaxmlp.analysis.tracin import tracin

__all__ = [
    "Evidence",
    "Laplace",
    "evidence",
    "influence",
    "laplace",
    "leave_one_out",
    "self_influence",
    "tracin",
]
