"""From a table's columns to the network's input, by rules learned on the training part.

Nothing is learned from validation or test rows.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jaxmlp.data.buffers import Buffers
from jaxmlp.data.columns import Kind, Values
from jaxmlp.data.files import check_memory
from jaxmlp.data.rules import CategoricalRule, NumericRule, Rule, rule_from_json

MIN_LEVEL_COUNT = 5
"""A category's level with fewer training rows is joined with the other rare ones."""

MAX_LEVELS = 100
"""At most this many levels of a category get a column of their own."""

_VALUES, _FEWEST_ROWS = 2**21, 2**12  # of the input that are made together
_TURNED_ROWS, _GAP = 2**10, 16
_LARGE = 2**24  # bytes

_MIN_COVERAGE = 0.1  # of the rows by levels with a column; less is text or an identifier


@dataclass(frozen=True)
class Preprocessor:
    """The rules of all used columns, in the table's order."""

    rules: tuple[Rule, ...]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns that a table must have, and what they mean."""
        return {rule.name: rule.kind for rule in self.rules}

    @property
    def n_inputs(self) -> int:
        """How many inputs the network gets."""
        return sum(rule.n_inputs for rule in self.rules)

    @property
    def input_names(self) -> list[str]:
        """Names of the network's inputs."""
        return [name for rule in self.rules for name in rule.input_names]

    def encode(
        self, columns: Mapping[str, Values], buffers: Buffers | None = None
    ) -> NDArray[np.float32]:
        """Makes the network's input, `(n, n_inputs)`.

        Args:
          columns: See `decode`.
          buffers: What lends the memory; None for new memory.

        Raises:
          DataError: It does not fit into memory.
        """
        n_rows = len(columns[self.rules[0].name])
        n_each = min(n_rows, max(_FEWEST_ROWS, _VALUES // max(1, self.n_inputs)))
        n_bytes = 4 * (n_rows + n_each) * self.n_inputs
        if buffers is None or n_bytes >= _LARGE:  # else asked too often
            check_memory(n_bytes, f"the network's input, {n_rows} rows")
        buffers = buffers or Buffers()
        X = buffers.lend((n_rows, self.n_inputs))
        # Inputs one after another, some rows at a time, and turned over then: to write
        # one number of each row of a large array is slow. A little longer than needed,
        # because inputs that lie a power of two apart would share few lines of the cache.
        inputs = buffers.lend((self.n_inputs, n_each + _GAP))
        for first in range(0, n_rows, n_each or 1):
            rows = X[first : first + n_each]
            part, end = inputs[:, : len(rows)], 0
            for rule in self.rules:
                start, end = end, end + rule.n_inputs
                values = columns[rule.name][first : first + n_each]
                rule.encode(values, part[start:end])
            for i in range(0, len(rows), _TURNED_ROWS):
                rows[i : i + _TURNED_ROWS] = part[:, i : i + _TURNED_ROWS].T
        buffers.take_back(inputs)
        return X

    def plain(self) -> "Preprocessor":
        """The same without knots."""
        return Preprocessor(tuple(rule.plain() for rule in self.rules))

    def plain_columns(self) -> NDArray[np.bool_]:
        """Which of the inputs `plain` has too, `(len(input_names),)`."""
        parts = [
            np.arange(len(rule.input_names)) < len(rule.plain().input_names)
            for rule in self.rules
        ]
        return np.concatenate(parts)

    def to_json(self) -> list[dict[str, Any]]:
        """The rules as JSON values."""
        return [rule.to_json() for rule in self.rules]

    @classmethod
    def from_json(cls, rules: list[dict[str, Any]]) -> "Preprocessor":
        """The inverse of `to_json`.

        Raises:
          ValueError, LookupError, TypeError: The values are not what `to_json` makes.
          DataError: The names of the inputs do not fit into memory.
        """
        found = cls(tuple(map(rule_from_json, rules)))
        if not found.rules or len(found.kinds) < len(found.rules):
            raise ValueError("there is no column, or one is given twice")
        # Each input's name repeats its column's, which may be long.
        length = sum(len(rule.name) * rule.n_inputs for rule in found.rules)
        check_memory(4 * length, "the names of its inputs")
        return found


def fit_preprocessor(
    columns: Mapping[str, Values],
    train: NDArray[np.int64],
    kinds: Mapping[str, Kind] | None = None,
    *,
    n_knots: int = 0,
) -> tuple[Preprocessor, dict[str, str]]:
    """Learns the rules from the training rows.

    Args:
      columns: Values of the feature columns, all rows; see `decode`.
      train: Row numbers of the training part.
      kinds: What the columns mean, as `decode` was told; None tells numbers from texts.
      n_knots: Most knots of a number; with fewer than three there are none. Columns of two
        values get none.

    Returns:
      The rules, and why each column without one is left out.
    """
    rules: list[Rule] = []
    dropped: dict[str, str] = {}
    names_by_content: dict[bytes, str] = {}
    for name, values in columns.items():
        rule: Rule | str
        if isinstance(values, np.ndarray):
            part = values[train].astype(np.float64)
            kind: Literal["numeric", "date"] = "numeric"
            if (kinds or {}).get(name) == "date":
                kind = "date"
            rule = _fit_numeric(name, part, n_knots, kind)
        else:
            part = values.take(pa.array(train))
            rule = _fit_categorical(name, part)
        twin = names_by_content.setdefault(_content(part), name)
        if isinstance(rule, str):
            dropped[name] = rule
        elif twin != name:
            dropped[name] = f"it repeats column {twin!r}"
        else:
            rules.append(rule)
    return Preprocessor(tuple(rules)), dropped


def _content(values: Values) -> bytes:
    """A mark that only columns of the same values share."""
    if isinstance(values, np.ndarray):
        with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN too
            return hashlib.sha256(np.where(np.isnan(values), np.nan, values + 0)).digest()
    coded = values.dictionary_encode()
    marks = hashlib.sha256(coded.indices.fill_null(-1).to_numpy())
    marks.update(repr(coded.dictionary.to_pylist()).encode())
    return marks.digest()


def _fit_numeric(
    name: str,
    values: NDArray[np.float64],
    n_knots: int,
    kind: Literal["numeric", "date"],
) -> NumericRule | str:
    is_missing = np.isnan(values)
    if is_missing.all():
        return "it has no value in the training part"
    known = values[~is_missing]
    median = float(np.median(known))
    marks_missing = bool(is_missing.any())
    scale = _spread(known)
    if scale == 0:
        if not marks_missing:
            return "it is constant in the training part"
        scale = abs(median) or 1.0
    rule = NumericRule(name, median, median, scale, marks_missing, kind=kind)
    return replace(rule, knots=_knots(known, n_knots))


def _spread(known: NDArray[np.float64]) -> float:
    """Distance of the quartiles, or half the range where they are equal; 0 for constants.

    Unlike the standard deviation, it leaves a rare 1 among zeros near the others, and does
    not grow with an outlier.
    """
    unit = float(np.abs(known).max()) or 1.0  # so that huge numbers do not overflow
    low, first, third, high = np.quantile(known / unit, (0, 0.25, 0.75, 1)).tolist()
    spread = third - first if third > first else (high - low) / 2
    # Rounding leaves a constant column differences of about 1e-16 of its value.
    return spread * unit if high - low > 1e-14 else 0.0


def _knots(known: NDArray[np.float64], n_knots: int) -> tuple[float, ...]:
    """Quantiles of a column, as if no value were more frequent than one interval.

    So a column that is mostly 0 gets its knots where it is not.
    """
    # Encoding halves them, which two of the least of all numbers do not survive apart.
    levels, counts = np.unique(known / 2 * 2, return_counts=True)
    if n_knots < 3 or len(levels) < 3:
        return ()
    if len(levels) <= n_knots:
        return tuple(levels.tolist())
    weights = np.minimum(counts, len(known) / (n_knots - 1))
    below = np.cumsum(weights) - weights
    wanted = np.linspace(0, below[-1], n_knots)
    found = np.searchsorted(below, wanted * (1 - 1e-12))
    return tuple(levels[np.unique(found)].tolist())


def _fit_categorical(name: str, values: pa.Array) -> CategoricalRule | str:
    marks_missing = values.null_count > 0
    # The level itself breaks ties, so that the order of the rows does not matter.
    counts = sorted(
        (-item["counts"], item["values"])
        for item in pc.value_counts(values.drop_null()).to_pylist()
    )
    kept = [pair for pair in counts if -pair[0] >= MIN_LEVEL_COUNT][:MAX_LEVELS]
    n_known = len(values) - values.null_count
    n_covered = -sum(count for count, _ in kept)
    if n_known and n_covered < _MIN_COVERAGE * n_known:
        return (
            f"it has {len(counts)} different values in {n_known} rows, most of them too "
            "rare to learn from, as text or an identifier has"
        )
    levels = tuple(level for _, level in kept)
    rule = CategoricalRule(name, levels, len(kept) < len(counts), marks_missing)
    if len(rule.input_names) > 1:
        return rule
    return "it is constant in the training part"
