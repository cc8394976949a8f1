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
from jaxmlp.training import Diagnostics, fit, fit_stream, search, stack_params

if TYPE_CHECKING:
    from jaxmlp.interfaces.estimators.classifier import MLPClassifier
    from jaxmlp.interfaces.estimators.classifier_cv import MLPClassifierCV
    from jaxmlp.interfaces.estimators.preprocessor import TablePreprocessor
    from jaxmlp.interfaces.exports.scikit_learn import to_sklearn
    from jaxmlp.interfaces.model import load_model

__all__ = [
    "Diagnostics",
    "Layer",
    "MLPClassifier",
    "MLPClassifierCV",
    "Params",
    "TablePreprocessor",
    "backward",
    "bce",
    "bce_with_logits",
    "ensemble_logits",
    "ensemble_proba",
    "fit",
    "fit_stream",
    "forward",
    "forward_with_cache",
    "init_params",
    "load_model",
    "loss_and_grads",
    "predict_proba",
    "search",
    "stack_params",
    "to_sklearn",
    "train_val_test_split",
]

__version__ = "0.1.0"

_INTERFACES = {
    "MLPClassifier": "estimators.classifier",
    "MLPClassifierCV": "estimators.classifier_cv",
    "TablePreprocessor": "estimators.preprocessor",
    "load_model": "model",
    "to_sklearn": "exports.scikit_learn",
}


def __getattr__(name: str) -> Any:
    """Imports an interface, and with it scikit-learn, when it is first asked for."""
    if name not in _INTERFACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"jaxmlp.interfaces.{_INTERFACES[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("sklearn", "scipy", "pyarrow"):
            raise
        raise ImportError(
            f"jaxmlp.{name} needs scikit-learn and pyarrow: install jaxmlp[tables]"
        ) from error
    return getattr(module, name)
