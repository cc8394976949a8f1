"""The `jaxmlp` command."""

import io
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import jax
import pyarrow as pa
import typer
from rich.console import Console

from jaxmlp.data.errors import DataError, printable
from jaxmlp.data.labels import as_text
from jaxmlp.data.tables import check_writable_name, write_table
from jaxmlp.interfaces.commands.analysis import audit, explain
from jaxmlp.interfaces.commands.arguments import (
    AnalysisL2Option,
    DataArgument,
    JsonOption,
    ModelArgument,
    QuietOption,
    StreamOption,
    about,
    check_one_file,
    read_for,
)
from jaxmlp.interfaces.commands.cache import keep_compiled_programs
from jaxmlp.interfaces.commands.console import (
    metrics_table,
    print_gradients,
)
from jaxmlp.interfaces.commands.export import export
from jaxmlp.interfaces.commands.peers import say_farewell
from jaxmlp.interfaces.commands.pictures import check_picture_name, draw_norms
from jaxmlp.interfaces.commands.playground import playground
from jaxmlp.interfaces.commands.processes import leave
from jaxmlp.interfaces.commands.report import report
from jaxmlp.interfaces.commands.signals import Ended, handling
from jaxmlp.interfaces.commands.stream import evaluate_stream, predict_stream
from jaxmlp.interfaces.commands.train import train
from jaxmlp.interfaces.inspection.gradients import row_gradients
from jaxmlp.interfaces.inspection.origin import find_training_part
from jaxmlp.interfaces.inspection.uncertainty import predict_with_std
from jaxmlp.interfaces.metrics import evaluate_logits
from jaxmlp.interfaces.model import load_model
from jaxmlp.training import CheckpointError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"jaxmlp {version('jaxmlp')}")
        raise typer.Exit


@app.callback()
def jaxmlp(
    _: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version),
    ] = False,
) -> None:
    """Trains, applies and tests feed-forward networks for binary classification."""


app.command()(train)


