"""What the command line shows to people."""

import datetime
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from jaxmlp.data.errors import printable, shorten
from jaxmlp.data.labels import as_text
from jaxmlp.data.rules import CategoricalRule, Rule
from jaxmlp.interfaces.metrics import Metrics
from jaxmlp.interfaces.options import format_hidden
from jaxmlp.interfaces.recipes.pipeline import Outcome
from jaxmlp.interfaces.recipes.prepare import Prepared
from jaxmlp.interfaces.recipes.stream import SurveyProgress
from jaxmlp.training import CrossFitProgress, SearchProgress

_METRIC_TITLES = {
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "accuracy": "accuracy",
    "brier": "Brier score",
}


_MOST_ROWS = 24  # of the search table on the screen
_DAYS_EITHER_WAY = 700_000  # of 1970 that a date can be


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[Any], None] | None]:
    """Shows a bar on standard error while the block runs, if it is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[unit]} {task.completed}/{task.total}"),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None, unit="", loss="compiling …")

        def show(now: SearchProgress | CrossFitProgress | SurveyProgress) -> None:
            if isinstance(now, SurveyProgress):
                losses, unit, total = [], "reading, row", now.n_rows
            elif isinstance(now, CrossFitProgress):
                losses = [loss for loss in now.val_losses.ravel().tolist() if loss == loss]
                unit, total = "network", now.n_members
            else:
                losses = [row.val_loss for row in now.table]
                unit, total = "epoch", now.n_epochs
            loss = f"validation loss {min(losses):.4f}" if losses else ""
            bar.update(task, completed=now.n_done, total=total, unit=unit, loss=loss)

        yield show


@contextmanager
def counting(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Shows a bar on standard error, a step for each call, if it is a terminal."""
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def print_columns(data: Prepared) -> None:
    """Prints what each column is taken for, before training."""
    console = Console(highlight=False)
    table = Table("column", "read as", "inputs", "missing", "example")
    for rule in data.preprocessor.rules[:_MOST_ROWS]:
        table.add_row(
            _plain(rule.name),
            rule.kind,
            str(len(rule.input_names)),
            "in training" if rule.marks_missing else "",
            _plain(_example(rule)),
        )
    rest = len(data.preprocessor.rules) - _MOST_ROWS
    if rest > 0:
        table.caption = f"and {rest} more"
    console.print(table)
    print_notes(data.notes)
    console.print(
        "--column NAME=KIND reads one otherwise: numeric, categorical, date, drop"
    )


def _example(rule: Rule) -> str:
    if isinstance(rule, CategoricalRule):
        return shorten([repr(level) for level in rule.levels], most=4)
    if rule.kind == "date" and abs(rule.median) < _DAYS_EITHER_WAY:
        middle = datetime.date(1970, 1, 1) + datetime.timedelta(days=int(rule.median))
        return f"median {middle}"
    return f"median {rule.median:.5g}, spread {rule.scale:.5g}"


def print_outcome(outcome: Outcome, out: str) -> None:
    """Prints what was trained on, the search table, the choice and the metrics."""
    console = Console(highlight=False)
    report = outcome.report
    is_ensemble = report["settings"]["recipe"] == "ensemble"
    console.print(
        f"{report['rows']} rows, {report['features']} feature columns "
        f"({report['inputs']} inputs); positive class: "
        f"[bold]{_plain(str(report['positive']))}[/bold]"
    )
    console.print(_split_line(report["split"]))
    console.print(_search_table(report))
    console.print(_choice(report, is_ensemble=is_ensemble))
    parts = {
        ("left-out rows" if is_ensemble and name == "validation" else name): report[name]
        for name in ("validation", "test")
        if report[name]
    }
    console.print(metrics_table(parts))
    if report["threshold"] != 0.5:
        console.print(
            f"{_plain(str(report['positive']))} is predicted from probability "
            f"[bold]{report['threshold']:.4g}[/bold] on"
        )
    if report["privacy"] is not None:
        _print_guarantee(console, report["privacy"])
    seconds = report["seconds"]
    console.print(
        f"compiled for {seconds['compile']:.1f} s, then ran {seconds['run']:.1f} s on "
        f"{report['device']}; model and report in [bold]{_plain(out)}[/bold]"
    )


