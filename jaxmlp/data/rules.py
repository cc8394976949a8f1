"""How one column of a table becomes columns of the network's input.

A rule is data: it is stored as JSON, exported as operations of a graph, and compared.
"""

import itertools
import math
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jaxmlp.data.columns import Kind

SMOOTH_CLIP = 3.0
"""Scaled values are bent to stay within ±3."""

_MOST = 1e30  # of a centre or a scale, and by its inverse, for float32 to compute with


@dataclass(frozen=True)
class NumericRule:
    r"""Scales a number, bends its tails, and says how far it is between knots.

    $$
    z = \frac{x - \text{center}}{\text{scale}}, \qquad
    \frac{z}{\sqrt{1 + (z / 3)^2}}, \qquad
    \min\left(\max\left(\frac{x - k_j}{k_{j+1} - k_j}, 0\right), 1\right)
    $$

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
    def n_inputs(self) -> int:
        """How many columns the rule makes."""
        return 1 + self.marks_missing + max(0, len(self.knots) - 1)

    @property
    def input_names(self) -> list[str]:
        """Names of the columns that the rule makes."""
        names = [self.name] + [f"{self.name} is missing"] * self.marks_missing
        ends = zip(self.knots[:-1], self.knots[1:], strict=True)
        return names + [f"{self.name} from {low:.6g} to {high:.6g}" for low, high in ends]

    def encode(self, values: NDArray[np.floating], out: NDArray[np.float32]) -> None:
        """Writes the inputs to `out`, `(n_inputs, n)`.

        Computes in the values' own type, float32 where that is all that the table has.
        """
        if not (abs(self.center) < _MOST and 1 / _MOST < self.scale < _MOST):
            values = values.astype(np.float64)  # float32 may not hold what follows
        number = values.dtype.type
        is_missing: NDArray[np.bool_] | bool = False
        if np.isnan(values.min(initial=0)):  # NaN if there is one
            is_missing = np.isnan(values)
            values = np.where(is_missing, number(self.median), values)
        self._bend(values, number, out[0])
        if self.marks_missing:
            out[1] = is_missing
        first = 1 + self.marks_missing
        for j, (low, high) in enumerate(itertools.pairwise(self.knots), first):
            # In float64, so that no two knots are one. Halved, so that the distance of two
            # huge knots does not overflow.
            inside = np.clip(values, low, high, dtype=np.float64)
            out[j] = (inside / 2 - low / 2) / (high / 2 - low / 2)

    def _bend(
        self, values: NDArray[np.floating], number: Any, out: NDArray[np.float32]
    ) -> None:
        """Scales and bends, in place after the first step, for large tables."""
        # float32 subtracts first, which keeps its few digits; float64 divides first,
        # because the difference of two huge numbers may overflow.
        with np.errstate(over="ignore"):
            if number is np.float32:
                scaled = np.subtract(values, number(self.center), out=out)
                scaled /= number(self.scale)
            else:
                scaled = values / self.scale
                scaled -= self.center / self.scale
        # What overflows is cut to a number whose square is finite, and bent to 3 all the
        # same. To look costs less than to cut.
        most = number(1e18 if number is np.float32 else 1e150)
        if scaled.min(initial=0) < -most or scaled.max(initial=0) > most:
            np.clip(scaled, -most, most, out=scaled)
        length = scaled * scaled
        length *= number(1 / SMOOTH_CLIP**2)
        length += number(1)
        np.sqrt(length, out=length)
        np.divide(scaled, length, out=out, casting="same_kind")

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
    def n_inputs(self) -> int:
        """How many columns the rule makes."""
        return len(self.levels) + self.joins_rare + self.marks_missing

    @property
    def input_names(self) -> list[str]:
        """Names of the columns that the rule makes."""
        names = [f"{self.name} = {level}" for level in self.levels]
        names += [f"{self.name} is another value"] * self.joins_rare
        return names + [f"{self.name} is missing"] * self.marks_missing

    def encode(self, values: pa.Array, out: NDArray[np.float32]) -> None:
        """Writes the inputs to `out`, `(n_inputs, n)`."""
        found = pc.index_in(values, value_set=pa.array(self.levels, pa.string()))
        level = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
        is_missing = pc.is_null(values).to_numpy(zero_copy_only=False)
        n_levels = len(self.levels)
        out[:n_levels] = np.arange(n_levels)[:, None] == level
        if self.joins_rare:
            out[n_levels] = (level < 0) & ~is_missing
        if self.marks_missing:
            out[-1] = is_missing

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
      ValueError, LookupError, TypeError: The values are not what it makes.
    """
    fields = dict(fields)
    kind = fields.pop("kind")
    if kind == "categorical":
        levels = tuple(map(check_text, fields.pop("levels")))
        if len(set(levels)) < len(levels):
            raise ValueError("a column has a category twice")
        rule: Rule = CategoricalRule(levels=levels, **fields)
        _check_flag(fields["joins_rare"])
    elif kind in ("numeric", "date"):
        if "mean" in fields:  # before format 4, what became 0 was the mean
            fields["center"] = fields.pop("mean")
        fields |= {name: _finite(fields[name]) for name in ("median", "center", "scale")}
        knots = tuple(map(_finite, fields.pop("knots", ())))
        rule = NumericRule(**fields, knots=knots, kind=kind)
        _check_numbers(rule)
    else:
        raise ValueError(f"unknown kind of column {kind!r}")
    check_text(rule.name)
    _check_flag(rule.marks_missing)
    return rule


def check_text(value: Any) -> str:
    """The value, if it is a text, and holds no half of a character.

    Raises:
      ValueError: It is not.
    """
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    value.encode()
    return value


def _finite(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and abs(value) <= sys.float_info.max):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _check_flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")


def _check_numbers(rule: NumericRule) -> None:
    if not (rule.scale > 0 and math.isfinite(rule.center / rule.scale)):
        raise ValueError(f"column {rule.name!r} has no scale")
    # Halved as in `encode`, where the least of all numbers would become 0.
    if any(high / 2 <= low / 2 for low, high in itertools.pairwise(rule.knots)):
        raise ValueError(f"the knots of column {rule.name!r} do not rise")
