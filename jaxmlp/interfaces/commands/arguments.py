"""What several commands take, and how they read it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer

from jaxmlp.data.errors import DataError
from jaxmlp.data.stream.source import is_pattern
from jaxmlp.data.tables import read_table
from jaxmlp.interfaces.model import Model
from jaxmlp.interfaces.options import parse_positive

DataArgument = Annotated[
    Path, typer.Argument(metavar="DATA", help="CSV or Parquet file, a row an example.")
]
ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Folder that jaxmlp train wrote.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else.")
]
StreamOption = Annotated[
    bool,
    typer.Option(
        "--stream",
        help="Read DATA slice by slice, however large; it may be a pattern, such as "
        "'part-*.csv', or a folder.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]

AnalysisL2Option = Annotated[
    Any,
    typer.Option(
        "--l2",
        parser=parse_positive,
        metavar="LAMBDA",
        help="Strength of the penalty in the analysis; by default that of the training, "
        "or, where that was 0, the one with the highest marginal likelihood.",
    ),
]


@contextmanager
def about(data: Path | None) -> Iterator[None]:
    """Puts the file's name before what is wrong with its content."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{data}: {error}" if data else str(error)) from error


def read_for(model: Model, data: Path) -> pa.Table:
    """Reads a table with the types that the model knows."""
    return read_table(data, text_columns=text_columns(model))


def text_columns(model: Model) -> list[str]:
    """The columns whose values in a CSV file are texts to the model."""
    kinds = model.preprocessor.kinds
    texts = [name for name, kind in kinds.items() if kind == "categorical"]
    if isinstance(model.classes.positive, str):
        texts.append(model.target)
    return texts


def check_one_file(data: Path) -> None:
    """Refuses a pattern or a folder where `--stream` was not given."""
    if is_pattern(data):
        what = "is a folder" if data.is_dir() else "is a pattern, or no such file"
        raise DataError(f"{data}: {what}; --stream reads several files as one table")
