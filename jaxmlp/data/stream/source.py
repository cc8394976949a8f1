"""Parquet files as one long table, read a slice at a time."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet

from jaxmlp.data.errors import DataError, shorten
from jaxmlp.data.tables import one_line

SLICE_ROWS = 2**16
"""Most rows read at once."""

_SLICE_VALUES = 2**24  # so that a slice of a wide table is no larger
_BUFFER = 2**20  # bytes
_ENDINGS = (
    ".parquet",
    *(
        f"{form}{packed}"
        for form in (".csv", ".tsv", ".txt")
        for packed in ("", ".gz", ".bz2", ".zst")
    ),
)


class File(NamedTuple):
    """A file as it was when the run began.

    Attributes:
      path: Where it is.
      size: Its bytes.
      modified: Time of its last change in nanoseconds.
      origin: The user's file that its rows are from, which messages name: the same, but
        for a CSV file that was spooled.
    """

    path: Path
    size: int
    modified: int
    origin: Path


class Group(NamedTuple):
    """A row group: what Parquet lets one read apart from the rest of a file.

    Attributes:
      file: Its file.
      number: Its number in the file.
      n_rows: Its rows.
      first_row: Rows before it in the file.
      column_bytes: Bytes in the file of the column with most.
    """

    file: File
    number: int
    n_rows: int
    first_row: int
    column_bytes: int


class Source(NamedTuple):
    """Files read as one table.

    Attributes:
      groups: Their row groups, in the order of the files.
      schema: Names and types of the columns.
      slice_rows: Rows of a slice.
    """

    groups: tuple[Group, ...]
    schema: pa.Schema
    slice_rows: int

    @property
    def files(self) -> tuple[File, ...]:
        """The files, in order."""
        return tuple(dict.fromkeys(group.file for group in self.groups))

    @property
    def n_rows(self) -> int:
        """Rows of all files."""
        return sum(group.n_rows for group in self.groups)

    def n_slices(self, group: Group) -> int:
        """Slices of a row group."""
        return -(-group.n_rows // self.slice_rows)


def find_files(pattern: str | Path) -> list[Path]:
    """Finds the files that a name, a pattern such as `part-*.parquet` or a folder means.

    A file of just this name goes before a pattern. `**` in a pattern means folders at any
    depth. Of a folder these are the files in it (not in folders below) that end as tables
    do, in letters of any case. Hidden files do not count unless named. The order is that
    of the names, numbers in them by their value: part-2 before part-10.

    Raises:
      DataError: There are none.
    """
    path = Path(pattern)
    if path.is_dir():
        found = [each for each in path.iterdir() if _looks_like_table(each.name)]
    elif path.exists():
        found = [path]
    else:
        found = [Path(each) for each in glob.glob(str(pattern), recursive=True)]
    files = sorted((each for each in found if each.is_file()), key=_natural)
    if files:
        return files
    what = "no such file"
    if path.is_dir():
        what = "no Parquet or CSV file in this folder"
    elif path.exists():
        what = "not a regular file"
    elif found:
        what = "only folders match; add /*.parquet or the like"
    elif is_pattern(path):
        what = "no file matches"
    raise DataError(f"{pattern}: {what}")


def is_pattern(path: Path) -> bool:
    """Whether a name means several files: a folder's, or one with `*`, `?` or `[`."""
    return path.is_dir() or (not path.exists() and any(c in str(path) for c in "*?["))


def _looks_like_table(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(_ENDINGS)


def _natural(path: Path) -> tuple[list[tuple[str, int]], str]:
    parts = re.findall(r"(\D*)(\d*)", str(path))
    return [(text, int(digits or -1)) for text, digits in parts], str(path)


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its content, or claims to be by its name.

    Raises:
      DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {one_line(error)}") from error
    return start == b"PAR1" or path.suffix.lower() == ".parquet"


def open_source(paths: Sequence[Path], origins: Sequence[Path] | None = None) -> Source:
    """Looks at Parquet files: what they hold, not yet the values.

    Args:
      paths: The files, in the order of the rows.
      origins: The files that messages name, where they are others.

    Raises:
      DataError: A file cannot be read, or its columns are not those of the others.
    """
    groups: list[Group] = []
    schemas: list[pa.Schema] = []
    origins = paths if origins is None else origins
    for at, path in zip(paths, origins, strict=True):
        file = _mark(at, path)
        try:
            with pyarrow.parquet.ParquetFile(at) as parquet:
                metadata, schema = parquet.metadata, parquet.schema_arrow
                numbers = range(metadata.num_row_groups)
                sizes = [_sizes_of(metadata.row_group(number)) for number in numbers]
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{path}: not a readable Parquet file: {one_line(error)}"
            ) from error
        first = schemas[0] if schemas else schema
        check_names(path, schema.names, first.names, origins[0])
        schemas.append(schema.remove_metadata())
        first_row = 0
        for number, (n_rows, column_bytes) in enumerate(sizes):
            if n_rows:
                groups.append(Group(file, number, n_rows, first_row, column_bytes))
            first_row += n_rows
    if not groups:
        raise DataError(f"{origins[0]}: the table has no rows")
    schema = _unify(schemas, origins)
    return Source(tuple(groups), schema, count_slice_rows(len(schema)))


