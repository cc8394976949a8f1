"""The command that trains."""

import json
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import pyarrow as pa
import typer
from jax.sharding import Mesh

from jaxmlp.core.params import InitMethod
from jaxmlp.data.builtin import breast_cancer_table
from jaxmlp.data.stream.spool import opened
from jaxmlp.data.tables import read_table
from jaxmlp.interfaces.commands.arguments import JsonOption, QuietOption, about
from jaxmlp.interfaces.commands.console import (
    print_columns,
    print_notes,
    print_outcome,
    progress,
)
from jaxmlp.interfaces.commands.processes import join_processes, make_mesh
from jaxmlp.interfaces.commands.recipes import (
    checkpoints_of,
    columns_of,
    ensemble_recipe,
    lecture_recipe,
    privacy_of,
    rule_of,
)
from jaxmlp.interfaces.commands.signals import (
    end_well,
    naming_checkpoints,
    stopping,
)
from jaxmlp.interfaces.model import check_out, save_model
from jaxmlp.interfaces.options import (
    parse_column,
    parse_hidden,
    parse_learning_rates,
    parse_penalties,
    parse_positive,
    parse_split,
    parse_threshold,
)
from jaxmlp.interfaces.recipes.pipeline import Outcome, Watch, train_on_table
from jaxmlp.interfaces.recipes.recipe import (
    DtypeName,
    LectureRecipe,
    OptimizerName,
    Recipe,
    ScheduleName,
)
from jaxmlp.interfaces.recipes.stream import train_on_stream
from jaxmlp.interfaces.recipes.threshold import Rule
from jaxmlp.interfaces.report import evaluate, render_report
from jaxmlp.training import Checkpoints
from jaxmlp.training.validate import find_device

_LECTURE = "With --recipe lecture."