def _choice(report: dict[str, Any], *, is_ensemble: bool) -> str:
    n_networks, best = len(report["ensemble"]), report["best"]
    averaged = f"the probabilities of the [bold]{n_networks}[/bold] networks"
    if is_ensemble:
        return (
            f"ensemble: {averaged}, each trained without its own part of the rows, are "
            "averaged"
        )
    penalty = f", λ = {best['l2']:g}" if best["l2"] else ""
    choice = (
        f"η = [bold]{best['learning_rate']:g}[/bold], "
        f"q = [bold]{format_hidden(best['hidden_sizes'])}[/bold]{penalty}, "
        f"epoch {best['epoch']}"
    )
    if n_networks == 1:
        return f"chosen on the validation part: {choice}"
    return (
        f"ensemble: {averaged} with the lowest validation losses are averaged\n"
        f"best on the validation part: {choice}"
    )


def _split_line(split: dict[str, int]) -> str:
    if split["validation"]:
        return (
            f"training {split['train']}, validation {split['validation']}, "
            f"test {split['test']} rows"
        )
    return f"training {split['train']} rows, cross-validated, test {split['test']} rows"


def _print_guarantee(console: Console, privacy: dict[str, Any]) -> None:
    console.print(
        f"differential privacy: ε = [bold]{privacy['epsilon']:.4g}[/bold], "
        f"δ = [bold]{privacy['delta']:g}[/bold] ({privacy['accountant'].upper()}), for "
        f"{privacy['adjacency']}; noise {privacy['noise_multiplier']:.4g} × norm "
        f"{privacy['max_grad_norm']:g}, {privacy['n_steps']} steps, each with every row "
        f"at probability {privacy['sampling_rate']:.4g}"
    )
    console.print("not covered:")
    for what in privacy["not_covered"]:
        console.print(f"- {_plain(what)}")


def metrics_table(parts: dict[str, Metrics]) -> Table:
    """Makes a table with a row for each part of the data."""
    table = Table("part", *(_METRIC_TITLES.values()))
    for name, metrics in parts.items():
        values = (metrics[key] for key in _METRIC_TITLES)
        table.add_row(_plain(name), *("–" if v is None else f"{v:.4f}" for v in values))
    return table


def print_gradients(summary: dict[str, Any]) -> None:
    """Prints what `jaxmlp gradients` found."""
    console = Console(highlight=False)
    quantiles = summary["norm_quantiles"]
    table = Table("norm at", *(f"{100 * float(q):g}%" for q in quantiles))
    table.add_row("all rows", *(f"{norm:.4g}" for norm in quantiles.values()))
    console.print(f"{summary['rows']} rows")
    console.print(table)
    for label, median in summary["median_norm_by_class"].items():
        shown = "–" if median is None else f"{median:.4g}"
        console.print(f"median norm of class {_plain(label)}: {shown}")
    scale = summary["noise_scale"]
    if summary["rows"] < 2:
        console.print("gradient noise scale: needs at least 2 rows")
        return
    if scale is None:
        console.print(
            "gradient noise scale: the mean gradient is hidden in the noise, as often near "
            "a minimum; more rows would show it"
        )
        return
    console.print(
        f"gradient noise scale: [bold]{scale:.4g}[/bold] rows (variance of one row's "
        f"gradient {summary['trace']:.4g}, squared norm of the mean "
        f"{summary['squared_norm']:.4g})"
    )


def print_notes(notes: list[str]) -> None:
    """Prints notes on standard error, each on its line."""
    for note in notes:
        print(f"jaxmlp: note: {printable(note)}", file=sys.stderr)


def _plain(text: str) -> str:
    """A text of the table's or the user's, in which nothing is markup or a control code."""
    return escape(printable(text))


_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "features": ("features", str),
    "learning_rate": ("η", "{:g}".format),
    "hidden_sizes": ("q", format_hidden),
    "dropout": ("dropout", "{:g}".format),
    "input_dropout": ("input dropout", "{:g}".format),
    "l2": ("λ", "{:g}".format),
    "seed": ("seed", str),
    "folds": ("folds", str),
    "epoch": ("best epoch", lambda epoch: str(epoch or "–")),
    "train_loss": ("training loss", lambda loss: "–" if loss is None else f"{loss:.4f}"),
    "val_loss": ("validation loss", lambda loss: "–" if loss is None else f"{loss:.4f}"),
}
"""Titles and forms of the search table's columns, by the report's names."""

