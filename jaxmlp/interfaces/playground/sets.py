"""Points in the plane to learn: made, from tables that scikit-learn ships, or a user's."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.data.builtin import breast_cancer_table
from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import as_text, encode_labels, find_classes, find_column
from jaxmlp.data.split import train_val_test_split

_FEWEST = 10


class PointSet(NamedTuple):
    """Points of two classes, standardised and split.

    Attributes:
      name: What the page calls it.
      axes: Names of the two columns, the horizontal one first.
      classes: Names of the two labels, coded 0 and 1.
      X_train: Standardised features, `(n, 2)`, float32.
      y_train: Labels in {0, 1}, `(n,)`.
      X_val: Those of the validation part, `(m, 2)`.
      y_val: Its labels, `(m,)`.
      raw: The columns as they were, `(n + m, 2)`, the training part first.
      mean: Of the training part's columns, `(2,)`.
      sd: Its standard deviations, `(2,)`.
      note: What was left out, or an empty text.
    """

    name: str
    axes: tuple[str, str]
    classes: tuple[str, str]
    X_train: NDArray[np.float32]
    y_train: NDArray[np.int32]
    X_val: NDArray[np.float32]
    y_val: NDArray[np.int32]
    raw: NDArray[np.floating]
    mean: NDArray[np.floating]
    sd: NDArray[np.floating]
    note: str


def make_set(
    key: jax.Array,
    name: str,
    X: NDArray[np.floating],
    y: NDArray[np.int32],
    *,
    axes: tuple[str, str],
    classes: tuple[str, str],
    n_rows: int,
    note: str = "",
) -> PointSet:
    """Draws at most `n_rows` points, splits them 70/30 and standardises.

    Both by label; mean and standard deviation are those of the training part.

    Raises:
      DataError: There are too few points, or a column has one value, or such as no
        standard deviation can be computed of.
    """
    sample_key, split_key = jax.random.split(key)
    drawn = ""
    if n_rows < len(y):
        drawn = f"{n_rows} of {len(y)} rows, at random"
        shares = (n_rows / len(y), 1 - n_rows / len(y), 0.0)
        kept, _, _ = train_val_test_split(sample_key, len(y), shares, stratify=y)
        X, y = X[kept], y[kept]
    if len(y) < _FEWEST or min(np.bincount(y, minlength=2)) < 2:
        raise DataError(
            f"{drawn or f'{len(y)} rows with both numbers'}, {int(y.sum())} of them "
            f"{classes[1]!r}: the page needs {_FEWEST}, and two of each label"
        )
    train, val, _ = train_val_test_split(split_key, len(y), (0.7, 0.3, 0.0), stratify=y)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean, sd = X[train].mean(axis=0), X[train].std(axis=0)
    for k, axis in enumerate(axes):
        if np.ptp(X[train, k]) == 0:  # the deviation of 0.1, 0.1, … is not quite 0
            raise DataError(
                f"column {axis!r}: all values of the training points are the same; take "
                "another"
            )
        if not (np.isfinite(sd[k]) and sd[k] > np.finfo(np.float64).tiny):
            raise DataError(f"column {axis!r}: its values are too large or too small")
    Z = ((X - mean) / sd).astype(np.float32)
    return PointSet(
        name,
        axes,
        classes,
        X_train=Z[train],
        y_train=y[train],
        X_val=Z[val],
        y_val=y[val],
        raw=np.concatenate([X[train], X[val]]),
        mean=mean,
        sd=sd,
        note="; ".join(filter(None, (note, drawn))),
    )


def table_set(
    key: jax.Array,
    table: pa.Table,
    target: str,
    axes: tuple[str, str],
    *,
    positive: str | None,
    n_rows: int,
    name: str,
) -> PointSet:
    """Takes two numeric columns and the target of a table.

    Rows without a value in one of the two are left out, and the note says how many.

    Raises:
      DataError: A column is missing or holds no numbers, or there are too few rows.
    """
    labels = find_column(table, target, "target")
    for axis in axes:
        find_column(table, axis, "feature")
    classes = find_classes(labels, target, positive)
    y = encode_labels(labels, target, classes)
    values = decode(table, dict.fromkeys(axes, "numeric"))
    X = np.stack([np.asarray(values[axis], float) for axis in axes], axis=1)
    is_whole = np.isfinite(X).all(axis=1)
    n_without = int((~is_whole).sum())
    note = f"{n_without} rows without a value left out" if n_without else ""
    return make_set(
        key,
        name,
        X[is_whole],
        y[is_whole],
        axes=axes,
        classes=(as_text(classes.negative), as_text(classes.positive)),
        n_rows=n_rows,
        note=note,
    )


def built_in_sets(key: jax.Array, n_rows: int) -> list[PointSet]:
    """Circle, XOR and spiral, and two pairs of columns of real tables."""
    keys = jax.random.split(key, 5)
    sets = []
    for one, (name, draw) in zip(keys, _SHAPES.items(), strict=False):
        data_key, split_key = jax.random.split(one)
        X, y = draw(data_key, n_rows)
        sets.append(
            make_set(
                split_key,
                name,
                np.asarray(X, float),
                np.asarray(y, np.int32),
                axes=("x1", "x2"),
                classes=("0", "1"),
                n_rows=n_rows,
            )
        )
    tumours = table_set(
        keys[3],
        breast_cancer_table(),
        "target",
        ("worst concave points", "worst texture"),
        positive="malignant",
        n_rows=n_rows,
        name="tumours (breast cancer)",
    )
    irises = table_set(
        keys[4],
        _iris_table(),
        "species",
        ("petal length (cm)", "sepal width (cm)"),
        positive="versicolor",
        n_rows=n_rows,
        name="irises (versicolor or not)",
    )
    return [*sets, tumours, irises]


def two_columns(table: pa.Table, target: str) -> tuple[str, str]:
    """The two columns beside the target, if there are just two.

    Raises:
      DataError: There are more, or fewer; names the numeric ones.
    """
    others = [name for name in table.column_names if name != target]
    if len(others) == 2:
        return others[0], others[1]
    numeric = [n for n in others if pa.types.is_floating(table[n].type)]
    numeric += [n for n in others if pa.types.is_integer(table[n].type)]
    raise DataError(
        f"say by --x and --y which two columns to show; numbers are in: "
        f"{', '.join(numeric[:20]) or 'none'}"
    )


def _iris_table() -> pa.Table:
    from sklearn.datasets import load_iris

    data = load_iris()
    columns = dict(zip(data.feature_names, data.data.T, strict=True))
    species = np.where(data.target == 1, "versicolor", "other")
    return pa.table({**columns, "species": species})


def _circle(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """A disc within a ring."""
    radius_key, angle_key, noise_key = jax.random.split(key, 3)
    y = jnp.arange(n, dtype=jnp.int32) % 2
    inner = jnp.where(y == 1, 0.0, 2.4)
    radius = inner + 1.6 * jnp.sqrt(jax.random.uniform(radius_key, (n,)))
    angle = 2 * jnp.pi * jax.random.uniform(angle_key, (n,))
    X = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return X + 0.15 * jax.random.normal(noise_key, X.shape), y


def _xor(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Two quadrants against the other two."""
    X = jax.random.uniform(key, (n, 2), minval=-3, maxval=3)
    X = X + 0.25 * jnp.sign(X)
    return X, (X[:, 0] * X[:, 1] > 0).astype(jnp.int32)


def _spiral(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Two arms, one class each."""
    length_key, noise_key = jax.random.split(key)
    y = jnp.arange(n, dtype=jnp.int32) % 2
    angle = 0.4 + 6.2 * jnp.sqrt(jax.random.uniform(length_key, (n,)))
    turn = angle + jnp.where(y == 1, jnp.pi, 0.0)
    X = angle[:, None] * jnp.stack([jnp.cos(turn), jnp.sin(turn)], axis=1)
    return X + 0.12 * jax.random.normal(noise_key, X.shape), y


_Draw = Callable[[jax.Array, int], tuple[jax.Array, jax.Array]]
_SHAPES: Mapping[str, _Draw] = {"circle": _circle, "xor": _xor, "spiral": _spiral}
