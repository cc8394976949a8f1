"""From a table's columns to the network's input, by rules learned on the training part.

The rules are data, so they are stored as JSON: numbers are imputed with the median and
standardised, categories become one column a level. Nothing is learned from validation or
test rows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jaxmlp.data.columns import Kind, Values

MIN_LEVEL_COUNT = 5
"""A category's level with fewer training rows is joined with the other rare ones."""

MAX_LEVELS = 100
"""At most this many levels of a category get a column of their own."""

SMOOTH_CLIP = 3.0
"""Standardised values are bent to stay within ±3."""


@dataclass(frozen=True)
class NumericRule:
    r"""Standardises a number, and bends its tails.

    .. math:: z = (x - \text{mean}) / \text{scale}, \qquad z / \sqrt{1 + (z / 3)^2}

    The second step hardly changes the bulk and keeps an outlier, however far out, within
    ±3, so that heavy tails and rare counts do not rule the gradient. A missing x counts
    as the median.

    Attributes:
      name: The column.
      median: Of the training rows' values.
      mean: Of the training rows, imputed.
      scale: Their standard deviation.
      marks_missing: Whether a second column says that the value was missing.

    Source:
      Smooth clipping as in RealMLP, Holzmüller, Grinsztajn and Steinwart (2024),
      arXiv 2407.04491.
    """

    kind: ClassVar[Kind] = "numeric"
    name: str
    median: float
    mean: float
    scale: float
    marks_missing: bool

    @property
    def input_names(self) -> list[str]:
        """Names of the columns that the rule makes."""
        return [self.name, f"{self.name} is missing"][: 1 + self.marks_missing]

    def encode(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Makes the input columns, `(n, 1)` or `(n, 2)`."""
        is_missing = np.isnan(values)
        imputed = np.where(is_missing, self.median, values)
        # Divided before subtracting: the difference of two huge numbers may overflow. What
        # overflows all the same is cut to a number that is finite and bent to 3 below.
        with np.errstate(over="ignore"):
            scaled = imputed / self.scale - self.mean / self.scale
        scaled = np.clip(scaled, -1e150, 1e150)
        scaled = scaled / np.hypot(1, scaled / SMOOTH_CLIP)
        columns = [scaled, is_missing][: 1 + self.marks_missing]
        return np.stack(columns, axis=1).astype(np.float32)


@dataclass(frozen=True)
class CategoricalRule:
    """One 0/1 column for each level.

    Attributes:
      name: The column.
      levels: Levels with a column of their own, the most frequent first.
      joins_rare: Whether a further column stands for all other values, also those never
        seen in training; without it, an unseen value is all zeros.
      marks_missing: Whether a last column says that the value was missing.
    """

    kind: ClassVar[Kind] = "categorical"
    name: str
    levels: tuple[str, ...]
    joins_rare: bool
    marks_missing: bool

    @property
    def input_names(self) -> list[str]:
        """Names of the columns that the rule makes."""
        names = [f"{self.name} = {level}" for level in self.levels]
        names += [f"{self.name} is another value"] * self.joins_rare
        return names + [f"{self.name} is missing"] * self.marks_missing

    def encode(self, values: pa.Array) -> NDArray[np.float32]:
        """Makes the input columns, `(n, len(input_names))`."""
        found = pc.index_in(values, value_set=pa.array(self.levels, pa.string()))
        level = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
        is_missing = pc.is_null(values).to_numpy(zero_copy_only=False)
        columns = level[:, None] == np.arange(len(self.levels))
        if self.joins_rare:
            columns = np.column_stack([columns, (level < 0) & ~is_missing])
        if self.marks_missing:
            columns = np.column_stack([columns, is_missing])
        return columns.astype(np.float32)


Rule = NumericRule | CategoricalRule


@dataclass(frozen=True)
class Preprocessor:
    """The rules of all used columns, in the table's order."""

    rules: tuple[Rule, ...]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns that a table must have, and what they mean."""
        return {rule.name: rule.kind for rule in self.rules}

    @property
    def input_names(self) -> list[str]:
        """Names of the network's inputs."""
        return [name for rule in self.rules for name in rule.input_names]

    def encode(self, columns: Mapping[str, Values]) -> NDArray[np.float32]:
        """Makes the network's input, `(n, len(input_names))`."""
        return np.concatenate([rule.encode(columns[rule.name]) for rule in self.rules], 1)

    def to_json(self) -> list[dict[str, Any]]:
        """The rules as JSON values."""
        return [{"kind": rule.kind, **asdict(rule)} for rule in self.rules]

    @classmethod
    def from_json(cls, rules: list[dict[str, Any]]) -> "Preprocessor":
        """The inverse of `to_json`.

        Raises:
          ValueError, KeyError, TypeError: The values are not what `to_json` makes.
        """
        return cls(tuple(_rule_from_json(**rule) for rule in rules))


def fit_preprocessor(
    columns: Mapping[str, Values], train: NDArray[np.int64]
) -> tuple[Preprocessor, dict[str, str]]:
    """Learns the rules from the training rows.

    Args:
      columns: Values of the feature columns, all rows; see `decode`.
      train: Row numbers of the training part.

    Returns:
      The rules, and why each column without one is left out.
    """
    rules: list[Rule] = []
    dropped: dict[str, str] = {}
    for name, values in columns.items():
        rule = (
            _fit_numeric(name, values[train])
            if isinstance(values, np.ndarray)
            else _fit_categorical(name, values.take(pa.array(train)))
        )
        if isinstance(rule, str):
            dropped[name] = rule
        else:
            rules.append(rule)
    return Preprocessor(tuple(rules)), dropped


def _fit_numeric(name: str, values: NDArray[np.float64]) -> NumericRule | str:
    is_missing = np.isnan(values)
    if is_missing.all():
        return "it has no value in the training part"
    median = float(np.median(values[~is_missing]))
    imputed = np.where(is_missing, median, values)
    # In units of the largest value, so that huge numbers do not overflow when squared.
    unit = float(np.abs(imputed).max()) or 1.0
    mean = float((imputed / unit).mean()) * unit
    scale = float((imputed / unit).std()) * unit
    marks_missing = bool(is_missing.any())
    # Rounding leaves a constant column a standard deviation of about 1e-16 of its value.
    if scale <= 1e-14 * unit:
        if not marks_missing:
            return "it is constant in the training part"
        scale = unit
    return NumericRule(name, median, mean, scale, marks_missing)


def _fit_categorical(name: str, values: pa.Array) -> CategoricalRule | str:
    marks_missing = values.null_count > 0
    # The level itself breaks ties, so that the order of the rows does not matter.
    counts = sorted(
        (-item["counts"], item["values"])
        for item in pc.value_counts(values.drop_null()).to_pylist()
    )
    levels = [level for count, level in counts if -count >= MIN_LEVEL_COUNT][:MAX_LEVELS]
    joins_rare = len(levels) < len(counts)
    rule = CategoricalRule(name, tuple(levels), joins_rare, marks_missing)
    if len(rule.input_names) > 1:
        return rule
    if joins_rare:
        return f"it has {len(counts)} different values, each too rare to learn from"
    return "it is constant in the training part"


def _rule_from_json(kind: str, **fields: Any) -> Rule:
    if kind == "numeric":
        return NumericRule(**fields)
    if kind == "categorical":
        return CategoricalRule(**{**fields, "levels": tuple(fields["levels"])})
    raise ValueError(f"unknown kind of column {kind!r}")
