"""Division of the examples into training, validation and test part."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray


class Split(NamedTuple):
    """Row numbers of the three parts, each in random order.

    Attributes:
      train: `(n_train,)`.
      val: `(n_val,)`.
      test: `(n_test,)`, empty if its fraction is 0.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def train_val_test_split(
    key: jax.Array,
    n_samples: int,
    fractions: Sequence[float] = (0.70, 0.15, 0.15),
    stratify: ArrayLike | None = None,
) -> Split:
    """Divides rows at random into a training, a validation and a test part.

    Args:
      key: JAX random key; the same key gives the same parts.
      n_samples: Number of rows, n.
      fractions: Shares of the three parts, which sum to 1. Validation and test part are
        rounded to whole rows, the training part takes the rest.
      stratify: Labels, `(n,)`, to keep each label's share alike in all parts (needs
        scikit-learn), or None.

    Returns:
      A `Split`; unpacks as `train, val, test`.

    Raises:
      ValueError: The fractions are not three shares that sum to 1, a part with a positive
        fraction gets no row, or a label is too rare to be in every part.

    Guarantees:
      Every row is in exactly one part.

    Examples:
      >>> import jax
      >>> train, val, test = train_val_test_split(jax.random.key(0), 20)
      >>> len(train), len(val), len(test)
      (14, 3, 3)

    Source:
      Lecture, "Data Splits".
    """
    counts = _counts(n_samples, fractions)
    if stratify is None:
        order = np.asarray(jax.random.permutation(key, n_samples), np.int64)
        return Split(*np.split(order, np.cumsum(counts)[:-1]))
    labels = np.asarray(stratify)
    if labels.shape != (n_samples,):
        raise ValueError(f"stratify must have shape ({n_samples},), not {labels.shape}")
    test_key, val_key = jax.random.split(key)
    rest, test = _cut(test_key, np.arange(n_samples), labels, counts[2])
    train, val = _cut(val_key, rest, labels, counts[1])
    return Split(train, val, test)


def _counts(n_samples: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    shares = np.asarray(fractions, float)
    # 1e-6: shares such as 1/3, written with a few digits, still sum to 1.
    if (
        shares.shape != (3,)
        or not (shares >= 0).all()
        or abs(shares.sum() - 1) > 1e-6
        or shares[0] == 0
    ):
        raise ValueError(
            "fractions must be three shares (training, validation, test) that sum to 1, "
            f"the first one positive, not {tuple(fractions)}"
        )
    n_val, n_test = (round(n_samples * share) for share in shares[1:])
    counts = (n_samples - n_val - n_test, n_val, n_test)
    for name, share, count in zip(Split._fields, shares, counts, strict=True):
        if share > 0 and count <= 0:
            raise ValueError(
                f"n_samples is {n_samples}: too few for a {name} part of {share:.0%}"
            )
    return counts


def _cut(
    key: jax.Array, rows: NDArray[np.int64], labels: NDArray[Any], n_second: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Takes `n_second` rows off, each label in proportion."""
    if n_second == 0:
        return rows, rows[:0]
    from sklearn.model_selection import train_test_split

    # scikit-learn takes a seed of 32 bits, not a key.
    seed = int(jax.random.bits(key, dtype=np.uint32))
    try:
        first, second = train_test_split(
            rows, test_size=n_second, stratify=labels[rows], random_state=seed
        )
    except ValueError as error:
        names, counts = np.unique(labels[rows], return_counts=True)
        if n_second < len(names):
            reason = f"a part of {n_second} rows cannot hold {len(names)} labels"
        else:
            reason = (
                f"label {names[counts.argmin()]} has {counts.min()} of {len(rows)} rows, "
                "too few to be in every part"
            )
        raise ValueError(f"stratify: {reason}") from error
    return first, second
