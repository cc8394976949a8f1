"""What the command line shows to people."""

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

from jaxmlp.data.labels import as_text
from jaxmlp.interfaces.metrics import Metrics
from jaxmlp.interfaces.options import format_hidden
from jaxmlp.interfaces.pipeline import Outcome
from jaxmlp.training import Configuration, SearchProgress

_METRIC_TITLES = {
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "accuracy": "accuracy",
    "brier": "Brier score",
}


_MOST_ROWS = 24  # of the search table on the screen


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[SearchProgress], None] | None]:
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
        task = bar.add_task("training", total=None, loss="compiling …")

        def show(now: SearchProgress) -> None:
            losses = [row.val_loss for row in now.table]
            loss = f"validation loss {min(losses):.4f}" if losses else ""
            bar.update(task, completed=now.n_done, total=now.n_epochs, loss=loss)

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
    n_averaged = len(outcome.search.networks)
    if n_averaged > 1:
        console.print(
            f"ensemble: the probabilities of the [bold]{n_averaged}[/bold] networks with "
            "the lowest validation losses are averaged"
        )
    best = outcome.search.best.configuration
    console.print(
        f"{'best' if n_averaged > 1 else 'chosen'} on the validation part: "
        f"η = [bold]{best.learning_rate:g}[/bold], "
        f"q = [bold]{format_hidden(best.hidden_sizes)}[/bold]"
        f"{f', λ = {best.l2:g}' if best.l2 else ''}, epoch {best.epoch}"
    )
    parts = {name: report[name] for name in ("validation", "test") if report[name]}
    console.print(metrics_table(parts))
    if report["privacy"] is not None:
        _print_guarantee(console, report["privacy"])
    seconds = report["seconds"]
    console.print(
        f"compiled in {seconds['compile']:.1f} s, ran in {seconds['run']:.1f} s on "
        f"{report['device']}; model and report in [bold]{escape(out)}[/bold]"
    )


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
        console.print(f"- {escape(what)}")


def metrics_table(parts: dict[str, Metrics]) -> Table:
    """Makes a table with a row for each part of the data."""
    table = Table("part", *(_METRIC_TITLES.values()))
    for name, metrics in parts.items():
        values = (metrics[key] for key in _METRIC_TITLES)
        table.add_row(escape(name), *("–" if v is None else f"{v:.4f}" for v in values))
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
        console.print(f"median norm of class {escape(label)}: {shown}")
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
        print(f"jaxmlp: note: {note}", file=sys.stderr)


def _search_table(outcome: Outcome) -> Table:
    rows = outcome.search.table
    chosen = {_key(network.configuration) for network in outcome.search.networks}
    caption = None
    if len(rows) > _MOST_ROWS:
        rows = sorted(rows, key=lambda row: row.val_loss)[:_MOST_ROWS]
        caption = f"the best {_MOST_ROWS} of {len(outcome.search.table)} networks"
    with_l2 = len({row.l2 for row in outcome.search.table}) > 1
    with_seed = len({row.seed for row in outcome.search.table}) > 1
    table = Table(caption=caption)
    for title, shown in {
        "η": True,
        "q": True,
        "λ": with_l2,
        "seed": with_seed,
        "best epoch": True,
        "training loss": True,
        "validation loss": True,
        "": True,
    }.items():
        if shown:
            table.add_column(title)
    for row in rows:
        is_chosen = _key(row) in chosen
        cells = [
            f"{row.learning_rate:g}",
            format_hidden(row.hidden_sizes),
            *([f"{row.l2:g}"] if with_l2 else []),
            *([str(row.seed)] if with_seed else []),
            str(row.epoch) if row.epoch else "–",
            "–" if math.isnan(row.train_loss) else f"{row.train_loss:.4f}",
            f"{row.val_loss:.4f}",
            "◀ chosen" if is_chosen else "" if row.epoch else "diverged",
        ]
        table.add_row(*cells, style="bold" if is_chosen else None)
    return table


def _key(row: Configuration) -> tuple[Any, ...]:
    return (row.learning_rate, row.hidden_sizes, row.l2, row.seed)


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
        labels = (escape(as_text(found[key])) for key in ("given", "suggested"))
        reason = escape(found["reason"])
        chance = f"{found['probability_wrong']:.3f}"
        table.add_row(str(found["row"]), *labels, chance, reason)
    if rows.num_rows:
        console.print(table)
    if out is not None:
        console.print(f"{rows.num_rows} rows in [bold]{escape(out)}[/bold]")


def print_explanation(found: dict[str, Any]) -> None:
    """Prints the training rows that pushed a prediction, features beside features."""
    console = Console(highlight=False)
    label, positive = (escape(as_text(found[key])) for key in ("predicted", "positive"))
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
    labels = [escape(as_text(other["label"])) for other in others]
    table.add_row("label", "", *labels, end_section=True)
    for name, value in found["features"].items():
        values = [value, *(other["features"][name] for other in others)]
        table.add_row(escape(name), *(escape(_shown(value)) for value in values))
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