_ALWAYS = {"learning_rate", "hidden_sizes", "epoch", "train_loss", "val_loss", "folds"}


def _search_table(report: dict[str, Any]) -> Table:
    rows = report["search"]
    is_varied = {name: len({str(row[name]) for row in rows}) > 1 for name in rows[0]}
    shown = [
        name for name in _COLUMNS if name in _ALWAYS & rows[0].keys() or is_varied.get(name)
    ]
    chosen = [report["best"], *report["ensemble"]]
    caption = None
    if len(rows) > _MOST_ROWS:
        rows = sorted(rows, key=_rank)[:_MOST_ROWS]
        caption = f"the best {_MOST_ROWS} of {len(report['search'])} networks"
    table = Table(*(_COLUMNS[name][0] for name in shown), "", caption=caption)
    for row in rows:
        is_chosen = row in chosen
        has_diverged = row["val_loss"] is None or row.get("diverged") is not None
        mark = "◀ chosen" if is_chosen else "diverged" if has_diverged else ""
        cells = [_COLUMNS[name][1](row[name]) for name in shown]
        table.add_row(*cells, mark, style="bold" if is_chosen else None)
    return table


def _rank(row: dict[str, Any]) -> float:
    return math.inf if row["val_loss"] is None else row["val_loss"]


def print_audit(summary: dict[str, Any], rows: pa.Table, out: str | None) -> None:
    """Prints what `jaxmlp audit` found, and the most suspicious rows."""
    console = Console(highlight=False)
    console.print(
        f"{summary['rows']} rows: [bold]{summary['suspected']}[/bold] labels are more "
        f"probably wrong than right; about {summary['expected']:.0f} wrong ones are "
        f"expected in all, at a noise rate of {100 * summary['noise_rate']:.1f}%"
    )
    if summary["conflicting_duplicates"]:
        console.print(
            f"{summary['conflicting_duplicates']} rows have the same features as a row "
            "with the other label"
        )
    table = Table("row", "given", "suggested", "P(wrong)", "reason")
    for found in rows.slice(0, _MOST_ROWS).to_pylist():
        labels = (_plain(as_text(found[key])) for key in ("given", "suggested"))
        reason = _plain(found["reason"])
        chance = f"{found['probability_wrong']:.3f}"
        table.add_row(str(found["row"]), *labels, chance, reason)
    if rows.num_rows:
        console.print(table)
    if out is not None:
        console.print(f"{rows.num_rows} rows in [bold]{_plain(out)}[/bold]")


def print_explanation(found: dict[str, Any]) -> None:
    """Prints the training rows that pushed a prediction, features beside features."""
    console = Console(highlight=False)
    label, positive = (_plain(as_text(found[key])) for key in ("predicted", "positive"))
    console.print(
        f"row {found['row']}: predicted [bold]{label}[/bold]; probability of {positive} "
        f"[bold]{found['probability']:.4f}[/bold], logit {found['logit']:.4f}"
    )
    for direction in ("up", "down"):
        if found[direction]:
            console.print(_push_table(found, direction))
        else:
            console.print(f"no row pushed {direction}")
    strengths = ", ".join(f"{l2:.3g}" for l2 in dict.fromkeys(found["l2"]))
    chosen = " (chosen by marginal likelihood: trained without penalty)"
    first_order = "; pushes of first order, since no matrix fits into memory"
    console.print(
        f"of {found['training_rows']} training rows; λ = {strengths}"
        f"{chosen if found['l2_is_chosen'] else ''}{'' if found['newton'] else first_order}"
    )


def _push_table(found: dict[str, Any], direction: str) -> Table:
    others = found[direction]
    table = Table(title=f"pushed {direction}", title_justify="left")
    for header in ("", "explained", *(f"row {other['row']}" for other in others)):
        table.add_column(header, overflow="fold")
    pushes = [f"{other['logit_push']:+.4f}" for other in others]
    table.add_row("logit", "", *pushes)
    changes = [f"{other['probability_push']:+.4f}" for other in others]
    table.add_row("probability", "", *changes)
    labels = [_plain(as_text(other["label"])) for other in others]
    table.add_row("label", "", *labels, end_section=True)
    for name, value in found["features"].items():
        values = [value, *(other["features"][name] for other in others)]
        table.add_row(_plain(name), *(_plain(_shown(value)) for value in values))
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