@app.command()
def predict(
    model: ModelArgument,
    data: DataArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV or Parquet file; by default CSV on the screen."
        ),
    ] = None,
    with_std: Annotated[
        bool,
        typer.Option(
            "--std",
            help="Add the columns std, of the logit, and averaged, the probability "
            "averaged over it; needs --train.",
        ),
    ] = False,
    train: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="The table that MODEL was trained on."),
    ] = None,
    l2: AnalysisL2Option = None,
    stream: StreamOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Predict every row of a table, in its order.

    Writes the columns probability (of the positive class) and predicted (the positive label
    from the model's threshold on, 1/2 unless chosen in training). A category never seen in
    training, or a missing value, is no error.

    With --std, how sure the model is: the standard deviation of the logit in the linearised
    Laplace approximation, in an ensemble also between its networks.

    With --stream, tables larger than memory: DATA is then one file or many, one after the
    other, and what --out names is written as they are read.

    Example: jaxmlp predict churn-model new.csv --out predictions.csv
    """
    given = {"--std": with_std, "--train": train is not None, "--l2": l2 is not None}
    for flag, is_given in given.items():
        if stream and is_given:
            raise typer.BadParameter("it does not go with --stream", param_hint=flag)
    if with_std != (train is not None):
        raise typer.BadParameter("--std and --train go together", param_hint="--std")
    if l2 is not None and not with_std:
        raise typer.BadParameter("it goes with --std", param_hint="--l2")
    if out is not None:
        check_writable_name(out)
        for name, read in {"DATA": data, "the table of --train": train}.items():
            if read is not None and out.resolve() == read.resolve():
                raise typer.BadParameter(f"it is {name} itself", param_hint="--out")
    if stream:
        predict_stream(load_model(model), data, out, as_json=as_json, quiet=quiet)
        return
    check_one_file(data)
    loaded = load_model(model)
    table = read_for(loaded, data)
    with about(data):
        probs, labels = loaded.predict(table)
    columns = {"probability": probs, "predicted": labels}
    if train is not None:
        jax.config.update("jax_enable_x64", True)  # matrices are inverted
        training = read_for(loaded, train)
        with about(train):
            part = find_training_part(loaded, training)
            columns |= predict_with_std(loaded, part, table, l2)._asdict()
    predictions = pa.table(columns)
    if out is not None:
        write_table(predictions, out)
    if as_json:
        listed = {} if out is not None else predictions.to_pydict()
        print(json.dumps({"rows": len(labels), "out": out and str(out), **listed}))
    elif out is None:
        if sys.stdout.isatty() and isinstance(loaded.classes.positive, str):
            # A terminal would obey what it is shown.
            shown = pa.array([printable(str(label)) for label in labels])
            predictions = predictions.set_column(1, "predicted", shown)
        pa.csv.write_csv(predictions, sys.stdout.buffer)
    elif not quiet:
        print(f"{len(labels)} predictions in {printable(str(out))}")


@app.command()
def evaluate(
    model: ModelArgument,
    data: DataArgument,
    stream: StreamOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a model on a table that has the target column.

    Example: jaxmlp evaluate churn-model holdout.csv --json
    """
    if stream:
        evaluate_stream(load_model(model), data, as_json=as_json, quiet=quiet)
        return
    check_one_file(data)
    loaded = load_model(model)
    table = read_for(loaded, data)
    with about(data):
        y = loaded.labels(table)
        metrics = evaluate_logits(loaded.logits(table), y, loaded.threshold_logit)
    if as_json:
        positive = loaded.classes.positive
        print(json.dumps({"rows": len(y), "positive": positive, **metrics}))
    elif not quiet:
        Console().print(metrics_table({str(data): metrics}))


@app.command()
def gradients(
    model: ModelArgument,
    data: DataArgument,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV or Parquet file for the rows' numbers."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Picture (.svg, .png, .pdf) of the norms by class."
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Look at the gradient of the loss on every row of a table with the target.

    Writes for each row, in the table's order: norm, the length of the gradient of the
    row's log loss, without class weights and penalty; loss; el2n, |probability - label|,
    and grand, the gradient's norm, both as means over the members of an ensemble; and the
    norm of each layer's part. Prints quantiles of the norms and the gradient noise scale,
    in rows: mini-batches far smaller are mostly noise. Take the scores of a trained model:
    at initialisation they do not rank rows reliably.

    Example: jaxmlp gradients churn-model churn.csv --out gradients.csv --plot norms.svg
    """
    if out is not None:
        check_writable_name(out)
    if plot is not None:
        check_picture_name(plot)
    for flag, path in {"--out": out, "--plot": plot}.items():
        if path is not None and path.resolve() == data.resolve():
            raise typer.BadParameter("it is DATA itself", param_hint=flag)
    loaded = load_model(model)
    table = read_for(loaded, data)
    with about(data):
        found = row_gradients(loaded, table)
    if out is not None:
        write_table(found.table, out)
    if plot is not None:
        names = (as_text(loaded.classes.negative), as_text(loaded.classes.positive))
        draw_norms(found.table["norm"].to_numpy(), found.y, names, plot)
    if as_json:
        files = {"out": out and str(out), "plot": plot and str(plot)}
        print(json.dumps({**found.summary, **files}))
    elif not quiet:
        print_gradients(found.summary)


app.command()(audit)
app.command()(explain)
app.command()(export)
app.command()(report)
app.command()(playground)


def run() -> None:
    """Runs the command; every mistake of the user's ends in one line and exit code 2."""
    keep_compiled_programs()
    for stream in (sys.stdout, sys.stderr):  # a terminal without η still shows the rest
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with handling():
            code = app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except typer.TyperException as error:
        # Its validator says so before a sentence that says it all.
        code = _fail(error.format_message().replace(": Value error, ", ": "))
    except (DataError, CheckpointError, OSError, UnicodeError) as error:
        code = _fail(str(error))
    except Ended as ended:
        code = ended.code
        print(f"jaxmlp: {ended.message}", file=sys.stderr)
        if ended.is_agreed:  # the first process may still be saving
            say_farewell()
    leave(code)


def _fail(message: str) -> int:
    print(f"jaxmlp: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return 2
