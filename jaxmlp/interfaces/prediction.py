"""Logits of any number of rows from two compiled shapes."""

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmlp.core import Params, ensemble_logits

# Rows predicted at once: few compiled shapes, and bounded memory for wide networks too.
_BLOCK = 4096
_SMALL_BLOCK = 256  # so that a few rows need not wait for thousands
_MOST_ACTIVATIONS = 2**26


def predict_logits(networks: Params, X: NDArray[np.floating]) -> NDArray[np.floating]:
    """Computes logits block by block, so that two compiled shapes serve any number of rows.

    Args:
      networks: Stacked parameters.
      X: Features, `(n, p)`.

    Returns:
      Logits, `(n,)`.
    """
    n_units = sum(layer.b.size for layer in networks)
    block = _SMALL_BLOCK if len(X) <= _SMALL_BLOCK else _BLOCK
    n_rows = max(1, min(block, _MOST_ACTIVATIONS // n_units))
    blocks = [np.empty(0, networks[0].w.dtype)]
    for start in range(0, len(X), n_rows):
        rows = X[start : start + n_rows]
        padded = np.pad(rows, ((0, n_rows - len(rows)), (0, 0)))
        blocks.append(np.asarray(_logits(networks, padded))[: len(rows)])
    return np.concatenate(blocks)


_logits = jax.jit(ensemble_logits)
