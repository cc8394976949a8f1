"""Reading and writing of CSV and Parquet files, through pyarrow."""

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from jaxmlp.data.errors import DataError
from jaxmlp.data.errors import one_line as one_line
from jaxmlp.data.files import (
    TOO_EXPANDED,
    check_memory,
    most_expanded,
    open_file,
    read_all,
    read_file,
)
from jaxmlp.data.parquet import parse_parquet
from jaxmlp.data.records import Header, parse_options, read_header, survey_header

# What pyarrow takes for missing, "?", which the UCI tables use, and blanks.
_MISSING = [*pyarrow.csv.ConvertOptions().null_values, "?", " ", "  ", "   "]

_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}

_LONGEST_HEADER = 2**24
_BYTES_A_COLUMN = 10_000  # that pyarrow needs while it reads, whatever the rows


def read_table(path: str | Path, *, text_columns: Collection[str] = ()) -> pa.Table:
    """Reads a CSV or Parquet file.

    The content decides which it is, not the name. A CSV file has a header, is UTF-8,
    may be compressed (gzip, bz2, zstd by its name's ending), and is separated by commas,
    semicolons, tabs or bars, whichever its header holds most of. A column's type is
    inferred from all of its values. Of a Parquet file, lists and structs are not read: they
    are all missing.

    Args:
      path: The file, or a pipe.
      text_columns: Columns of a CSV file to read as text whatever their values look like.

    Returns:
      The table, at least one row and one column, with distinct column names.

    Raises:
      DataError: The file is missing, unreadable, empty, names a column twice, is a device,
        or needs more memory than there is; or it is compressed and expands to more than
        1,000 times its size and 64 MiB.
    """
    path = Path(path)
    table = _parse(path, _read_bytes(path), text_columns)
    (name, count), *_ = Counter(table.column_names).most_common(1) or [("", 0)]
    if count > 1:
        raise DataError(f"{path}: two columns are named {name!r}; rename one")
    if table.num_columns == 0 or table.num_rows == 0:
        raise DataError(f"{path}: the table has no rows")
    return table


def write_table(table: pa.Table, path: str | Path) -> None:
    """Writes a table as CSV or Parquet, by the name's ending; whole or not at all.

    Raises:
      DataError: The ending is neither .csv nor .parquet, or the file cannot be written.
    """
    path = Path(path)
    check_writable_name(path)
    write = (
        pyarrow.parquet.write_table
        if path.suffix.lower() == ".parquet"
        else pyarrow.csv.write_csv
    )
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        write(table, file)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a name to write to; only when all is written, it replaces `path`.

    Raises:
      DataError: The file cannot be written; nothing is left behind.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        # A link of this name, which a hostile folder may hold, would be written through.
        unfinished.unlink(missing_ok=True)
        unfinished.touch(exist_ok=False)
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {one_line(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def check_writable_name(path: str | Path) -> None:
    """Raises DataError unless a file of this name can be written, CSV or Parquet."""
    if Path(path).suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"{path}: the name must end in .csv or .parquet")
    check_place(Path(path))


def check_place(path: Path) -> None:
    """Raises DataError unless a file of this name can stand there."""
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the name of a file")


def _read_bytes(path: Path) -> pa.Buffer:
    codec = _CODECS.get(path.suffix)
    if codec is None:
        content = read_file(path, or_pipe=True)
    else:
        with open_file(path) as file:
            most = most_expanded(os.fstat(file.fileno()).st_size)
            try:
                stream = pa.CompressedInputStream(pa.PythonFile(file), codec)
                # Not by `read`, which leaks its memory where the file is damaged.
                content = read_all(stream.read_buffer, most, f"{path}: {TOO_EXPANDED}")
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path}: cannot be read: {one_line(error)}") from error
    if not content:
        raise DataError(f"{path}: the file is empty")
    return pa.py_buffer(content)


def _parse(path: Path, content: pa.Buffer, text_columns: Collection[str]) -> pa.Table:
    start = content.slice(0, min(content.size, 4)).to_pybytes()
    is_parquet = start == b"PAR1"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: the file is UTF-16; save it as UTF-8")
    try:
        if is_parquet or path.suffix.lower() == ".parquet":
            return parse_parquet(content)
        return _parse_csv(content, text_columns)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        form = "Parquet" if path.suffix.lower() == ".parquet" or is_parquet else "CSV"
        raise DataError(f"{path}: not a readable {form} file: {one_line(error)}") from error


def _parse_csv(content: pa.Buffer, text_columns: Collection[str]) -> pa.Table:
    header = _header(content)
    names = zip(header.raw_names, header.names, strict=True)
    table = pyarrow.csv.read_csv(
        pa.BufferReader(content),
        # One block: a column's type is then inferred from the whole file.
        # One thread: only then does pyarrow name the row that it cannot read.
        read_options=pyarrow.csv.ReadOptions(
            block_size=min(content.size + 1, 2**31 - 1), use_threads=False
        ),
        parse_options=parse_options(header.delimiter),
        convert_options=convert_options(
            {raw: pa.string() for raw, name in names if name in text_columns}
        ),
    )
    for field in table.schema:
        if pa.types.is_binary(field.type):
            raise pa.ArrowInvalid(f"column {field.name!r} is not UTF-8")
    return table.rename_columns([name.strip() for name in table.column_names])


def convert_options(
    types: Mapping[str, pa.DataType], **others: object
) -> pyarrow.csv.ConvertOptions:
    """How pyarrow is to read the fields of a CSV file."""
    return pyarrow.csv.ConvertOptions(
        null_values=_MISSING, strings_can_be_null=True, column_types=types, **others
    )


def _header(content: pa.Buffer) -> Header:
    """The header, if there is memory for its columns."""
    for size in (2**16, _LONGEST_HEADER):
        start = content.slice(0, min(content.size, size)).to_pybytes()
        found = survey_header(start)
        if found.is_whole or content.size <= size:
            check_memory(content.size + _BYTES_A_COLUMN * found.n_columns, "the table")
            return read_header(start)
    raise DataError("the first line does not end within 16 MiB")
