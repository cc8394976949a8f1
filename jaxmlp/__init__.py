"""Feed-forward networks for binary classification in functional JAX.

Parameters are a pytree, every step is a pure function, and the backward pass is written
by hand. `jaxmlp.lecture` holds the same in the equations of the lecture it implements.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxmlp.core import (
    Layer,
    Params,
    backward,
    bce,
    bce_with_logits,
    ensemble_logits,
    ensemble_proba,
    forward,
    forward_with_cache,
    init_params,
    loss_and_grads,
    predict_proba,
)
from jaxmlp.data.split import train_val_test_split
from jaxmlp.training import Diagnostics, fit, search, stack_params

if TYPE_CHECKING:
    from jaxmlp.interfaces.estimator import MLPClassifier
    from jaxmlp.interfaces.estimator_cv import MLPClassifierCV

__all__ = [
    "Diagnostics",
    "Layer",
    "MLPClassifier",
    "MLPClassifierCV",
    "Params",
    "backward",
    "bce",
    "bce_with_logits",
    "ensemble_logits",
    "ensemble_proba",
    "fit",
    "forward",
    "forward_with_cache",
    "init_params",
    "loss_and_grads",
    "predict_proba",
    "search",
    "stack_params",
    "train_val_test_split",
]

__version__ = "0.1.0"

_ESTIMATORS = {"MLPClassifier": "estimator", "MLPClassifierCV": "estimator_cv"}


def __getattr__(name: str) -> Any:
    """Imports an estimator, and with it scikit-learn, when it is first asked for."""
    if name not in _ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"jaxmlp.interfaces.{_ESTIMATORS[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("sklearn", "scipy"):
            raise
        raise ImportError(
            f"jaxmlp.{name} needs scikit-learn: install jaxmlp[tables]"
        ) from error
    return getattr(module, name)
