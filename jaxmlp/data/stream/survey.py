"""One pass over a long table: what its preparation needs, and the sizes of its parts."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.data.columns import Kinds, Wish, decode, infer_kinds
from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import (
    Classes,
    as_text,
    choose_classes,
    find_column,
)
from jaxmlp.data.preprocess import Preprocessor, fit_preprocessor
from jaxmlp.data.stream.findings import Findings, Team, summaries
from jaxmlp.data.stream.lanes import take_turns
from jaxmlp.data.stream.reading import (
    Fractions,
    Reading,
    repeats_rows,
)
from jaxmlp.data.stream.source import Source, read_slices

SAMPLE_ROWS = 200_000
"""Most rows of each part that are kept; statistics are those of the sample."""

_SAMPLE_VALUES = 2**24  # so that wide tables' samples are no larger


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
    team: Team | None = None,
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
      team: The processes that share out the reading; all get the same survey.
      watch: Called with the number of rows that this process has read so far.

    Raises:
      DataError: The table cannot be used; names the file, the column and the row.
    """
    reading, dropped = _begin(source, target, fractions, seed, wishes)
    found = Findings(reading, min(SAMPLE_ROWS, _SAMPLE_VALUES // len(reading.columns)))
    me, n_processes = (0, 1) if team is None else (team.process, team.n_processes)
    groups = range(len(source.groups))[me::n_processes]
    lanes = [summaries(found, groups[i::n_threads]) for i in range(n_threads)]
    payload, n_seen = b"", 0
    try:
        for summary in take_turns(lanes, n_threads):
            found.add(summary)
            n_seen += len(summary.priorities)
            watch(n_seen)
    except DataError as error:
        if team is None:
            raise
        payload = json.dumps({"error": str(error)}).encode()
    if team is not None:
        found.share(team, payload or found.to_bytes())
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


def _conclude(
    found: Findings, positive: str | None, dropped: dict[str, str], n_knots: int
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
