"""The `jaxmlp` command."""

import io
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import pyarrow as pa
import typer
from rich.console import Console

from jaxmlp.core.params import InitMethod
from jaxmlp.data.bounds import read_bounds
from jaxmlp.data.builtin import breast_cancer_table
from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import as_text
from jaxmlp.data.tables import check_writable_name, read_table, write_table
from jaxmlp.interfaces.analysis_commands import audit, explain
from jaxmlp.interfaces.arguments import (
    AnalysisL2Option,
    DataArgument,
    JsonOption,
    ModelArgument,
    QuietOption,
    about,
    read_for,
)
from jaxmlp.interfaces.cache import keep_compiled_programs
from jaxmlp.interfaces.console import (
    metrics_table,
    print_gradients,
    print_notes,
    print_outcome,
    progress,
)
from jaxmlp.interfaces.export_command import export
from jaxmlp.interfaces.gradients import row_gradients
from jaxmlp.interfaces.metrics import evaluate_logits
from jaxmlp.interfaces.model import check_out, load_model, save_model
from jaxmlp.interfaces.options import (
    parse_hidden,
    parse_learning_rates,
    parse_penalties,
    parse_positive,
    parse_split,
)
from jaxmlp.interfaces.origin import find_training_part
from jaxmlp.interfaces.pictures import check_picture_name, draw_norms
from jaxmlp.interfaces.pipeline import train_on_table
from jaxmlp.interfaces.recipe import (
    PRIVATE_CLIP,
    PRIVATE_DEFAULTS,
    DtypeName,
    OptimizerName,
    Privacy,
    Recipe,
    ScheduleName,
    check_recipe,
)
from jaxmlp.interfaces.uncertainty import predict_with_std
from jaxmlp.training.validate import find_device

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


_INTERRUPTED = 130


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


@app.command()
def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="CSV or Parquet file, a row an example; without it, the breast-cancer "
            "table that scikit-learn ships.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COL", help="Column with the two labels.")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the model and its report.")
    ] = Path("jaxmlp-model"),
    positive: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE",
            help="Label whose probability is predicted; by default the greater one.",
        ),
    ] = None,
    split: Annotated[
        Any,
        typer.Option(
            parser=parse_split,
            metavar="T/V/S",
            help="Training, validation and test part in per cent, drawn with each "
            "label's share alike; 85/15/0 leaves no test part.",
        ),
    ] = "70/15/15",
    learning_rate: Annotated[
        Any,
        typer.Option(
            parser=parse_learning_rates,
            metavar="ETA,...",
            help="Step sizes η to try; the default depends on the optimiser.",
        ),
    ] = None,
    hidden: Annotated[
        Any,
        typer.Option(
            parser=parse_hidden,
            metavar="Q,...",
            help="Widths q of the hidden layer to try; 32x16 is two layers, 0 is none, "
            "logistic regression. By default 0,8,32.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            help="Passes through the training part at most; by default 200.",
        ),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            min=0,
            max=1_000_000,
            help="Stop a run after so many epochs without a lower validation loss; "
            "0 never stops early.",
        ),
    ] = 20,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Examples a step; 1 is SGD one by one. By default 32; L-BFGS takes all.",
        ),
    ] = None,
    optimizer: Annotated[
        OptimizerName | None, typer.Option(help="Update rule; by default sgd.")
    ] = None,
    schedule: Annotated[
        ScheduleName,
        typer.Option(help="Course of the step size: constant, or down to 0 by a cosine."),
    ] = "constant",
    clip_norm: Annotated[
        Any,
        typer.Option(
            parser=parse_positive,
            metavar="C",
            help="Greatest norm of a step's gradient; longer ones are scaled down.",
        ),
    ] = None,
    l2: Annotated[
        Any,
        typer.Option(
            parser=parse_penalties,
            metavar="LAMBDA,...",
            help="Strengths λ of the L2 penalty on the weights to try.",
        ),
    ] = "0",
    class_weight: Annotated[
        Literal["none", "balanced"],
        typer.Option(help="balanced gives both labels the same weight in the loss."),
    ] = "none",
    seeds: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="Starting weights to try for each combination."
        ),
    ] = 1,
    ensemble: Annotated[
        int,
        typer.Option(
            metavar="K",
            min=1,
            help="Average the probabilities of the K best networks of the search.",
        ),
    ] = 1,
    init: Annotated[
        InitMethod, typer.Option(help="Distribution of the starting weights.")
    ] = "he",
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**32 - 1, help="Of the split, the weights and the orders."
        ),
    ] = 0,
    device: Annotated[
        Literal["cpu", "gpu", "tpu"] | None,
        typer.Option(help="Where to train; by default the best that JAX finds."),
    ] = None,
    dtype: Annotated[
        DtypeName,
        typer.Option(help="Type to compute in; bfloat16 is for the matrix products alone."),
    ] = "float32",
    dp_epsilon: Annotated[
        Any,
        typer.Option(
            parser=parse_positive,
            metavar="EPS",
            help="Train with differential privacy (DP-SGD) within this ε: one network, by "
            "default without hidden layer, 20 epochs of adam with η = 0.01, and 3% of the "
            "training part a step.",
        ),
    ] = None,
    dp_delta: Annotated[
        float | None,
        typer.Option(metavar="DELTA", help="Its δ, well below 1/rows; by default 1e-5."),
    ] = None,
    dp_clip: Annotated[
        Any,
        typer.Option(
            parser=parse_positive,
            metavar="C",
            help="Norm to which each row's gradient is clipped; by default 3.",
        ),
    ] = None,
    dp_bounds: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON file of bounds known without the data, such as "
            '{"age": [17, 90], "job": ["clerk", "cook"]}: the preprocessing is then '
            "made from them, not learned from the rows.",
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train on a table: split it, choose step size and width, test once.

    The split is drawn first; centring, scaling and categories are learned on the training
    part alone. Every step size is tried with every width; the validation part chooses
    among them, and the epoch; the test part is used once, at the end. With --ensemble K,
    the probabilities of the K best networks are averaged.

    With --dp-epsilon, the training rows are protected by differential privacy: the noise is
    calibrated to the budget, and the report says what the guarantee covers and what not.

    Example: jaxmlp train churn.csv --target churned --positive yes --out churn-model
    """
    began = time.perf_counter()
    if target is None and data is not None:
        raise typer.BadParameter("needed with DATA", param_hint="--target")
    check_out(out)
    privacy = _privacy(dp_epsilon, dp_delta, dp_clip, dp_bounds)
    given = {
        "learning_rates": learning_rate,
        "hidden_sizes": hidden,
        "n_epochs": epochs,
        "optimizer": optimizer,
    }
    recipe = Recipe(
        target="target" if target is None else target,
        positive=positive,
        fractions=split,
        patience=patience or None,
        batch_size=batch_size,
        schedule=schedule,
        clip_norm=clip_norm,
        l2=l2,
        class_weight=None if class_weight == "none" else class_weight,
        seeds=seeds,
        ensemble=ensemble,
        init=init,
        seed=seed,
        device=device,
        dtype=dtype,
        privacy=privacy,
    )
    recipe = recipe._replace(
        **(PRIVATE_DEFAULTS if privacy else {})
        | {name: value for name, value in given.items() if value is not None}
    )
    check_recipe(recipe)
    _configure(device, dtype)
    table = breast_cancer_table() if data is None else read_table(data)
    with about(data), progress(quiet=quiet) as callback:
        outcome = train_on_table(table, recipe, callback, max(1, recipe.n_epochs // 50))
    report = outcome.report
    report["data"] = None if data is None else str(data)
    report["device"] = _device(device)
    report["versions"] = _versions()
    report["seconds"]["total"] = time.perf_counter() - began
    report["out"] = str(out)
    save_model(outcome.model, report, out)
    if as_json:
        print(json.dumps(report))
    elif not quiet:
        print_notes(report["notes"])
        print_outcome(outcome, str(out))


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
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Predict every row of a table, in its order.

    Writes the columns probability (of the positive class) and predicted (the more probable
    label). A category never seen in training, or a missing value, is no error.

    With --std, how sure the model is: the standard deviation of the logit in the linearised
    Laplace approximation, in an ensemble also between its networks.

    Example: jaxmlp predict churn-model new.csv --out predictions.csv
    """
    if with_std != (train is not None):
        raise typer.BadParameter("--std and --train go together", param_hint="--std")
    if l2 is not None and not with_std:
        raise typer.BadParameter("it goes with --std", param_hint="--l2")
    if out is not None:
        check_writable_name(out)
        for name, read in {"DATA": data, "the table of --train": train}.items():
            if read is not None and out.resolve() == read.resolve():
                raise typer.BadParameter(f"it is {name} itself", param_hint="--out")
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
        pa.csv.write_csv(predictions, sys.stdout.buffer)
    elif not quiet:
        print(f"{len(labels)} predictions in {out}")


