"""Per-example gradients in factored form, and what follows from them at once.

`loss_factors` makes one forward and one backward pass; every function here takes what it
returns. Nothing forms the n × P matrix of all gradients but `materialize`.
"""

from jaxmlp.core.factors import Factors, LayerFactors, weighted_sum
from jaxmlp.gradients.blocks import map_blocks
from jaxmlp.gradients.clipping import ClippedSum, clipped_sum
from jaxmlp.gradients.factors import logit_factors, loss_factors
from jaxmlp.gradients.moments import (
    NoiseScale,
    mean,
    noise_scale,
    noise_scale_of,
    second_moment,
    signal_to_noise,
    variance,
)
from jaxmlp.gradients.pairs import class_similarity, cosine_similarity, inner_products
from jaxmlp.gradients.per_example import (
    directional,
    el2n,
    grand,
    keep_highest,
    materialize,
    norms,
    squared_norms,
)

__all__ = [
    "ClippedSum",
    "Factors",
    "LayerFactors",
    "NoiseScale",
    "class_similarity",
    "clipped_sum",
    "cosine_similarity",
    "directional",
    "el2n",
    "grand",
    "inner_products",
    "keep_highest",
    "logit_factors",
    "loss_factors",
    "map_blocks",
    "materialize",
    "mean",
    "noise_scale",
    "noise_scale_of",
    "norms",
    "second_moment",
    "signal_to_noise",
    "squared_norms",
    "variance",
    "weighted_sum",
]
