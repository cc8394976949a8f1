"""Feed-forward networks for binary classification in functional JAX.

Parameters are a pytree, every step is a pure function, and the backward pass is written
by hand. `jaxmlp.lecture` holds the same in the equations of the lecture it implements.
"""

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

__all__ = [
    "Diagnostics",
    "Layer",
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
