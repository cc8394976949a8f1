"""The command that makes a page to play with."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args

import jax
import typer

from jaxmlp.data.errors import printable
from jaxmlp.data.labels import find_column
from jaxmlp.data.tables import check_place, read_table, whole_file
from jaxmlp.interfaces.commands.arguments import JsonOption, QuietOption, about
from jaxmlp.interfaces.commands.console import counting, print_notes
from jaxmlp.interfaces.options import parse_learning_rates
from jaxmlp.interfaces.playground.page import render_playground
from jaxmlp.interfaces.playground.runs import Choice, Grid, Init, n_runs, train_all
from jaxmlp.interfaces.playground.sets import (
    PointSet,
    built_in_sets,
    table_set,
    two_columns,
)

_T = TypeVar("_T")

_MOST = 6  # of each thing to choose between
_WIDEST = 64  # whose parameters at all snapshots a page can hold, and a table show


def _parse_widths(text: str) -> tuple[int, ...]:
    widths = _whole_numbers(text)
    if not widths or max(widths) > _WIDEST:
        raise typer.BadParameter(
            f"{text!r} is not widths of one hidden layer, at most {_WIDEST}, such as 2,4,16"
        )
    return _few(widths, text)


def _parse_rates(text: str) -> tuple[float, ...]:
    return _few(parse_learning_rates(text), text)


def _parse_batch_sizes(text: str) -> tuple[int | None, ...]:
    parts = [part.strip() for part in text.split(",")]
    numbers = [part for part in parts if part != "all"]
    sizes = _whole_numbers(",".join(numbers)) if numbers else ()
    if (numbers and not sizes) or max(sizes, default=1) >= 2**31:
        raise typer.BadParameter(f"{text!r} is not sizes such as 1,16,all")
    return _few((*sizes, *([None] if "all" in parts else [])), text)


def _whole_numbers(text: str) -> tuple[int, ...]:
    """Different whole numbers from 1, or () if one is none."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < len(part) < 20 and int(part) > 0 for part in parts):
        return ()
    return tuple(dict.fromkeys(map(int, parts)))


def _parse_inits(text: str) -> tuple[Init, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(names) <= set(get_args(Init)):
        raise typer.BadParameter(f"{text!r} is not some of {','.join(get_args(Init))}")
    return cast(tuple[Init, ...], names)


def _few(values: tuple[_T, ...], text: str) -> tuple[_T, ...]:
    if len(values) > _MOST:
        raise typer.BadParameter(f"{text!r}: at most {_MOST}, each of which is trained")
    return values


def playground(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="CSV or Parquet file; by default circle, XOR, spiral and two real tables.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COL", help="Column with the two labels.")
    ] = None,
    x: Annotated[
        str | None,
        typer.Option("--x", metavar="COL", help="Column of numbers to go across."),
    ] = None,
    y: Annotated[
        str | None, typer.Option("--y", metavar="COL", help="Column of numbers to go up.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="HTML page to write.")] = Path(
        "playground.html"
    ),
    positive: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Label 1; by default the greater one."),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=10, max=2000, help="Points at most, drawn at random.")
    ] = 300,
    learning_rate: Annotated[
        Any, typer.Option(parser=_parse_rates, metavar="ETA,...", help="Step sizes.")
    ] = "0.03,0.3,3",
    hidden: Annotated[
        Any, typer.Option(parser=_parse_widths, metavar="Q,...", help="Hidden units.")
    ] = "2,4,16",
    batch_size: Annotated[
        Any,
        typer.Option(parser=_parse_batch_sizes, metavar="S,...", help="Mini-batch sizes."),
    ] = "1,16,all",
    init: Annotated[
        Any,
        typer.Option(parser=_parse_inits, metavar="INIT,...", help="Initial weights."),
    ] = "he,xavier,zero",
    epochs: Annotated[
        int, typer.Option(min=1, max=10_000, help="Passes through the training points.")
    ] = 300,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of points, weights and orders.")
    ] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a page that replays training runs, number by number.

    Trains a network for each combination of step size, hidden units, mini-batch size and
    initial weights, and writes one HTML file that asks for nothing from elsewhere: the
    decision surface through the epochs, the hidden units' lines, loss curves, and of each
    point every number of the forward and backward pass.

    Example: jaxmlp playground churn.csv --target churned --x age --y monthly_charge
    --out churn.html
    """
    _check_arguments(data, target, x, y, positive, out)
    grid = Grid(learning_rate, hidden, batch_size, init, epochs)
    data_key, train_key = jax.random.split(jax.random.key(seed))
    sets = _sets(data_key, data, target, (x, y), positive, rows)
    with counting("training", len(sets) * n_runs(grid), quiet=quiet or as_json) as tell:
        replays = [train_all(train_key, points, grid, tell) for points in sets]
    first_shown = Choice(
        width=len(hidden) // 2,
        batch_size=len(batch_size) // 2,
        init=0,
        learning_rate=len(learning_rate) // 2,
    )
    command = shlex.join(["jaxmlp", *sys.argv[1:]])
    page = render_playground(replays, grid, first_shown, command)
    with whole_file(out) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    notes = [f"{points.name}: {points.note}" for points in sets if points.note]
    if as_json:
        summary = {"out": str(out), "bytes": len(page.encode()), "notes": notes}
        print(json.dumps({**summary, "sets": [points.name for points in sets]}))
    elif not quiet:
        print_notes(notes if data is not None else [])
        print(f"page in {printable(str(out))}: open it in a browser")


def _check_arguments(
    data: Path | None,
    target: str | None,
    x: str | None,
    y: str | None,
    positive: str | None,
    out: Path,
) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"{out}: the name must end in .html", param_hint="--out")
    check_place(out)
    given = {"--target": target, "--x": x, "--y": y, "--positive": positive}
    if data is None:
        for flag, value in given.items():
            if value is not None:
                raise typer.BadParameter("it goes with DATA", param_hint=flag)
        return
    if out.resolve() == data.resolve():
        raise typer.BadParameter("it is DATA itself", param_hint="--out")
    if target is None:
        raise typer.BadParameter("give the target column", param_hint="--target")
    if (x is None) != (y is None):
        raise typer.BadParameter("--x and --y go together", param_hint="--x")
    if x is not None and len({target, x, y}) < 3:
        raise typer.BadParameter(
            "--x, --y and --target are to be three columns", param_hint="--x"
        )


def _sets(
    key: jax.Array,
    data: Path | None,
    target: str | None,
    axes: tuple[str | None, str | None],
    positive: str | None,
    n_rows: int,
) -> list[PointSet]:
    if data is None:
        return built_in_sets(key, n_rows)
    assert target is not None
    table = read_table(data)
    with about(data):
        x, y = axes
        find_column(table, target, "target")
        chosen = two_columns(table, target) if x is None or y is None else (x, y)
        points = table_set(
            key, table, target, chosen, positive=positive, n_rows=n_rows, name=data.name
        )
    return [points]