@app.command()
def evaluate(
    model: ModelArgument,
    data: DataArgument,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a model on a table that has the target column.

    Example: jaxmlp evaluate churn-model holdout.csv --json
    """
    loaded = load_model(model)
    table = read_for(loaded, data)
    with about(data):
        y = loaded.labels(table)
        metrics = evaluate_logits(loaded.logits(table), y)
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


def _privacy(
    epsilon: float | None, delta: float | None, clip: float | None, bounds: Path | None
) -> Privacy | None:
    if epsilon is None:
        for flag, value in {"delta": delta, "clip": clip, "bounds": bounds}.items():
            if value is not None:
                raise typer.BadParameter(
                    "needs --dp-epsilon, the budget", param_hint=f"--dp-{flag}"
                )
        return None
    if bounds is not None:
        read_bounds(bounds)  # what is wrong with it is told before the table is read
    return Privacy(
        epsilon=epsilon,
        delta=1e-5 if delta is None else delta,
        max_norm=PRIVATE_CLIP if clip is None else clip,
        bounds=None if bounds is None else str(bounds),
    )


def run() -> None:
    """Runs the command; every mistake of the user's ends in one line and exit code 2."""
    keep_compiled_programs()
    for stream in (sys.stdout, sys.stderr):  # a terminal without η still shows the rest
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except typer.TyperException as error:
        code = _fail(error.format_message())
    except (DataError, OSError, UnicodeError) as error:
        code = _fail(str(error))
    if code == _INTERRUPTED:  # typer's code for Ctrl-C
        print("jaxmlp: interrupted; nothing was written", file=sys.stderr)
    sys.exit(code)


def _fail(message: str) -> int:
    print(f"jaxmlp: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _configure(device: str | None, dtype: DtypeName) -> None:
    """Sets JAX up for the whole command; a library would leave this to its user."""
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")  # an idle accelerator stays untouched
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    try:
        find_device(device)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--device") from error


def _device(wanted: str | None) -> str:
    device = jax.devices(wanted)[0]
    return f"{device.platform} ({device.device_kind})"


def _versions() -> dict[str, str]:
    names = ("jaxmlp", "jax", "jaxlib", "optax", "numpy", "pyarrow", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
