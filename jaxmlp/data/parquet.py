"""Parquet files, whose few bytes can stand for very many."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from jaxmlp.data.errors import DataError
from jaxmlp.data.files import TOO_EXPANDED, most_expanded


def parse_parquet(content: pa.Buffer) -> pa.Table:
    """Reads the content of a Parquet file, as far as a network can use it.

    Returns:
      The table. Lists and structs are not read: they are missing in all rows.

    Raises:
      DataError: The table would be too large for the file; see `most_expanded`.
      OSError, UnicodeDecodeError, pa.ArrowException: It is no Parquet file.

    Guarantees:
      Sizes that the file declares are checked before anything is read, and those of texts
      before they are written out.
    """
    most = most_expanded(content.size)
    opened = pyarrow.parquet.ParquetFile(pa.BufferReader(content))
    schema, metadata = opened.schema_arrow, opened.metadata
    _check(_declared(schema, metadata), most)
    flat = [field.name for field in schema if not _is_nested(field.type)]
    # One text can stand in many rows: as a dictionary's, it needs the room of one.
    texts = [field.name for field in schema if _is_text(field.type)]
    file = pyarrow.parquet.ParquetFile(
        pa.BufferReader(content), metadata=metadata, read_dictionary=texts
    )
    table = file.read(columns=flat)
    if table.column_names != flat:  # "a.b", and "b" of a struct "a"
        raise DataError("Parquet does not tell the names of two columns apart; rename one")
    table.validate(full=True)  # that texts are UTF-8
    _check(table.nbytes + sum(map(_text_bytes, table.columns)), most)
    found = iter(table.columns)
    columns = [
        pa.nulls(table.num_rows, field.type)
        if _is_nested(field.type)
        else _written_out(next(found), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, names=schema.names)


def _written_out(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if _is_text(kind) else column


def _check(n_bytes: int, most: int) -> None:
    if n_bytes > most:
        raise DataError(TOO_EXPANDED)


def _declared(schema: pa.Schema, metadata: pyarrow.parquet.FileMetaData) -> int:
    """Bytes that the table needs at least, and its pages, by what the file says."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    n_rows = sum(abs(group.num_rows) for group in groups)
    pages = sum(abs(group.total_byte_size) for group in groups)
    return max(pages, n_rows * sum(_width(field.type) for field in schema) // 8)


def _width(kind: pa.DataType) -> int:
    """Bits that a value of a type needs at least."""
    try:
        return kind.bit_width
    except ValueError:
        return 32


def _is_nested(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return pa.types.is_nested(kind)


def _is_text(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
        )
    )


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of a column of texts once each row has its own."""
    if not (pa.types.is_dictionary(column.type) and _is_text(column.type.value_type)):
        return 0
    return sum(
        pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
        for chunk in column.chunks
    )
