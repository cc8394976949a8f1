"""Pure functions of the network: parameters, forward, loss, backward, the lecture."""

from jaxmlp.core.backward import backward
from jaxmlp.core.ensemble import ensemble_logits, ensemble_proba
from jaxmlp.core.factors import augment
from jaxmlp.core.losses import bce, bce_with_logits, output_delta
from jaxmlp.core.model import Cache, forward, forward_with_cache, predict_proba
from jaxmlp.core.one_product import loss_and_grads, loss_and_grads_augmented
from jaxmlp.core.params import Layer, Params, init_params

__all__ = [
    "Cache",
    "Layer",
    "Params",
    "augment",
    "backward",
    "bce",
    "bce_with_logits",
    "ensemble_logits",
    "ensemble_proba",
    "forward",
    "forward_with_cache",
    "init_params",
    "loss_and_grads",
    "loss_and_grads_augmented",
    "output_delta",
    "predict_proba",
]
