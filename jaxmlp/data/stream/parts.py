"""Training, validation and test part by a hash of each row.

A row's part follows from the row and the seed alone: it is the same in each pass, on every
host, in whatever files and order the rows stand, and equal rows are in one part.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.data.columns import Values

TRAIN, VALIDATION, TEST = 0, 1, 2
"""Codes of the parts."""

Words = NDArray[np.uint32]


def assign_parts(hashes: Words, fractions: Sequence[float]) -> NDArray[np.uint8]:
    """Codes of the parts, `(n,)`.

    Args:
      hashes: From `hash_rows`.
      fractions: Shares of training, validation and test part.
    """
    parts = np.zeros(len(hashes), np.uint8)
    for bound in np.cumsum(fractions)[:-1].tolist():
        first = round(bound * 2**32)
        if (
            first < 2**32
        ):  # else no hash reaches it: the sum of shares is 1, but for rounding
            parts += hashes >= np.uint32(first)
    return parts


def hash_rows(
    columns: Mapping[str, Values], labels: pa.Array, seed: int, numbers: Words | None = None
) -> Words:
    """Hashes each row's features and label, `(n,)`.

    Numbers count in float32, so that a table has the same parts as CSV and as Parquet.

    Args:
      columns: Values of the features, as `decode` gives them; their order does not count.
      labels: Labels as texts.
      seed: Of the split.
      numbers: Rows' numbers, where they shall count too, or None.
    """
    hashes = np.full(len(labels), _of_text(f"{seed}"), np.uint32)
    for name in sorted(columns):
        values = columns[name]
        is_number = isinstance(values, np.ndarray)
        words = _of_numbers(values) if is_number else _of_texts(values)
        _stir(hashes, words, _of_text(name) | 1)
    _stir(hashes, _of_texts(labels), 0x9E3779B1)
    if numbers is not None:
        _stir(hashes, numbers, 0x85EBCA77)
    return _finish(hashes)


def _stir(hashes: Words, words: Words, odd: int) -> None:
    """Takes one word of each row in; a bijection of the hash for every word."""
    hashes ^= words
    hashes *= np.uint32(odd)
    hashes ^= hashes >> np.uint32(15)


def _finish(hashes: Words) -> Words:
    """Lets each bit depend on all: the last steps of MurmurHash3 (Appleby, 2011)."""
    hashes *= np.uint32(0x85EBCA6B)
    hashes ^= hashes >> np.uint32(13)
    hashes *= np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(16)
    return hashes


def _of_numbers(values: NDArray[np.floating]) -> Words:
    with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is a NaN too
        numbers = values.astype(np.float32)
    numbers += np.float32(0)  # -0 is 0
    words = numbers.view(np.uint32)
    words[np.isnan(numbers)] = 0x7FC00000  # all that is missing is alike
    return words


def _of_texts(texts: pa.Array) -> Words:
    coded = texts.dictionary_encode()
    words = np.array([_of_text(text) for text in coded.dictionary.to_pylist()], np.uint32)
    indices = coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    return np.append(words, np.uint32(0))[indices]


@functools.lru_cache(maxsize=2**16)
def _of_text(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
