"""What every recipe hands on: networks, and an account of how they came about."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmlp.core import Params
from jaxmlp.data.preprocess import Preprocessor
from jaxmlp.interfaces.model import Origin


class Trained(NamedTuple):
    """Trained networks.

    Attributes:
      networks: Stacked parameters.
      preprocessor: What makes their input.
      origin: What they were trained on, or None if that is kept secret.
      val_rows: Rows judged by networks that have not seen them, `(n_val,)`.
      val_logits: Their logits, `(n_val,)`.
      account: The report's `search`, `best`, `ensemble` and `histories`.
      privacy: The report's `privacy`.
      notes: Sentences for the user.
    """

    networks: Params
    preprocessor: Preprocessor
    origin: Origin | None
    val_rows: NDArray[np.int64]
    val_logits: NDArray[np.floating]
    account: dict[str, Any]
    privacy: dict[str, Any] | None
    notes: list[str]


def json_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the report; JSON has no NaN and no infinity, so that these are null."""
    return {name: _json_number(value) for name, value in row.items()}


def json_curves(history: dict[str, NDArray[np.floating]]) -> dict[str, list[Any]]:
    """Loss curves of the report."""
    return {
        # The shortest decimals that are these numbers again: those of float32 are half as
        # long as what they are in float64.
        name: [_json_number(float(str(loss))) for loss in curve]
        for name, curve in history.items()
    }


def _json_number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
