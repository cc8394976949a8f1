"""CSV files as Parquet files, made once, so that all else deals with Parquet alone."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet

from jaxmlp.data.errors import DataError
from jaxmlp.data.stream.blocks import (
    Block,
    CsvFile,
    Types,
    explain,
    open_csv,
    parse,
    read_texts,
)
from jaxmlp.data.stream.lanes import take_turns
from jaxmlp.data.stream.scratch import scratch_folder
from jaxmlp.data.stream.source import (
    Source,
    check_names,
    count_slice_rows,
    find_files,
    is_parquet,
    open_source,
)
from jaxmlp.data.tables import one_line

_GROUP_BYTES = 2**27  # of a row group in memory, where rows are long
_FEWEST_BLOCKS = 8  # looked at before a second beginning

# pyarrow gives a column the first of these that all of its values can be read as.
_ORDER = (
    pa.null(),
    pa.int64(),
    pa.bool_(),
    pa.date32(),
    pa.time32("s"),
    pa.timestamp("s"),
    pa.timestamp("ns"),
    pa.timestamp("s", "UTC"),
    pa.timestamp("ns", "UTC"),
    pa.float64(),
    pa.string(),
)


class Spooled(NamedTuple):
    """What was made of CSV files.

    Attributes:
      paths: A Parquet file for each.
      schema: Names and types of the columns.
    """

    paths: list[Path]
    schema: pa.Schema


@contextlib.contextmanager
def opened(
    pattern: str | Path, spool_parent: Path, text_columns: Collection[str] = ()
) -> Iterator[Source]:
    """Opens the files that a name, a pattern or a folder means, as one table.

    Parquet files are read where they are. CSV files are spooled into a hidden folder
    below `spool_parent`, which is removed in the end, also after an error; what killed
    runs have left there is removed in the beginning.

    Args:
      pattern: See `find_files`.
      spool_parent: Folder with room for the CSV files.
      text_columns: Columns of CSV files to read as text.

    Raises:
      DataError: The files cannot be read as one table, or there is no room.
    """
    paths = find_files(pattern)
    are_parquet = list(map(is_parquet, paths))
    if all(are_parquet):
        yield open_source(paths)
        return
    if any(are_parquet):
        csv, parquet = paths[are_parquet.index(False)], paths[are_parquet.index(True)]
        raise DataError(
            f"{pattern}: CSV files, such as {csv}, and Parquet files, such as {parquet}, "
            "cannot be read as one table; name one kind"
        )
    with scratch_folder(spool_parent) as folder:
        spooled = spool_csv(paths, folder, text_columns)
        source = open_source(spooled.paths, paths)
        # Parquet keeps no seconds: moments would come back in milliseconds.
        yield source._replace(schema=spooled.schema)


def spool_csv(
    paths: Sequence[Path], folder: Path, text_columns: Collection[str] = ()
) -> Spooled:
    """Writes a Parquet file for each CSV file, in memory that does not grow with them.

    Types and values are those that `read_table` would read if the files were one; texts
    are those of the file. A column's type is that of the values so far, until one comes
    that does not fit: then types are widened, and all begins anew. It begins anew only
    after a look at as many blocks again, so that the work stays a few times the least.

    Args:
      paths: The CSV files; the order of their columns may differ.
      folder: Where to write.
      text_columns: Columns to read as text whatever their values look like.

    Raises:
      DataError: A file cannot be read, its columns are not those of the first, or the
        folder cannot be written to. Nothing that was written stays.
    """
    files = [open_csv(path) for path in paths]
    for file in files:
        names = files[0].header.names
        check_names(file.path, file.header.names, names, paths[0])
    types: Types = {n: pa.string() if n in text_columns else pa.null() for n in names}
    outs = [folder / f"{i}.parquet" for i in range(len(files))]
    try:
        while (wider := _write_all(files, outs, types)) != types:
            types = wider
    except BaseException:
        for out in outs:
            with contextlib.suppress(OSError):
                out.unlink(missing_ok=True)
        raise
    return Spooled(outs, pa.schema(types))


def _write_all(files: Sequence[CsvFile], outs: Sequence[Path], types: Types) -> Types:
    """Writes the files if the types are wide enough.

    Returns:
      The types; or, if a value does not fit, wider ones, for as many blocks again.
    """
    schema, n_blocks, n_wanted = pa.schema(types), 0, 0
    for file, out in zip(files, outs, strict=True):
        n_before = 0
        with _Writer(out, schema) as writer:
            for text in take_turns([read_texts(file)], 1):
                if n_wanted and n_blocks >= n_wanted:
                    return types
                n_blocks += 1
                block = Block(file, text, n_before)
                table = _fit(block, types)
                if table is None:
                    types = _widen(block, types)
                    n_wanted = n_wanted or max(_FEWEST_BLOCKS, 2 * n_blocks)
                    table = parse(block, types)
                elif not n_wanted:
                    writer.write(table)
                n_before += table.num_rows
    return types


def _fit(
    block: Block, types: Types, only: Collection[str] | None = None
) -> pa.Table | None:
    """The block's table, or None where a value is not of its column's type."""
    try:
        return parse(block, types, only)
    except pa.ArrowException:
        return None


def _widen(block: Block, types: Types) -> Types:
    """Types that what came before may have, and this block has."""
    fixed = {name: kind for name, kind in types.items() if kind == _ORDER[-1]}
    try:
        found = parse(block, fixed).schema
    except pa.ArrowException as error:
        raise explain(block, error) from error
    for field in found:
        if pa.types.is_binary(field.type):
            raise explain(block, ValueError(f"column {field.name!r} is not UTF-8"))
    wider = {
        name: max(kind, found.field(name).type, key=_place) for name, kind in types.items()
    }
    if _fit(block, wider) is None:
        for name in wider:
            while _fit(block, wider, [name]) is None:
                wider[name] = _ORDER[_place(wider[name]) + 1]
    return wider


def _place(kind: pa.DataType) -> int:
    """A type's place in the order; one that is not there counts as text."""
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER) - 1


class _Writer:
    """Writes a Parquet file with a row group for each slice."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self.n_rows = count_slice_rows(len(schema))

    def __enter__(self) -> "_Writer":
        self.held = self.schema.empty_table()
        with self._told():
            # A dictionary of numbers, few of them alike, only costs time.
            texts = [field.name for field in self.schema if field.type == pa.string()]
            self.parquet = pyarrow.parquet.ParquetWriter(
                self.path, self.schema, use_dictionary=texts
            )
        return self

    def __exit__(self, error: object, *_: object) -> None:
        with self._told():
            try:
                if error is None and self.held.num_rows:
                    self.parquet.write_table(self.held)
            finally:
                self.parquet.close()

    def write(self, table: pa.Table) -> None:
        self.held = pa.concat_tables([self.held, table.select(self.schema.names)])
        with self._told():
            while self.held.num_rows >= self.n_rows:
                self.parquet.write_table(self.held.slice(0, self.n_rows))
                self.held = self.held.slice(self.n_rows)
            if self.held.nbytes > _GROUP_BYTES:
                self.parquet.write_table(self.held)
                self.held = self.held.slice(0, 0)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.path.parent}: CSV files are kept there as Parquet during the run, "
                f"and it cannot be written to: {one_line(error)}"
            ) from error
