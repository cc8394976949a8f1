"""How one column of a table becomes columns of the network's input.

A rule is data: it is stored as JSON, exported as operations of a graph, and compared.
"""

import itertools
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jaxmlp.data.columns import Kind

SMOOTH_CLIP = 3.0
"""Scaled values are bent to stay within ±3."""


@dataclass(frozen=True)
class NumericRule:
    r"""Scales a number, bends its tails, and says how far it is between knots.

    .. math:: z = \frac{x - \text{center}}{\text{scale}}, \qquad
      \frac{z}{\sqrt{1 + (z / 3)^2}}, \qquad
      \min\left(\max\left(\frac{x - k_j}{k_{j+1} - k_j}, 0\right), 1\right)

    The second step hardly changes the bulk and keeps an outlier, however far out, within
    ±3, so that heavy tails and rare counts do not rule the gradient. The third is a column
    for each interval between two knots, the share of it that x has passed, so that the
    first layer can bend its response anywhere. A missing x counts as the median.

    Attributes:
      name: The column.
      median: What a missing value counts as.
      center: What becomes 0.
      scale: What becomes 1.
      marks_missing: Whether a second column says that the value was missing.
      knots: Ascending; two or more, or none.
      kind: `"date"` for days since 1970-01-01, from a column of dates.

    Source:
      Smooth clipping as in RealMLP, Holzmüller, Grinsztajn and Steinwart (2024),
      arXiv 2407.04491; piecewise-linear encoding as in Gorishniy, Rubachev and Babenko
      (2022), arXiv 2203.05556.
    """

    name: str
    median: float
    center: float
    scale: float
    marks_missing: bool
    knots: tuple[float, ...] = ()
    kind: Literal["numeric", "date"] = "numeric"

    @property
    def input_names(self) -> list[str]:
        """Names of the columns that the rule makes."""
        names = [self.name] + [f"{self.name} is missing"] * self.marks_missing
        ends = zip(self.knots[:-1], self.knots[1:], strict=True)
        return names + [f"{self.name} from {low:.6g} to {high:.6g}" for low, high in ends]

    def encode(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Makes the input columns, `(n, len(input_names))`."""
        is_missing = np.isnan(values)
        imputed = np.where(is_missing, self.median, values)
        # Divided before subtracting: the difference of two huge numbers may overflow. What
        # overflows all the same is cut to a number that is finite and bent to 3 below.
        with np.errstate(over="ignore"):
            scaled = imputed / self.scale - self.center / self.scale
        scaled = np.clip(scaled, -1e150, 1e150)
        columns = np.empty((len(values), len(self.input_names)), np.float32)
        columns[:, 0] = scaled / np.hypot(1, scaled / SMOOTH_CLIP)
        if self.marks_missing:
            columns[:, 1] = is_missing
        for j, (low, high) in enumerate(zip(self.knots[:-1], self.knots[1:], strict=True)):
            inside = np.clip(imputed, low, high)
            # Halved, so that the distance of two huge knots does not overflow.
            share = (inside / 2 - low / 2) / (high / 2 - low / 2)
            columns[:, 1 + self.marks_missing + j] = share
        return columns

    def plain(self) -> "NumericRule":
        """The rule without its knots."""
        return replace(self, knots=())

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON values."""
        return asdict(self)


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

    def plain(self) -> "CategoricalRule":
        """The rule itself."""
        return self

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON values."""
        return {"kind": self.kind, **asdict(self)}


Rule = NumericRule | CategoricalRule


def rule_from_json(fields: dict[str, Any]) -> Rule:
    """The inverse of a rule's `to_json`.

    Raises:
      ValueError, KeyError, TypeError: The values are not what it makes.
    """
    fields = dict(fields)
    kind = fields.pop("kind")
    if kind == "categorical":
        return CategoricalRule(**{**fields, "levels": tuple(fields["levels"])})
    if kind not in ("numeric", "date"):
        raise ValueError(f"unknown kind of column {kind!r}")
    if "mean" in fields:  # before format 4, what became 0 was the mean
        fields["center"] = fields.pop("mean")
    knots = tuple(map(float, fields.pop("knots", ())))
    rule = NumericRule(**fields, knots=knots, kind=kind)
    numbers = (rule.median, rule.center, rule.scale, *knots)
    if not (all(map(math.isfinite, numbers)) and rule.scale > 0 and _is_rising(knots)):
        raise ValueError(f"column {rule.name!r} has no scale, or its knots do not rise")
    return rule


def _is_rising(numbers: tuple[float, ...]) -> bool:
    """Whether each is greater than the one before."""
    return all(a < b for a, b in itertools.pairwise(numbers))
