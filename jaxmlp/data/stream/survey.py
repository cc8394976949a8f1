"""One pass over a long table: what its preparation needs, and the sizes of its parts."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.data.columns import Kinds, Wish, decode, infer_kinds, sum_is_finite
from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import Classes, as_text, choose_classes, find_column
from jaxmlp.data.preprocess import Preprocessor, fit_preprocessor
from jaxmlp.data.stream.lanes import take_turns
from jaxmlp.data.stream.reading import (
    Fractions,
    Reading,
    Slice,
    choose_rows,
    read_group,
    repeats_rows,
)
from jaxmlp.data.stream.source import Source, read_slices

SAMPLE_ROWS = 200_000
"""Most rows of each part that are kept; statistics are those of the sample."""

_SAMPLE_VALUES = 2**24  # so that wide tables' samples are no larger
_PARTS = 3


class Survey(NamedTuple):
    """What one pass over a table finds.

    Attributes:
      reading: How its slices are read.
      classes: The target's two values.
      preprocessor: Rules learned on the training part.
      dropped: Why each other column is not used.
      counts: Rows of each part in each slice: for each group `(n_slices, 3)`.
      positives: Rows of the positive class in each part, `(3,)`.
      samples: Random rows of each part, as they are in the files.
      fingerprint: Of all rows, in order.
    """

    reading: Reading
    classes: Classes
    preprocessor: Preprocessor
    dropped: dict[str, str]
    counts: list[NDArray[np.int64]]
    positives: NDArray[np.int64]
    samples: tuple[pa.Table, pa.Table, pa.Table]
    fingerprint: str

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Rows of each part."""
        train, val, test = np.concatenate(self.counts).sum(axis=0).tolist()
        return train, val, test