def _sizes_of(group: pyarrow.parquet.RowGroupMetaData) -> tuple[int, int]:
    """Rows, and bytes in the file of the column with most."""
    columns = map(group.column, range(group.num_columns))
    return group.num_rows, max((each.total_compressed_size for each in columns), default=0)


def count_slice_rows(n_columns: int, at_once: int = 1) -> int:
    """Rows of a slice of a table with so many columns, or of some of a narrow table."""
    return max(1, min(at_once * SLICE_ROWS, _SLICE_VALUES // max(1, n_columns)))


def read_slices(
    source: Source, group: Group, columns: Sequence[str], start: int = 0
) -> Iterator[pa.Table]:
    """Reads a row group slice by slice; in memory are two, and a part of the file's bytes.

    Args:
      source: What it belongs to.
      group: The row group.
      columns: Columns to read.
      start: The first slice wanted.

    Raises:
      DataError: The file is gone, is not as it was, or cannot be read; names the group.
    """
    check_unchanged(group.file)
    n_seen, held = 0, pa.Table.from_batches([], _part(source.schema, columns))
    try:
        # A buffer for each column costs a copy; without, all of a column's bytes in the
        # group are read before its first row.
        with pyarrow.parquet.ParquetFile(
            group.file.path,
            buffer_size=_BUFFER if group.column_bytes > _BUFFER else 0,
            pre_buffer=False,
            page_checksum_verification=True,  # of files that have them
        ) as parquet:
            batches = parquet.iter_batches(
                count_slice_rows(len(source.schema), at_once=2),  # a tenth faster
                [group.number],
                list(columns),
                use_threads=False,
            )
            for batch in batches:
                table = pa.Table.from_batches([batch]).select(list(columns))
                held = pa.concat_tables([held, table.cast(held.schema)])
                while held.num_rows >= source.slice_rows:
                    if n_seen >= start:
                        yield held.slice(0, source.slice_rows)
                    held, n_seen = held.slice(source.slice_rows), n_seen + 1
    except (OSError, pa.ArrowException) as error:
        check_unchanged(group.file)
        where = f"{group.file.origin}, row group {group.number}"
        raise DataError(f"{where}: cannot be read: {one_line(error)}") from error
    if held.num_rows:
        if n_seen >= start:
            yield held
        n_seen += 1
    check_unchanged(group.file)  # what was written over it meanwhile was read, too
    if n_seen != source.n_slices(group):
        raise DataError(
            f"{group.file.origin}, row group {group.number}: has not the {group.n_rows} "
            "rows that the file says"
        )


def check_unchanged(file: File) -> None:
    """Raises DataError if the file is gone, or not as it was when the run began."""
    if _mark(file.path, file.origin) != file:
        raise DataError(
            f"{file.origin}: the file has changed since the run began; start the run anew"
        )


def _mark(path: Path, origin: Path) -> File:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise DataError(f"{origin}: cannot be read: {one_line(error)}") from error
    return File(path, stat.st_size, stat.st_mtime_ns, origin)


def check_names(
    path: Path, names: Sequence[str], first_names: Sequence[str], first_path: Path
) -> None:
    """Raises DataError unless a file's columns are distinct and those of the first."""
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise DataError(f"{path}: two columns are named {repeated[0]!r}; rename one")
    if set(names) != set(first_names):
        odd = sorted(set(names) ^ set(first_names))
        raise DataError(
            f"{path}: its columns are not those of {first_path}: only one of them has "
            f"{shorten(odd, most=5)}"
        )


def _unify(schemas: Sequence[pa.Schema], paths: Sequence[Path]) -> pa.Schema:
    if any(other != schemas[0] for other in schemas):
        schemas = list(map(_without_dictionaries, schemas))
    schema = schemas[0]
    for path, other in zip(paths, schemas, strict=True):
        if other == schema:
            continue
        try:
            schema = pa.unify_schemas([schema, other], promote_options="permissive")
        except pa.ArrowException as error:
            name = next(n for n in schema.names if schema.field(n) != other.field(n))
            raise DataError(
                f"{path}: column {name!r} holds {other.field(name).type}, and in the files "
                f"before {schema.field(name).type}"
            ) from error
    return schema


def _without_dictionaries(schema: pa.Schema) -> pa.Schema:
    """The same values as they are; pyarrow does not merge dictionaries with them."""
    return pa.schema(
        field.with_type(field.type.value_type)
        if pa.types.is_dictionary(field.type)
        else field
        for field in schema
    )


def _part(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in columns])
