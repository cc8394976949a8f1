"""Rows of one part of a long table, prepared for the network, in an epoch's order."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmlp.data.buffers import Buffers
from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import as_text
from jaxmlp.data.preprocess import Preprocessor
from jaxmlp.data.stream.lanes import take_turns
from jaxmlp.data.stream.parts import TRAIN
from jaxmlp.data.stream.reading import Slice, read_group
from jaxmlp.data.stream.source import check_unchanged
from jaxmlp.data.stream.store import Rows, RowStore
from jaxmlp.data.stream.survey import Survey

N_LANES = 8
"""Row groups that rows are taken from in turn, so that rows near in a file part."""


class Elsewhere(NamedTuple):
    """Rows that another process reads.

    Attributes:
      n_rows: Their number.
      process: The process.
    """

    n_rows: int
    process: int


class Place(NamedTuple):
    """A slice to read: its group's number, its own, and how many of its rows are wanted."""

    group: int
    slice: int
    n_rows: int


class PartRows(NamedTuple):
    """Reads a part of a table.

    Attributes:
      survey: Of the table.
      preprocessor: What makes the network's input.
      part: The part.
      n_threads: Threads to read on.
      process: Number of this process and of all: each reads its share of the groups.
    """

    survey: Survey
    preprocessor: Preprocessor
    part: int = TRAIN
    n_threads: int = 2
    process: tuple[int, int] = (0, 1)

    @property
    def n_rows(self) -> int:
        """Rows of the part."""
        return self.survey.sizes[self.part]

    def shuffled(
        self, seed: tuple[int, ...], skip: int = 0, store: RowStore | None = None
    ) -> Iterator[Rows | Elsewhere]:
        """Rows of the part with row groups in random order, `N_LANES` of them in turn.

        Args:
          seed: Numbers that the order follows from.
          skip: Rows to leave out at the beginning.
          store: Where slices of this part are kept for the next time, or None.

        Yields:
          Rows, whose memory is used again for later ones; or what stands for those that
          another process reads.
        """
        order = np.random.default_rng(seed).permutation(len(self.survey.counts))
        lanes = [self._places(order[i::N_LANES].tolist()) for i in range(N_LANES)]
        lanes, skip = _skip(lanes, skip)
        owners = np.empty(len(order), np.int64)
        owners[order] = np.arange(len(order)) % self.process[1]
        buffers = Buffers()
        readers = [self._read(lane, owners, buffers, store) for lane in lanes]
        for rows in take_turns(readers, self.n_threads):
            yield _without(rows, skip)
            skip = 0
            if not isinstance(rows, Elsewhere):
                buffers.take_back(rows[0])

    def in_order(self) -> Iterator[Rows]:
        """This process's rows of the part, nearly in the order of the files."""
        groups = range(self.process[0], len(self.survey.counts), self.process[1])
        # As many lanes whatever the threads, so that sums over rows have the same bits.
        lanes = [self._places(groups[i::N_LANES]) for i in range(N_LANES)]
        owners = np.full(len(self.survey.counts), self.process[0])
        buffers = Buffers()
        readers = [self._read(lane, owners, buffers) for lane in lanes]
        for rows in take_turns(readers, self.n_threads):
            assert not isinstance(rows, Elsewhere)
            yield rows

    def _places(self, groups: range | list[int]) -> deque[Place]:
        counts = self.survey.counts
        return deque(
            Place(group, i, int(n[self.part]))
            for group in groups
            for i, n in enumerate(counts[group])
        )

    def _read(
        self,
        lane: deque[Place],
        owners: NDArray[np.int64],
        buffers: Buffers,
        store: RowStore | None = None,
    ) -> Iterator[Rows | Elsewhere]:
        while lane:
            first, owner = lane[0], int(owners[lane[0].group])
            if owner != self.process[0]:
                yield Elsewhere(lane.popleft().n_rows, owner)
                continue
            group = self.survey.reading.source.groups[first.group]
            kept = None if store is None else store.get(first[:2], buffers)
            if kept is not None:
                check_unchanged(group.file)  # as if it were read
                lane.popleft()
                yield kept
                continue
            for found in read_group(self.survey.reading, group, first.slice):
                place = lane.popleft()
                rows = self._prepare(found, buffers)
                if len(rows[1]) != place.n_rows:
                    raise DataError(
                        f"{group.file.origin}: the file has changed since the run began; "
                        "start the run anew"
                    )
                if store is not None:
                    store.put(place[:2], rows)
                yield rows

    def _prepare(self, found: Slice, buffers: Buffers) -> Rows:
        X = self.preprocessor.encode(found.columns, buffers)
        positive = as_text(self.survey.classes.positive)
        codes = np.array([as_text(label) == positive for label in found.labels], np.float32)
        y = codes[found.places]
        if self.survey.reading.fractions[self.part] == 1:
            return X, y
        rows = np.flatnonzero(found.parts == self.part)
        chosen = buffers.lend((len(rows), X.shape[1]))
        np.take(X, rows, axis=0, out=chosen, mode="clip")  # the only mode without a copy
        buffers.take_back(X)
        return chosen, y[rows]


def _skip(lanes: list[deque[Place]], n_rows: int) -> tuple[list[deque[Place]], int]:
    """Takes whole slices off as `take_turns` would, and says how many rows are left."""
    turns = deque(lane for lane in lanes if lane)
    while turns and turns[0][0].n_rows <= n_rows:
        lane = turns.popleft()
        n_rows -= lane.popleft().n_rows
        if lane:
            turns.append(lane)
    return list(turns), n_rows


def _without(rows: Rows | Elsewhere, skip: int) -> Rows | Elsewhere:
    if isinstance(rows, Elsewhere):
        return rows._replace(n_rows=rows.n_rows - skip)
    return (rows[0][skip:], rows[1][skip:]) if skip else rows