def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="CSV or Parquet file, a row an example; with --stream also a pattern in "
            "quotes, such as 'part-*.parquet', or a folder. Without it, the breast-cancer "
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
            "label's share alike (with --stream, by a hash of each row); 85/15/0 leaves no "
            "test part.",
        ),
    ] = "70/15/15",
    recipe: Annotated[
        Literal["ensemble", "lecture"] | None,
        typer.Option(
            help="ensemble: the default, made for quality, networks of a cross-validation "
            "whose probabilities are averaged. lecture: the plain one, a search over step "
            "sizes and widths on the validation part."
        ),
    ] = None,
    column: Annotated[
        list[Any] | None,
        typer.Option(
            parser=parse_column,
            metavar="NAME=KIND",
            help="What a column is: numeric, categorical, date, or drop to leave it out; "
            "may be given several times.",
        ),
    ] = None,
    threshold: Annotated[
        Any,
        typer.Option(
            parser=parse_threshold,
            metavar="T",
            help="Probability from which on the positive label is predicted, 0.5 unless "
            "given; or what it shall be best for on rows that the networks have not seen: "
            "accuracy, balanced-accuracy, f1.",
        ),
    ] = None,
    cost_fp: Annotated[
        Any,
        typer.Option(
            parser=parse_positive,
            metavar="COST",
            help="Cost of predicting the positive label wrongly; with --cost-fn, the "
            "threshold is the cheapest one.",
        ),
    ] = None,
    cost_fn: Annotated[
        Any,
        typer.Option(
            parser=parse_positive,
            metavar="COST",
            help="Cost of missing the positive label.",
        ),
    ] = None,
    budget: Annotated[
        Any,
        typer.Option(
            parser=parse_positive,
            metavar="SECONDS",
            help="End training after so many seconds with what there is by then; only "
            "then does the result depend on the machine's speed.",
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Read DATA slice by slice, for tables larger than memory: the lecture's "
            "recipe on one pass an epoch, by default one network of 256 units, 5 epochs of "
            "adam with η = 0.001 that falls by a cosine. A row's part follows from its "
            "content and --seed.",
        ),
    ] = False,
    readers: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Threads that read, with --stream; changes no result."
        ),
    ] = 2,
    devices: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Devices that share out the work, 0 for all: the rows of each mini-batch "
            "with --stream, the networks with --recipe lecture. By default 1.",
        ),
    ] = None,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed",
            help="Join the processes that the cluster has started: SLURM, Open MPI, "
            "Kubernetes, Cloud TPU. All start the same command; the first one writes.",
        ),
    ] = False,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Address of process 0, where no cluster tells it."
        ),
    ] = None,
    num_processes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="With --coordinator.")
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(min=0, metavar="I", help="With --coordinator, from 0.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep there what the run needs to go on after an end that nobody planned; "
            "SIGINT and SIGTERM save and leave. With --stream.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Seconds between two checkpoints, by default 600.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the latest checkpoint in --checkpoint, and begin where there "
            "is none: the result is the same to the bit.",
        ),
    ] = False,
    learning_rate: Annotated[
        Any,
        typer.Option(
            parser=parse_learning_rates,
            metavar="ETA,...",
            help=f"Step sizes η to try; the default depends on the optimiser. {_LECTURE}",
        ),
    ] = None,
    hidden: Annotated[
        Any,
        typer.Option(
            parser=parse_hidden,
            metavar="Q,...",
            help="Widths q of the hidden layer to try; 32x16 is two layers, 0 is none, "
            "logistic regression. By default 0,256 and with many rows 64x64x64; of the "
            "lecture's recipe 0,8,32.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            help="Passes through the training part at most; by default 30, more for few "
            "rows and fewer for very many; of the lecture's recipe 200.",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1_000_000,
            help="Stop a run after so many epochs without a lower validation loss, by "
            f"default 20; 0 never stops early. {_LECTURE}",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Examples a step; 1 is SGD one by one. By default 256; of the lecture's "
            "recipe 32; L-BFGS takes all.",
        ),
    ] = None,
    optimizer: Annotated[
        OptimizerName | None, typer.Option(help=f"Update rule; by default sgd. {_LECTURE}")
    ] = None,
    schedule: Annotated[
        ScheduleName | None,
        typer.Option(
            help="Course of the step size: constant, or down to 0 by a cosine. By default "
            f"constant. {_LECTURE}"
        ),
    ] = None,
    clip_norm: Annotated[
        Any,
        typer.Option(
            parser=parse_positive,
            metavar="C",
            help="Greatest norm of a step's gradient; longer ones are scaled down. "
            f"{_LECTURE}",
        ),
    ] = None,
    l2: Annotated[
        Any,
        typer.Option(
            parser=parse_penalties,
            metavar="LAMBDA,...",
            help="Strengths λ of the L2 penalty on the weights to try, by default 0. "
            f"{_LECTURE}",
        ),
    ] = None,
    class_weight: Annotated[
        Literal["none", "balanced"],
        typer.Option(help="balanced gives both labels the same weight in the loss."),
    ] = "none",
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help=f"Starting weights to try for each combination, by default 1. {_LECTURE}",
        ),
    ] = None,
    ensemble: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            max=10_000,
            help="Average the probabilities of K networks, each leaving out a K-th of the "
            "rows, by default 8, or 5 from 10,000 rows on; of the lecture's recipe, of the "
            "K best, by default 1.",
        ),
    ] = None,
    init: Annotated[
        InitMethod | None,
        typer.Option(
            help=f"Distribution of the starting weights, by default he. {_LECTURE}"
        ),
    ] = None,
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
    """Train on a table: split it, train, choose, test once.

    The test part is drawn first and used once, at the end; the preprocessing is learned
    without it. The other rows are cut into K folds. Networks of several kinds train, each
    without one fold, which judges it; the kind that is judged best goes on until it has a
    network for each fold, and their probabilities are averaged.

    With --recipe lecture, every step size is tried with every width, and the validation
    part chooses among them, and the epoch. With --dp-epsilon, which goes by that recipe,
    the training rows are protected by differential privacy: the noise is calibrated to the
    budget, and the report says what the guarantee covers and what not. With --stream, which
    goes by that recipe too, memory holds a window of the rows, however many there are.

    Example: jaxmlp train churn.csv --target churned --positive yes --out churn-model
    """
    began = time.perf_counter()
    if target is None and data is not None:
        raise typer.BadParameter("needed with DATA", param_hint="--target")
    if stream and data is None:
        raise typer.BadParameter("needs DATA", param_hint="--stream")
    check_out(out)
    keeping = checkpoints_of(
        checkpoint, checkpoint_every, resume, out, is_stream=stream, quiet=quiet
    )
    privacy = privacy_of(dp_epsilon, dp_delta, dp_clip, dp_bounds)
    common = {
        "target": "target" if target is None else target,
        "positive": positive,
        "fractions": split,
        "columns": columns_of(column),
        "class_weight": None if class_weight == "none" else class_weight,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "batch_size": batch_size,
        "hidden_sizes": hidden,
        "n_epochs": epochs,
    }
    of_lecture = {
        "learning_rates": learning_rate,
        "patience": patience,
        "optimizer": optimizer,
        "schedule": schedule,
        "clip_norm": clip_norm,
        "l2": l2,
        "seeds": seeds,
        "init": init,
    }
    asked: Recipe
    if recipe == "lecture" or privacy is not None or stream:
        asked = lecture_recipe(
            recipe, common | of_lecture, ensemble, budget, privacy, is_stream=stream
        )
    else:
        asked = ensemble_recipe(common, of_lecture, ensemble, budget)
    rule = rule_of(threshold, cost_fp, cost_fn)
    _configure(device, dtype)
    is_alone = not join_processes(distributed, coordinator, num_processes, process_id)
    _check_device(device)
    mesh = make_mesh(devices, device)
    if mesh is not None and not (isinstance(asked, LectureRecipe) and privacy is None):
        raise typer.BadParameter(
            "several devices or processes are for --stream and --recipe lecture",
            param_hint="--devices" if is_alone else "--distributed",
        )
    is_first = jax.process_index() == 0
    with (
        naming_checkpoints(keeping),
        progress(quiet=quiet or as_json or not is_first) as callback,
    ):
        shows = not quiet and not as_json and is_first
        # Several processes ask each other after each epoch, so that all call back or none.
        watch = Watch(
            print_columns if shows else _ignore,
            callback if is_alone else callback or _ignore,
        )
        if isinstance(asked, LectureRecipe) and data is not None and stream:
            outcome, table = _train_on_stream(
                data, out, asked, rule, watch, readers, mesh, keeping
            )
        else:
            outcome, table = _train_in_memory(data, asked, rule, watch, mesh)
    if not is_first:
        return
    with naming_checkpoints(keeping):
        report = outcome.report
        report["evaluation"] = evaluate(table, outcome, rule)
        report["command"] = shlex.join(["jaxmlp", *sys.argv[1:]])
        report["data"] = None if data is None else str(data)
        report["device"] = _device(device)
        report["versions"] = _versions()
        report["seconds"]["total"] = time.perf_counter() - began
        report["out"] = str(out)
        save_model(outcome.model, report, out, page=render_report(report))
    end_well()  # when a signal comes while the rest is shown
    if as_json:
        print(json.dumps(report))
    elif not quiet:
        print_notes(outcome.training_notes)
        print_outcome(outcome, str(out))


