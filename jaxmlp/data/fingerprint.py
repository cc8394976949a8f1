"""A short mark of a table's content, to tell whether two are the same."""

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.data.columns import Values


def fingerprint(columns: Mapping[str, Values], y: NDArray[np.int32]) -> str:
    """Hashes feature columns and labels, in the order of the rows.

    Numbers count in float32, so that a table written as CSV and as Parquet has one
    fingerprint.

    Args:
      columns: Values of the features, as `decode` gives them; their order does not count.
      y: Coded labels, `(n,)`.

    Returns:
      SHA-256 in hexadecimal.
    """
    total = hashlib.sha256(np.asarray(y, np.int8).tobytes())
    for name in sorted(columns):
        total.update(name.encode() + b"\0")
        values = columns[name]
        total.update(_numbers(values) if isinstance(values, np.ndarray) else _texts(values))
    return total.hexdigest()


def _numbers(values: NDArray[np.floating]) -> bytes:
    with np.errstate(over="ignore"):
        numbers = values.astype("<f4")
    numbers[np.isnan(numbers)] = np.nan  # all that is missing has one pattern of bits
    return (numbers + np.float32(0)).tobytes()  # -0 is 0


def _texts(values: pa.Array) -> bytes:
    hashed = hashlib.sha256()
    for text in values.to_pylist():
        # The length before each text keeps ["ab", ""] and ["a", "b"] apart.
        encoded = b"-" if text is None else text.encode()
        hashed.update(
            f"{len(encoded)}{':' if text is not None else '!'}".encode() + encoded
        )
    return hashed.digest()
