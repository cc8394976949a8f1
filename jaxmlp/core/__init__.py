"""Pure functions of the network: parameters, forward, loss, backward, the lecture."""

from jaxmlp.core.backward import backward, backward_one_product, loss_and_grads
from jaxmlp.core.losses import bce, bce_with_logits, output_delta
from jaxmlp.core.model import Cache, forward, forward_with_cache, predict_proba
from jaxmlp.core.params import Layer, Params, init_params, pad_params, unpad_params

__all__ = [
    "Cache",
    "Layer",
    "Params",
    "backward",
    "backward_one_product",
    "bce",
    "bce_with_logits",
    "forward",
    "forward_with_cache",
    "init_params",
    "loss_and_grads",
    "output_delta",
    "pad_params",
    "predict_proba",
    "unpad_params",
]