def _train_in_memory(
    data: Path | None, recipe: Recipe, rule: Rule, watch: Watch, mesh: Mesh | None
) -> tuple[Outcome, pa.Table]:
    # As prediction will read them: a level is the text in the file, such as 00501.
    texts = [name for name, wish in recipe.columns.items() if wish == "categorical"]
    table = breast_cancer_table() if data is None else read_table(data, text_columns=texts)
    with about(data):
        return train_on_table(table, recipe, rule, watch, mesh), table


def _train_on_stream(
    data: Path,
    out: Path,
    recipe: LectureRecipe,
    rule: Rule,
    watch: Watch,
    n_threads: int,
    mesh: Mesh | None,
    checkpoints: Checkpoints | None,
) -> tuple[Outcome, pa.Table]:
    texts = [name for name, wish in recipe.columns.items() if wish == "categorical"]
    parent = out.absolute().parent
    with _made(parent), opened(data, parent, texts) as source:
        return train_on_stream(
            source,
            recipe,
            rule,
            watch,
            scratch=parent,
            n_threads=n_threads,
            mesh=mesh,
            checkpoints=checkpoints,
            # Without checkpoints there is nothing to save, and a signal ends at once.
            listen=stopping if checkpoints else nullcontext,
        )


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Makes a folder, and removes it in the end if nothing is in it."""
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    if absent:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for place in absent:
            with suppress(OSError):
                place.rmdir()


def _ignore(_: Any) -> None:
    pass


def _configure(device: str | None, dtype: DtypeName) -> None:
    """Sets JAX up for the whole command; a library would leave this to its user."""
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")  # an idle accelerator stays untouched
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)


def _check_device(device: str | None) -> None:
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
