"""A CSV file of any size, some whole records at a time."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.csv

from jaxmlp.data.errors import DataError
from jaxmlp.data.records import Header, parse_options, read_header, record_ends
from jaxmlp.data.tables import convert_options, one_line

BLOCK_BYTES = 2**23
"""Text that is read at once."""

RECORD_BYTES = 2**26
"""Longest record; a quote that is never closed makes the rest of a file one."""

_HEADER_BYTES = 2**20
_SHOWN = 80  # characters of a record that cannot be read

Types: TypeAlias = Mapping[str, pa.DataType]


class CsvFile(NamedTuple):
    """A CSV file whose header was read.

    Attributes:
      path: Where it is.
      header: Its first record.
    """

    path: Path
    header: Header


class Block(NamedTuple):
    """Some records of a CSV file.

    Attributes:
      file: The file.
      text: The records.
      n_before: Records between the header and them.
    """

    file: CsvFile
    text: bytes
    n_before: int


def open_csv(path: Path) -> CsvFile:
    """Reads a file's header.

    Raises:
      DataError: The file cannot be read, is empty, or has no header.
    """
    text = next(_read(path, _HEADER_BYTES), b"")
    if not text:
        raise DataError(f"{path}: the file is empty")
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: the file is UTF-16; save it as UTF-8")
    try:
        header = read_header(text)
    except (UnicodeDecodeError, pa.ArrowException) as error:
        raise _unreadable(path, one_line(error)) from error
    if header.length >= _HEADER_BYTES:
        raise _unreadable(path, "its first line is longer than 1 MB")
    return CsvFile(path, header)


def read_texts(file: CsvFile) -> Iterator[bytes]:
    """Reads the records behind the header, some whole ones at a time.

    Raises:
      DataError: The file cannot be read, or a record is longer than `RECORD_BYTES`.
    """
    n_header, held = file.header.length, b""
    for text in _read(file.path, BLOCK_BYTES):
        held += text
        ends = record_ends(held, file.header.delimiter)
        if len(ends) and ends[-1] > n_header:
            yield held[n_header : ends[-1]]
            n_header, held = 0, held[ends[-1] :]
        elif len(held) > RECORD_BYTES:
            raise _unreadable(
                file.path,
                f"a row is longer than {RECORD_BYTES >> 20} MB; is a quote not closed? "
                f"It begins with {held[n_header : n_header + _SHOWN]!r}",
            )
    if len(held) > n_header:
        yield held[n_header:]


def parse(block: Block, types: Types, only: Collection[str] | None = None) -> pa.Table:
    """Reads a block's records.

    Args:
      block: The records.
      types: Types of columns; those of others follow from their values.
      only: The columns to take, or None for all.

    Raises:
      DataError: A record has more or fewer fields than the header.
      ArrowException: A value is not of its column's type.
    """
    header = block.file.header
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(block.text),
            # One thread: only then does pyarrow number the record that it cannot read.
            read_options=pyarrow.csv.ReadOptions(
                column_names=header.names, block_size=len(block.text) + 1, use_threads=False
            ),
            parse_options=parse_options(header.delimiter),
            convert_options=convert_options(types, include_columns=only),
        )
    except pa.ArrowException as error:
        said = re.match(r"CSV parse error: Row #(\d+): (.*)", str(error), re.DOTALL)
        if not said:
            raise
        # Numbered as pyarrow does it for a whole file: the header is row 1.
        number = int(said[1]) + 1 + block.n_before
        text = " ".join(said[2].split())
        raise _unreadable(
            block.file.path, f"CSV parse error: Row #{number}: {text}"
        ) from error


def explain(block: Block, error: Exception) -> DataError:
    """Says why a block cannot be read, whatever the types of its columns."""
    table = parse(block, dict.fromkeys(block.file.header.names, pa.binary()))
    for name in table.column_names:
        for row, value in enumerate(table[name].to_pylist()):
            if value is not None and not _is_utf8(value):
                return _unreadable(
                    block.file.path,
                    f"column {name!r} is not UTF-8, first in row {block.n_before + row}; "
                    "save the file as UTF-8",
                )
    return _unreadable(block.file.path, one_line(error))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read(path: Path, size: int) -> Iterator[bytes]:
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            while text := stream.read(size):
                yield text
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {one_line(error)}") from error


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{path}: not a readable CSV file: {why}")
