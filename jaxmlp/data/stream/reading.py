"""From a slice of a long table to columns, labels and parts."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.data.columns import Kind, Values, decode
from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import as_text, code_labels, find_column
from jaxmlp.data.stream.parts import TRAIN, assign_parts, hash_rows
from jaxmlp.data.stream.source import Group, Source, read_slices

Fractions = tuple[float, float, float]


class Reading(NamedTuple):
    """What the columns of a source mean, and how its rows fall into parts.

    Attributes:
      source: The files.
      target: Name of the target column.
      kinds: Feature columns, and what they mean.
      fractions: Shares of training, validation and test part.
      seed: Of the parts.
      by_number: Whether a row's number counts for its part too, because most rows repeat
        others and whole heaps of them would fall into one part.
    """

    source: Source
    target: str
    kinds: dict[str, Kind]
    fractions: Fractions
    seed: int
    by_number: bool

    @property
    def columns(self) -> list[str]:
        """Columns to read."""
        return [*self.kinds, self.target]


class Slice(NamedTuple):
    """Rows of a row group that were read together.

    Attributes:
      number: Its number in the group.
      table: The columns as they are in the file.
      columns: The features.
      labels: The target's distinct values.
      places: Each row's place among the labels, `(n,)`.
      hashes: Each row's hash, `(n,)`.
      parts: Each row's part, `(n,)`.
    """

    number: int
    table: pa.Table
    columns: dict[str, Values]
    labels: list[Any]
    places: NDArray[np.int32]
    hashes: NDArray[np.uint32]
    parts: NDArray[np.uint8]


def read_group(reading: Reading, group: Group, start: int = 0) -> Iterator[Slice]:
    """Reads a row group from slice `start` on.

    Raises:
      DataError: As of `read_slices`, or a value cannot be used; names file, column, row.
    """
    tables = read_slices(reading.source, group, reading.columns, start)
    for number, table in enumerate(tables, start):
        first_row = group.first_row + number * reading.source.slice_rows
        try:
            yield _understand(reading, number, table, first_row)
        except DataError as error:
            raise DataError(f"{group.file.origin}: {error}") from error


def _understand(reading: Reading, number: int, table: pa.Table, first_row: int) -> Slice:
    columns = decode(table, reading.kinds, first_row)
    column = find_column(table, reading.target, "target")
    labels, places = code_labels(column, reading.target, first_row)
    if reading.fractions[TRAIN] < 1:
        texts = pa.array([as_text(label) for label in labels], pa.string())
        numbers = None
        if reading.by_number:
            numbers = np.arange(first_row, first_row + len(places)).astype(np.uint32)
        hashes = hash_rows(
            columns, pa.DictionaryArray.from_arrays(places, texts), reading.seed, numbers
        )
    else:
        hashes = np.zeros(len(places), np.uint32)
    parts = assign_parts(hashes, reading.fractions)
    return Slice(number, table, columns, labels, places, hashes, parts)


def repeats_rows(reading: Reading, table: pa.Table) -> bool:
    """Whether most of some rows repeat others of them."""
    found = _understand(reading._replace(by_number=False), 0, table, 0)
    return len(np.unique(found.hashes)) < len(found.hashes) / 2


def choose_rows(table: pa.Table, rows: Sequence[int] | NDArray[Any]) -> pa.Table:
    """Copies some rows, so that the others' memory is free."""
    return table.take(pa.array(rows, pa.int64()))
