"""Logits of any number of rows from two compiled shapes."""

from collections.abc import Iterator

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
    empty = np.empty(0, networks[0].w.dtype)
    return np.concatenate([empty, *predict_parts(networks, iter([X]), len(X))])


def predict_parts(
    networks: Params, parts: Iterator[NDArray[np.floating]], n_samples: int
) -> Iterator[NDArray[np.floating]]:
    """Computes the logits of features that come in parts, however cut the same bits.

    Args:
      networks: Stacked parameters.
      parts: Features, `(n_i, p)`.
      n_samples: Rows of all parts.

    Yields:
      Logits in the order of the rows; a few rows wait for the next part.
    """
    n_units = sum(layer.b.size for layer in networks)
    block = _SMALL_BLOCK if n_samples <= _SMALL_BLOCK else _BLOCK
    n_rows = max(1, min(block, _MOST_ACTIVATIONS // n_units))
    for rows in _blocks(parts, n_rows):
        padded = np.pad(rows, ((0, n_rows - len(rows)), (0, 0)))
        yield np.asarray(_logits(networks, padded))[: len(rows)]


def _blocks(
    parts: Iterator[NDArray[np.floating]], n_rows: int
) -> Iterator[NDArray[np.floating]]:
    """Cuts the rows of all parts anew, `n_rows` at a time."""
    held: list[NDArray[np.floating]] = []
    for part in parts:
        rows = np.concatenate([*held, part]) if held else part
        n_whole = len(rows) - len(rows) % n_rows
        for start in range(0, n_whole, n_rows):
            yield rows[start : start + n_rows]
        held = [rows[n_whole:]] if n_whole < len(rows) else []
    yield from held


_logits = jax.jit(ensemble_logits)
