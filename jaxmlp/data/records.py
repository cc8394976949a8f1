"""Where the records of a CSV file begin and end, and what its header says.

A line break within quotes ends no record. As in pyarrow, a quote counts only where a field
begins with it: `5" pipe` holds none.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

_BOM = b"\xef\xbb\xbf"
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'
_MARKS = ",;\t|"
_CLOSING = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')


class Header(NamedTuple):
    """The first record of a CSV file.

    Attributes:
      delimiter: What parts its fields.
      names: The columns' names, without the blanks around them.
      raw_names: The names as they stand in the file.
      length: Bytes up to the next record.
    """

    delimiter: str
    names: list[str]
    raw_names: list[str]
    length: int


def read_header(text: bytes) -> Header:
    """Reads the header from the beginning of a file.

    "age, income" names the column "income", not " income".

    Raises:
      ArrowInvalid, UnicodeDecodeError: There is none.
    """
    body = text.removeprefix(_BOM).lstrip(b"\r\n")
    start = len(text) - len(body)
    delimiter = survey_header(body).delimiter
    ends = record_ends(body, delimiter)
    length = start + int(ends[0]) if len(ends) else len(text)
    record = text[start:length].rstrip(b"\r\n") + b"\n"
    if b"\0" in record:
        raise pa.ArrowInvalid("its header holds zero bytes; it is no text")
    table = pyarrow.csv.read_csv(
        pa.BufferReader(record),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=len(record) + 1),
        parse_options=parse_options(delimiter),
    )
    raw_names = table.column_names
    return Header(delimiter, [name.strip() for name in raw_names], raw_names, length)


def parse_options(delimiter: str) -> pyarrow.csv.ParseOptions:
    """How pyarrow is to take the text apart."""
    return pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)


class HeaderSurvey(NamedTuple):
    """What a first look at a header tells.

    Attributes:
      delimiter: Comma, semicolon, tab or bar, whichever the header holds most of.
      n_columns: Columns that it parts.
      is_whole: Whether the header ends within the text.
    """

    delimiter: str
    n_columns: int
    is_whole: bool


def survey_header(text: bytes) -> HeaderSurvey:
    """Looks at the header at the beginning of a text, without much memory."""
    # A letter for each quoted part, which may hold delimiters and line breaks.
    unquoted = re.sub(rb'"[^"]*"', b"q", text)
    lines = [line for line in unquoted.splitlines() if line.strip()]
    line = lines[0] if lines else b""
    delimiter = max(_MARKS, key=lambda mark: line.count(mark.encode()))
    return HeaderSurvey(delimiter, 1 + line.count(delimiter.encode()), len(lines) > 1)


def record_ends(text: bytes, delimiter: str) -> NDArray[np.int64]:
    """Places just behind the line breaks that end a record.

    Args:
      text: Part of a file that begins with a record.
      delimiter: What parts its fields.
    """
    data = np.frombuffer(text, np.uint8)
    breaks = np.flatnonzero((data == _NEWLINE) | (data == _RETURN))
    quotes = np.flatnonzero(data == _QUOTE)
    if not _all_count(data, quotes, delimiter):
        quotes = np.array(list(_pairs(text, delimiter)), np.int64).ravel()
    ends: NDArray[np.int64] = breaks[np.searchsorted(quotes, breaks) % 2 == 0] + 1
    return ends


def _all_count(data: NDArray[np.uint8], quotes: NDArray[np.int64], delimiter: str) -> bool:
    """Whether each second quote opens a field, or is the second of two that mean one.

    Then text lies within quotes where the number of quotes before it is odd.
    """
    opening = quotes[::2]
    before = data[opening[opening > 0] - 1]
    return bool(np.isin(before, [ord(delimiter), _NEWLINE, _RETURN, _QUOTE]).all())


def _pairs(text: bytes, delimiter: str) -> Iterator[tuple[int, int]]:
    """Places of the quotes that open and close fields, one after the other."""
    opening = re.compile(rb'(?<![^%b\r\n])"' % re.escape(delimiter.encode()))
    start = 0
    while found := opening.search(text, start):
        closed = _CLOSING.match(text, found.end())
        start = closed.end() if closed else len(text)
        yield found.start(), start - 1 if closed else len(text)
