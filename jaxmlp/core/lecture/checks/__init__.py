"""Checks of what a reader writes, with messages that name the equation."""

from jaxmlp.core.lecture.checks.batch import check_backward
from jaxmlp.core.lecture.checks.one import check_backward_one, check_forward_one
from jaxmlp.core.lecture.checks.training import check_init, check_sgd_update

__all__ = [
    "check_backward",
    "check_backward_one",
    "check_forward_one",
    "check_init",
    "check_sgd_update",
]