def survey(
    source: Source,
    target: str,
    *,
    positive: str | None = None,
    fractions: Fractions = (0.70, 0.15, 0.15),
    seed: int = 0,
    wishes: Mapping[str, Wish] | None = None,
    n_knots: int = 0,
    n_threads: int = 2,
    watch: Callable[[int], object] = lambda _: None,
) -> Survey:
    """Reads a whole table once.

    The rules of preprocessing are those that `fit_preprocessor` learns from a sample of
    the training part, all of it up to `SAMPLE_ROWS` rows; whether a value is missing
    anywhere is told exactly.

    Args:
      source: The files.
      target: Name of the target column.
      positive: As in `find_classes`.
      fractions: Shares of training, validation and test part.
      seed: Of the parts and the samples.
      wishes: What the user says of columns.
      n_knots: As in `fit_preprocessor`.
      n_threads: Threads to read on.
      watch: Called with the number of rows read so far.

    Raises:
      DataError: The table cannot be used; names the file, the column and the row.
    """
    reading, dropped = _begin(source, target, fractions, seed, wishes)
    found = _Findings(reading, min(SAMPLE_ROWS, _SAMPLE_VALUES // len(reading.columns)))
    lanes = [
        _summaries(found, range(i, len(source.groups), n_threads)) for i in range(n_threads)
    ]
    n_seen = 0
    for summary in take_turns(lanes, n_threads):
        found.add(summary)
        n_seen += len(summary.priorities)
        watch(n_seen)
    return _conclude(found, positive, dropped, n_knots)


def _begin(
    source: Source,
    target: str,
    fractions: Fractions,
    seed: int,
    wishes: Mapping[str, Wish] | None,
) -> tuple[Reading, dict[str, str]]:
    """Judges the columns by their types, and by the first slice."""
    names = source.schema.names
    find_column(source.schema.empty_table(), target, "target")
    first = next(read_slices(source, source.groups[0], names))
    kinds: Kinds = infer_kinds(first, target, wishes, is_whole=False)
    reading = Reading(source, target, kinds.used, fractions, seed, by_number=False)
    if not kinds.used:
        reasons = "; ".join(f"{name!r}: {why}" for name, why in kinds.dropped.items())
        raise DataError(f"no usable feature column: {reasons or 'none given'}")
    path = source.groups[0].file.origin
    try:
        by_number = fractions[0] < 1 and repeats_rows(reading, first)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return reading._replace(by_number=by_number), kinds.dropped


class _Summary(NamedTuple):
    """What a slice adds to the findings."""

    group: int
    slice: Slice
    counts: NDArray[np.int64]  # (n_labels, 3)
    missing: set[str]
    priorities: NDArray[np.float64]


class _Findings:
    """What was found so far; grows with the sample and the number of slices alone."""

    def __init__(self, reading: Reading, n_sample: int) -> None:
        self.reading, self.n_sample = reading, n_sample
        groups = reading.source.groups
        slices = [reading.source.n_slices(group) for group in groups]
        self.counts = [np.zeros((n, _PARTS), np.int64) for n in slices]
        self.digests = [[b""] * n for n in slices]
        self.labels: dict[str, tuple[Any, NDArray[np.int64]]] = {}
        self.missing: set[str] = set()
        self.samples = [_Sample(reading, n_sample) for _ in range(_PARTS)]

    def add(self, summary: _Summary) -> None:
        found = summary.slice
        self.counts[summary.group][found.number] = summary.counts.sum(axis=0)
        self.digests[summary.group][found.number] = hashlib.sha256(found.hashes).digest()
        for label, counts in zip(found.labels, summary.counts, strict=True):
            text = as_text(label)
            _, before = self.labels.get(text, (label, np.zeros(_PARTS, np.int64)))
            self.labels[text] = (label, before + counts)
        self.missing |= summary.missing
        for part, sample in enumerate(self.samples):
            sample.add(found.table, summary.priorities, found.parts == part)


def _summaries(found: _Findings, groups: Sequence[int]) -> Iterator[_Summary]:
    reading = found.reading
    for i in groups:
        group = reading.source.groups[i]
        for each in read_group(reading, group):
            rng = np.random.default_rng([reading.seed, i, each.number])
            pairs = each.places.astype(np.int64) * _PARTS + each.parts
            counts = np.bincount(pairs, minlength=len(each.labels) * _PARTS)
            yield _Summary(
                i,
                each,
                counts.reshape(-1, _PARTS),
                {n for n, v in each.columns.items() if _has_missing(v, each.parts == 0)},
                rng.random(len(each.parts)),
            )


def _has_missing(values: Any, is_chosen: NDArray[np.bool_]) -> bool:
    if isinstance(values, np.ndarray):
        return not sum_is_finite(values) and bool(np.isnan(values[is_chosen]).any())
    if not values.null_count:
        return False
    return bool(values.is_null().to_numpy(zero_copy_only=False)[is_chosen].any())


class _Sample:
    """The rows with the lowest priorities, whatever the order in which they come."""

    def __init__(self, reading: Reading, size: int) -> None:
        self.size, self.limit = size, np.inf
        schema = [reading.source.schema.field(name) for name in reading.columns]
        self.tables = [pa.schema(schema).empty_table()]
        self.priorities = [np.empty(0)]

    def add(
        self,
        table: pa.Table,
        priorities: NDArray[np.float64],
        is_chosen: NDArray[np.bool_],
    ) -> None:
        rows = np.flatnonzero(is_chosen & (priorities < self.limit))
        if not len(rows):
            return
        self.tables.append(choose_rows(table, rows))
        self.priorities.append(priorities[rows])
        if sum(map(len, self.priorities)) > 2 * self.size:
            self._prune()

    def result(self) -> pa.Table:
        self._prune()
        return self.tables[0]

    def _prune(self) -> None:
        priorities = np.concatenate(self.priorities)
        kept = np.argsort(priorities, kind="stable")[: self.size]
        self.tables = [choose_rows(pa.concat_tables(self.tables), kept).combine_chunks()]
        self.priorities = [priorities[kept]]
        if len(kept) == self.size:
            self.limit = float(priorities[kept[-1]])


def _conclude(
    found: _Findings, positive: str | None, dropped: dict[str, str], n_knots: int
) -> Survey:
    reading = found.reading
    values = [label for label, _ in found.labels.values()]
    classes = choose_classes(values, reading.target, positive)
    samples = tuple(sample.result() for sample in found.samples)
    train = samples[0]
    if not train.num_rows:
        raise DataError("the training part has no rows")
    columns = decode(train, reading.kinds)
    preprocessor, without = fit_preprocessor(
        columns, np.arange(train.num_rows), reading.kinds, n_knots=n_knots
    )
    rules = [
        replace(rule, marks_missing=rule.marks_missing or rule.name in found.missing)
        for rule in preprocessor.rules
    ]
    if not rules:
        raise DataError(
            "no usable feature column: "
            + "; ".join(f"{name!r}: {why}" for name, why in {**dropped, **without}.items())
        )
    digest = hashlib.sha256(repr((reading.columns, reading.seed)).encode())
    for digests in found.digests:
        digest.update(b"".join(digests))
    _, positives = found.labels[as_text(classes.positive)]
    return Survey(
        reading=reading,
        classes=classes,
        preprocessor=Preprocessor(tuple(rules)),
        dropped={**dropped, **without},
        counts=found.counts,
        positives=positives,
        samples=(samples[0], samples[1], samples[2]),
        fingerprint=digest.hexdigest(),
    )
