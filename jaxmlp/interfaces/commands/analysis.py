"""The commands that ask which rows made a model."""

import json
from pathlib import Path
from typing import Annotated

import jax
import pyarrow as pa
import typer

from jaxmlp.data.tables import check_writable_name, read_table, write_table
from jaxmlp.interfaces.commands.arguments import (
    AnalysisL2Option,
    DataArgument,
    JsonOption,
    ModelArgument,
    QuietOption,
    about,
    read_for,
)
from jaxmlp.interfaces.commands.console import print_audit, print_explanation, print_notes
from jaxmlp.interfaces.inspection.audit import audit_table, audit_with_model
from jaxmlp.interfaces.inspection.explain import explain_row
from jaxmlp.interfaces.inspection.origin import find_training_part
from jaxmlp.interfaces.model import load_model

TrainOption = Annotated[
    Path, typer.Option(metavar="DATA", help="The table that MODEL was trained on.")
]


def audit(
    data: DataArgument,
    target: Annotated[
        str | None, typer.Option(metavar="COL", help="Column with the two labels.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV or Parquet file for the rows.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Judge by this model, trained on DATA, and its leave-one-out logits, "
            "instead of training networks that find more.",
        ),
    ] = None,
    l2: AnalysisL2Option = None,
    all_rows: Annotated[
        bool, typer.Option("--all", help="Write every row, not only the suspected ones.")
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of folds, weights and orders.")
    ] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find rows whose label the rest of the table contradicts.

    Writes, most suspicious first: row (from 0, in the file's order), given, suggested,
    probability_wrong and reason. Suspected are labels more probably wrong than right, and
    rows that differ from others in nothing but the label. Networks trained on other rows
    judge each row; the probability assumes that wrong labels are as frequent in both
    classes.

    Example: jaxmlp audit churn.csv --target churned --out suspects.csv
    """
    if out is not None:
        check_writable_name(out)
        if out.resolve() == data.resolve():
            raise typer.BadParameter("it is DATA itself", param_hint="--out")
    if (target is None) == (model is None):
        raise typer.BadParameter(
            "give the target column, or --model, which knows it", param_hint="--target"
        )
    if model is None and l2 is not None:
        raise typer.BadParameter("it goes with --model", param_hint="--l2")
    if model is None:
        assert target is not None
        table = read_table(data)
        with about(data):
            found = audit_table(table, target, seed)
    else:
        jax.config.update("jax_enable_x64", True)  # matrices are inverted
        loaded = load_model(model)
        table = read_for(loaded, data)
        with about(data):
            found = audit_with_model(loaded, table, l2)
    rows = found.table if all_rows else found.table.filter(pa.array(found.is_shown))
    if out is not None:
        write_table(rows, out)
    if as_json:
        listed = {} if out is not None else {"labels": rows.to_pylist()}
        print(json.dumps({**found.summary, "out": out and str(out), **listed}))
    elif not quiet:
        print_notes(found.summary["notes"])
        print_audit(found.summary, rows, None if out is None else str(out))


def explain(
    model: ModelArgument,
    train: TrainOption,
    row: Annotated[
        int,
        typer.Option(min=0, metavar="I", help="Row whose prediction to explain, from 0."),
    ],
    query: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Table with that row; by default DATA itself."),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, metavar="K", help="Rows to show for each direction.")
    ] = 5,
    l2: AnalysisL2Option = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the training rows that pushed a prediction up and down.

    The push of a row is the change of the predicted logit (and probability) that its
    removal from the training part would undo, in the damped Gauss-Newton model at the
    network's parameters: one Newton step, not a retraining. Of an ensemble, logits and
    pushes are the means of its networks'.

    Example: jaxmlp explain churn-model --train churn.csv --row 12 --query new.csv
    """
    jax.config.update("jax_enable_x64", True)  # matrices are inverted
    loaded = load_model(model)
    table = read_for(loaded, train)
    queries = None if query is None else read_for(loaded, query)
    with about(train):
        part = find_training_part(loaded, table)
    with about(query or train):
        found = explain_row(loaded, part, table, queries, row, n_top=top, l2=l2)
    if as_json:
        print(json.dumps(found))
    elif not quiet:
        print_explanation(found)
