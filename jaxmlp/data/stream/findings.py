"""What a survey has found so far, in one process or several."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import as_text, is_storable
from jaxmlp.data.stream.reading import Reading, Slice, choose_rows, read_group

_PARTS = 3
_PRIORITY = "\0priority"  # no name that a column of a file has


class Team(NamedTuple):
    """Processes that read one table together.

    Attributes:
      process: Number of this one.
      n_processes: Number of all.
      exchange: Gives what each of them gives, in their order.
    """

    process: int
    n_processes: int
    exchange: Callable[[bytes], list[bytes]]


class Summary(NamedTuple):
    """What a slice adds to the findings."""

    group: int
    slice: Slice
    counts: NDArray[np.int64]  # (n_labels, 3)
    missing: set[str]
    priorities: NDArray[np.float64]


class Findings:
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

    def add(self, summary: Summary) -> None:
        """Takes in a slice.

        Raises:
          DataError: It holds a third label; names the file and the row.
        """
        found = summary.slice
        self._check_labels(summary)
        self.counts[summary.group][found.number] = summary.counts.sum(axis=0)
        self.digests[summary.group][found.number] = hashlib.sha256(found.hashes).digest()
        for label, counts in zip(found.labels, summary.counts, strict=True):
            self._count(label, counts)
        self.missing |= summary.missing
        for part, sample in enumerate(self.samples):
            sample.add(found.table, summary.priorities, found.parts == part)

    def _check_labels(self, summary: Summary) -> None:
        known = dict.fromkeys(label for label, _ in self.labels.values())
        for place, label in enumerate(summary.slice.labels):
            if as_text(label) in map(as_text, known):
                continue
            if len(known) == 2:
                source = self.reading.source
                group = source.groups[summary.group]
                row = group.first_row + summary.slice.number * source.slice_rows
                row += int(np.argmax(summary.slice.places == place))
                first, second = known
                raise DataError(
                    f"{group.file.origin}: target column {self.reading.target!r}, row "
                    f"{row}: {label!r} is a third value beside {first!r} and {second!r}; "
                    "two are needed"
                )
            known[label] = None

    def _count(self, label: Any, counts: NDArray[np.int64]) -> None:
        text = as_text(label)
        _, before = self.labels.get(text, (label, np.zeros(_PARTS, np.int64)))
        self.labels[text] = (label, before + counts)

    def _plain(self) -> dict[str, tuple[Any, NDArray[np.int64]]]:
        """Labels as JSON has them: all as texts if it has not all of them."""
        found = self.labels.items()
        if all(is_storable(label) for label, _ in self.labels.values()):
            return self.labels
        return {text: (str(label), counts) for text, (label, counts) in found}

    def to_bytes(self) -> bytes:
        """All of it, for other processes: a line of JSON, then the samples."""
        labels = [(label, counts.tolist()) for label, counts in self._plain().values()]
        tables = [sample.to_bytes() for sample in self.samples]
        header = {
            "counts": [counts.tolist() for counts in self.counts],
            "digests": [[digest.hex() for digest in each] for each in self.digests],
            "labels": labels,
            "missing": sorted(self.missing),
            "sizes": [len(table) for table in tables],
        }
        return json.dumps(header).encode() + b"\n" + b"".join(tables)

    def share(self, team: Team, payload: bytes) -> None:
        """Takes in what the other processes have found.

        Raises:
          DataError: One of them cannot use what it has read.
        """
        # All look at the same labels, those of this process too.
        self.labels = self._plain()
        for process, other in enumerate(team.exchange(payload)):
            line, _, tables = other.partition(b"\n")
            header = json.loads(line)
            if "error" in header:
                raise DataError(header["error"])
            if process != team.process:
                self._merge(header, tables)

    def _merge(self, header: dict[str, Any], tables: bytes) -> None:
        self.missing |= set(header["missing"])
        for label, counts in header["labels"]:
            self._count(label, np.array(counts, np.int64))
        for mine, theirs in zip(self.counts, header["counts"], strict=True):
            mine += np.array(theirs, np.int64)
        for i, digests in enumerate(header["digests"]):
            pairs = zip(self.digests[i], map(bytes.fromhex, digests), strict=True)
            self.digests[i] = [mine or theirs for mine, theirs in pairs]
        for sample, size in zip(self.samples, header["sizes"], strict=True):
            sample.merge(tables[:size])
            tables = tables[size:]


def summaries(found: Findings, groups: Sequence[int]) -> Iterator[Summary]:
    """Reads the row groups of these numbers."""
    reading = found.reading
    for i in groups:
        group = reading.source.groups[i]
        for each in read_group(reading, group):
            rng = np.random.default_rng([reading.seed, i, each.number])
            pairs = each.places.astype(np.int64) * _PARTS + each.parts
            counts = np.bincount(pairs, minlength=len(each.labels) * _PARTS)
            yield Summary(
                i,
                each,
                counts.reshape(-1, _PARTS),
                {n for n, v in each.columns.items() if _has_missing(v, each.parts == 0)},
                rng.random(len(each.parts)),
            )


def _has_missing(values: Any, is_chosen: NDArray[np.bool_]) -> bool:
    if isinstance(values, np.ndarray):
        return bool((np.isnan(values) & is_chosen).any())
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

    def to_bytes(self) -> bytes:
        table = self.result().append_column(_PRIORITY, pa.array(self.priorities[0]))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()

    def merge(self, content: bytes) -> None:
        table = pa.ipc.open_stream(content).read_all()
        self.priorities.append(table[_PRIORITY].to_numpy())
        self.tables.append(table.drop_columns([_PRIORITY]))

    def _prune(self) -> None:
        priorities = np.concatenate(self.priorities)
        kept = np.argsort(priorities, kind="stable")[: self.size]
        self.tables = [choose_rows(pa.concat_tables(self.tables), kept).combine_chunks()]
        self.priorities = [priorities[kept]]
        if len(kept) == self.size:
            self.limit = float(priorities[kept[-1]])
