"""Prediction and evaluation of tables that no memory holds."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import typer
from numpy.typing import NDArray
from rich.console import Console
from scipy.special import expit

from jaxmlp.data.columns import decode
from jaxmlp.data.labels import find_column
from jaxmlp.data.stream.lanes import take_turns
from jaxmlp.data.stream.source import Source, find_files, read_slices
from jaxmlp.data.stream.spool import opened
from jaxmlp.data.tables import whole_file
from jaxmlp.interfaces.commands.arguments import about, text_columns
from jaxmlp.interfaces.commands.console import metrics_table
from jaxmlp.interfaces.metrics import MetricSums
from jaxmlp.interfaces.model import Model
from jaxmlp.interfaces.prediction import predict_parts

WRITE_ROWS = 2**20
"""Predictions written together: as many as pyarrow would put into one row group."""

Scored = tuple[NDArray[np.floating], NDArray[np.int32]]
"""Logits and labels, each `(n,)`; without labels, zeros."""


def predict_stream(
    model: Model, data: Path, out: Path | None, *, as_json: bool, quiet: bool
) -> None:
    """`jaxmlp predict --stream`."""
    if as_json and out is None:
        raise typer.BadParameter("with --stream it needs --out", param_hint="--json")
    if out is not None and out.resolve() in map(Path.resolve, find_files(data)):
        raise typer.BadParameter("it is one of DATA's files", param_hint="--out")
    parent = Path(tempfile.gettempdir()) if out is None else out.absolute().parent
    with opened(data, parent, text_columns(model)) as source:
        _check_columns(model, source, data, with_labels=False)
        n_rows = source.n_rows
        with _writer(model, out) as writer:
            for table in _predictions(model, source):
                writer.write_table(table)
    if as_json:
        print(json.dumps({"rows": n_rows, "out": str(out)}))
    elif out is not None and not quiet:
        print(f"{n_rows} predictions in {out}")


def evaluate_stream(model: Model, data: Path, *, as_json: bool, quiet: bool) -> None:
    """`jaxmlp evaluate --stream`."""
    sums = MetricSums(model.threshold_logit)
    parent = Path(tempfile.gettempdir())
    with opened(data, parent, text_columns(model)) as source:
        _check_columns(model, source, data, with_labels=True)
        for logits, y in _scored(model, source, with_labels=True):
            sums.add(logits, y)
    metrics, error = sums.result(), sums.auc_error
    if as_json:
        head = {"rows": sums.n_rows, "positive": model.classes.positive}
        print(json.dumps({**head, **metrics, "roc_auc_error": error}))
    elif not quiet:
        console = Console(highlight=False)
        within = "" if error is None else f"; ROC AUC to within {error:.1g}"
        console.print(f"{sums.n_rows} rows{within}")
        console.print(metrics_table({str(data): metrics}))


def _check_columns(model: Model, source: Source, data: Path, *, with_labels: bool) -> None:
    with about(data):
        nothing = source.schema.empty_table()
        decode(nothing, model.preprocessor.kinds)
        if with_labels:
            find_column(nothing, model.target, "target")


def _scored(model: Model, source: Source, *, with_labels: bool) -> Iterator[Scored]:
    """Scores all rows in order; the next slice is read and encoded on a thread."""
    held = [np.empty(0, np.int32)]

    def features() -> Iterator[NDArray[np.float32]]:
        lane = _read(model, source, with_labels=with_labels)
        for X, y in take_turns([lane], 1):
            held.append(y)
            yield X

    for logits in predict_parts(model.networks, features(), source.n_rows):
        labels = np.concatenate(held)
        yield logits, labels[: len(logits)]
        held[:] = [labels[len(logits) :]]


def _read(
    model: Model, source: Source, *, with_labels: bool
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
    """The networks' input and the labels, slice by slice."""
    columns = [*model.preprocessor.kinds, *([model.target] if with_labels else [])]
    for group in source.groups:
        first_row = group.first_row
        for table in read_slices(source, group, columns):
            with about(group.file.origin):
                X = model.features(table, first_row)
                y = np.zeros(len(X), np.int32)
                if with_labels:
                    y = model.labels(table, first_row)
            yield X, y
            first_row += len(X)


def _predictions(model: Model, source: Source) -> Iterator[pa.Table]:
    held: list[NDArray[np.floating]] = []
    for logits, _ in _scored(model, source, with_labels=False):
        held.append(logits)
        if sum(map(len, held)) >= WRITE_ROWS:
            rows = np.concatenate(held)
            yield _table(model, rows[:WRITE_ROWS])
            held = [rows[WRITE_ROWS:]]
    yield _table(model, np.concatenate(held))


def _table(model: Model, logits: NDArray[np.floating]) -> pa.Table:
    is_positive = pa.array((logits >= model.threshold_logit).astype(np.int8))
    labels = pa.array(list(model.classes)).take(is_positive)
    return pa.table({"probability": expit(logits), "predicted": labels})


@contextlib.contextmanager
def _writer(model: Model, out: Path | None) -> Iterator[Any]:
    """What writes tables of predictions, to a file only when all is written."""
    schema = _table(model, np.empty(0, model.networks[0].w.dtype)).schema
    if out is None:
        with pyarrow.csv.CSVWriter(sys.stdout.buffer, schema) as writer:
            yield writer
        return
    is_parquet = out.suffix.lower() == ".parquet"
    make = pyarrow.parquet.ParquetWriter if is_parquet else pyarrow.csv.CSVWriter
    with whole_file(out) as unfinished, make(unfinished, schema) as writer:
        yield writer
