"""What the command line shows to people."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from jaxmlp.interfaces.metrics import Metrics
from jaxmlp.interfaces.options import format_hidden
from jaxmlp.interfaces.pipeline import Outcome
from jaxmlp.training.engine import Callback, History

_METRIC_TITLES = {
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "accuracy": "accuracy",
    "brier": "Brier score",
}


@contextmanager
def progress(n_epochs: int, *, quiet: bool) -> Iterator[Callback | None]:
    """Shows a bar of epochs on standard error while the block runs, if it is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch {task.completed}/{task.total}"),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=n_epochs, loss="compiling …")

        def show(n_done: int, history: History) -> None:
            lowest = np.nanmin(history["val_loss"], initial=np.inf)
            bar.update(task, completed=n_done, loss=f"validation loss {lowest:.4f}")

        yield show


def print_outcome(outcome: Outcome, out: str) -> None:
    """Prints what was trained on, the search table, the choice and the metrics."""
    console = Console(highlight=False)
    report = outcome.report
    split = report["split"]
    console.print(
        f"{report['rows']} rows, {report['features']} feature columns "
        f"({report['inputs']} inputs); positive class: "
        f"[bold]{escape(str(report['positive']))}[/bold]"
    )
    console.print(
        f"training {split['train']}, validation {split['validation']}, "
        f"test {split['test']} rows"
    )
    console.print(_search_table(outcome))
    best = outcome.search.best
    console.print(
        f"chosen on the validation part: η = [bold]{best.learning_rate:g}[/bold], "
        f"q = [bold]{format_hidden(best.hidden_sizes)}[/bold], epoch {best.epoch}"
    )
    parts = {name: report[name] for name in ("validation", "test") if report[name]}
    console.print(metrics_table(parts))
    seconds = report["seconds"]
    console.print(
        f"compiled in {seconds['compile']:.1f} s, ran in {seconds['run']:.1f} s on "
        f"{report['device']}; model and report in [bold]{escape(out)}[/bold]"
    )


def metrics_table(parts: dict[str, Metrics]) -> Table:
    """Makes a table with a row for each part of the data."""
    table = Table("part", *(_METRIC_TITLES.values()))
    for name, metrics in parts.items():
        values = (metrics[key] for key in _METRIC_TITLES)
        table.add_row(escape(name), *("–" if v is None else f"{v:.4f}" for v in values))
    return table


def print_notes(notes: list[str]) -> None:
    """Prints notes on standard error, each on its line."""
    for note in notes:
        print(f"jaxmlp: note: {note}", file=sys.stderr)


def _search_table(outcome: Outcome) -> Table:
    table = Table("η", "q", "best epoch", "training loss", "validation loss", "")
    best = outcome.search.best
    chosen = (best.learning_rate, best.hidden_sizes)
    for row in outcome.search.table:
        is_chosen = (row.learning_rate, row.hidden_sizes) == chosen
        cells: list[Any] = [
            f"{row.learning_rate:g}",
            format_hidden(row.hidden_sizes),
            str(row.epoch) if row.epoch else "–",
            f"{row.train_loss:.4f}",
            f"{row.val_loss:.4f}",
            "◀ chosen" if is_chosen else "" if row.epoch else "diverged",
        ]
        table.add_row(*cells, style="bold" if is_chosen else None)
    return table
