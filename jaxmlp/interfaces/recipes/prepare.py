"""From a table to the network's input: labels, split, preprocessing."""

from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.data.bounds import read_bounds
from jaxmlp.data.columns import Values, decode, explain_texts, infer_kinds, is_number
from jaxmlp.data.errors import DataError
from jaxmlp.data.fingerprint import fingerprint
from jaxmlp.data.labels import Classes, as_text, encode_labels, find_classes, find_column
from jaxmlp.data.preprocess import Preprocessor, fit_preprocessor
from jaxmlp.data.split import Split, train_val_test_split
from jaxmlp.interfaces.recipes.recipe import EnsembleRecipe, LectureRecipe, Recipe

MOST_INPUTS = 4096
"""Where knots would make more inputs than this, there are none."""


class Prepared(NamedTuple):
    """A table, ready for the network.

    Attributes:
      X: Network input of all rows, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      split: Row numbers of the parts.
      preprocessor: Rules learned on the training part, or from bounds.
      classes: The target's two values.
      notes: Sentences for the user: which columns are left out, and why.
      fingerprint: Of the used columns and the labels.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int32]
    split: Split
    preprocessor: Preprocessor
    classes: Classes
    notes: list[str]
    fingerprint: str


def prepare(
    key: jax.Array,
    table: pa.Table,
    recipe: Recipe,
    *,
    n_knots: int = 0,
) -> Prepared:
    """Codes the labels, splits the rows, and learns and applies the preprocessing.

    Args:
      key: JAX random key of the split.
      table: Features and target.
      recipe: What is asked for.
      n_knots: Most knots of a number; none if they make more than `MOST_INPUTS`.

    Raises:
      DataError: The table cannot be used.
    """
    column = find_column(table, recipe.target, "target")
    classes = find_classes(column, recipe.target, recipe.positive)
    y = encode_labels(column, recipe.target, classes)
    fractions = recipe.fractions
    if isinstance(recipe, EnsembleRecipe):  # each row validates the network of its fold
        fractions = (fractions[0] + fractions[1], 0.0, fractions[2])
    split = _split(key, y, fractions, classes)
    privacy = recipe.privacy if isinstance(recipe, LectureRecipe) else None
    if privacy is not None and privacy.bounds is not None:
        preprocessor, notes = _from_bounds(table, recipe.target, privacy.bounds)
        columns = decode(table, preprocessor.kinds)
        return _encode(columns, y, split, preprocessor, classes, notes)
    kinds = infer_kinds(table, recipe.target, recipe.columns)
    columns = decode(table, kinds.used)
    preprocessor, dropped = fit_preprocessor(
        columns, split.train, kinds.used, n_knots=n_knots
    )
    if len(preprocessor.input_names) > MOST_INPUTS:
        preprocessor = preprocessor.plain()
    notes = [
        f"column {name!r} is not used: {reason}"
        for name, reason in {**kinds.dropped, **dropped}.items()
    ]
    if privacy is None:  # the explanation quotes a row
        notes += [f"column {name!r}: {why}" for name, why in explain_texts(columns).items()]
    if not preprocessor.rules:
        raise DataError("no usable feature column: " + ("; ".join(notes) or "none given"))
    return _encode(columns, y, split, preprocessor, classes, notes)


def _encode(
    columns: dict[str, Values],
    y: NDArray[np.int32],
    split: Split,
    preprocessor: Preprocessor,
    classes: Classes,
    notes: list[str],
) -> Prepared:
    used = {name: columns[name] for name in preprocessor.kinds}
    X, mark = preprocessor.encode(used), fingerprint(used, y)
    return Prepared(X, y, split, preprocessor, classes, notes, mark)


def _from_bounds(table: pa.Table, target: str, path: str) -> tuple[Preprocessor, list[str]]:
    preprocessor = read_bounds(path)
    if target in preprocessor.kinds:
        raise DataError(f"{path}: {target!r} is the target, not a feature; leave it out")
    notes = []
    for name, kind in preprocessor.kinds.items():
        column = find_column(table, name, f"feature (of {path})")
        if kind == "categorical" and is_number(column.type):
            notes.append(f"column {name!r} holds numbers; {path} makes categories of them")
    others = [n for n in table.column_names if n not in (target, *preprocessor.kinds)]
    notes += [
        f"column {name!r} is not used: {path} has no bounds for it" for name in others
    ]
    return preprocessor, notes


def _split(
    key: jax.Array, y: NDArray[np.int32], fractions: tuple[float, ...], classes: Classes
) -> Split:
    """Splits with each class's share alike in all parts, so that rare ones reach each."""
    counts = ", ".join(
        f"{count} rows of {as_text(label)!r}"
        for label, count in zip(classes, np.bincount(y, minlength=2), strict=True)
    )
    try:
        labels = np.array([as_text(label) for label in classes])[y]
        split = train_val_test_split(key, len(y), fractions, stratify=labels)
    except ValueError as error:
        raise DataError(f"--split does not fit the table ({counts}): {error}") from error
    for name, rows in split._asdict().items():
        if len(rows) and not 0 < y[rows].sum() < len(rows):
            raise DataError(
                f"--split leaves the {name} part without both classes ({counts})"
            )
    return split
