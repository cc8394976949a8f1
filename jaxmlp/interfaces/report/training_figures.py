"""Figures of how a model came about: what was tried, and the losses of training."""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from jaxmlp.interfaces.options import format_hidden
from jaxmlp.interfaces.report.elements import Html, count, decimal, short, tag
from jaxmlp.interfaces.report.svg import (
    WIDTH,
    axes,
    bar,
    curve,
    dot,
    figure,
    frame,
    legend,
    text,
)

Report = dict[str, Any]

_LEFT, _CELL, _TOP = 124.0, 40.0, 34.0
_MOST_CELLS = 10_000
_FEWEST_UNITS = 42.0  # that a cell's number needs
_MOST_POINTS = 120
_GREATEST_RATIO = 20.0  # of losses on a linear axis


def search_figure(report: Report) -> Html:
    """Heat map of the validation losses, the chosen cell framed."""
    is_lecture = report["settings"]["recipe"] == "lecture"
    cells, chosen = _cells(report, is_lecture=is_lecture)
    columns, lines = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    if len(columns) * len(lines) > _MOST_CELLS:
        return tag(
            "p", f"{count(len(report['search']), 'network')} tried, too many to draw."
        )
    if is_lecture:  # a step size is a number, and has its place among the others
        columns.sort(key=float)
    losses = [cell["val_loss"] for cell in cells.values() if cell["val_loss"] is not None]
    range_ = min(losses), max(losses)
    width = (WIDTH - _LEFT - 4) / len(columns)
    body = [
        text(_LEFT + (j + 0.5) * width, _TOP - 8, name, "tick", "middle")
        for j, name in enumerate(columns)
    ]
    body.append(
        text(_LEFT + len(columns) * width / 2, 11, _across(report), "label", "middle")
    )
    for i, name in enumerate(lines):
        body.append(text(_LEFT - 8, _TOP + (i + 0.5) * _CELL + 4, name, "tick", "end"))
        for j, column in enumerate(columns):
            cell = cells.get((column, name))
            place = (_LEFT + j * width, _TOP + i * _CELL, width)
            is_chosen = (column, name) == chosen
            body.append(_cell(cell, place, range_, is_chosen=is_chosen))
    message = (
        f"{count(len(report['search']), 'network')} tried; the lowest loss, "
        f"{short(range_[0], 4)}, at {chosen[0]} and {chosen[1]}; the highest is "
        f"{short(range_[1], 4)}."
    )
    return figure(
        "search",
        "What was tried",
        message,
        body,
        height=_TOP + len(lines) * _CELL + 6,
        caption=_search_caption(report, is_lecture=is_lecture),
    )


def _across(report: Report) -> str:
    return (
        "step size η"
        if report["settings"]["recipe"] == "lecture"
        else "hidden layers (their widths)"
    )


def _cells(
    report: Report, *, is_lecture: bool
) -> tuple[dict[tuple[str, str], dict[str, Any]], tuple[str, str]]:
    """The best row of the search in each cell, and the cell of the best of all."""
    name = _lecture_cell if is_lecture else _ensemble_cells(report["search"])
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for row in report["search"]:
        known = cells.setdefault(name(row), row)
        if _rank(row) < _rank(known):
            cells[name(row)] = row
    return cells, name(report["best"])


def _rank(row: dict[str, Any]) -> float:
    return math.inf if row["val_loss"] is None else row["val_loss"]


def _lecture_cell(row: dict[str, Any]) -> tuple[str, str]:
    sizes = row["hidden_sizes"]
    name = f"q = {format_hidden(sizes)}" if sizes else "no hidden layer"
    return f"{row['learning_rate']:g}", name


def _ensemble_cells(
    search: list[dict[str, Any]],
) -> Callable[[dict[str, Any]], tuple[str, str]]:
    """Makes the function that names the cell of a row of this search."""
    greatest: dict[tuple[Any, Any], Any] = {}
    for row in search:
        like = row["features"], row["input_dropout"]
        greatest[like] = max(row["dropout"], greatest.get(like, row["dropout"]))

    def cell(row: dict[str, Any]) -> tuple[str, str]:
        # Without hidden layer there is none to drop: the row belongs to the like ones.
        like = row["features"], row["input_dropout"]
        dropout = row["dropout"] if row["hidden_sizes"] else greatest[like]
        shares = [f"{100 * share:g}" for share in (dropout, row["input_dropout"]) if share]
        dropped = f", drop {'/'.join(shares)}%" if shares else ""
        layers = format_hidden(row["hidden_sizes"]) if row["hidden_sizes"] else "none"
        return layers, f"{row['features']}{dropped}"

    return cell


def _cell(
    row: dict[str, Any] | None,
    place: tuple[float, float, float],
    range_: tuple[float, float],
    *,
    is_chosen: bool,
) -> Html:
    x, y, width = place
    middle, centre = x + width / 2, y + _CELL / 2
    if row is None:
        return bar(x + 1.5, y + 1.5, width - 3, _CELL - 3, "untried", "not tried")
    loss, (low, high) = row["val_loss"], range_
    shade = 0 if loss is None else round(6 * (1 - (loss - low) / ((high - low) or 1)))
    folds = row.get("folds")
    title = "diverged" if loss is None else f"validation loss {loss:.5f}"
    title += f", {count(folds, 'fold')} trained" if folds is not None else ""
    kind = f"heat{shade} chosen" if is_chosen else f"heat{shade}"
    parts = [bar(x + 1.5, y + 1.5, width - 3, _CELL - 3, kind, title)]
    if width >= _FEWEST_UNITS:
        number = "diverged" if loss is None else decimal(loss)
        raised = 0 if folds is None else 4
        parts.append(text(middle, centre + 4 - raised, number, "cell", "middle"))
        if folds is not None:
            parts.append(text(middle, centre + 12, count(folds, "fold"), "note", "middle"))
    return tag("g", *parts)


def _search_caption(report: Report, *, is_lecture: bool) -> str:
    if is_lecture:
        return (
            "Log loss on the validation part, at each run’s best epoch; the fuller the "
            "colour, the lower. "
            "The framed cell is the chosen network’s. Where a cell stands for several "
            "networks (other penalties or starting weights), it shows the best."
        )
    return (
        "Mean log loss of the left-out folds; the fuller the colour, the lower. The "
        "framed cell is the ensemble’s; kinds that fell behind were not trained for all "
        "folds, and dashed cells were not tried. knots: numbers split at their quantiles; "
        "plain: without; drop: shares of hidden units and inputs left out in training."
    )


def losses_figure(report: Report) -> Html:
    """Loss curves of each network kept, thin, and their mean, thick."""
    histories = report["histories"]
    names = [name for name in ("train_loss", "val_loss") if name in histories[0]]
    known = [
        loss
        for history in histories
        for loss in chain.from_iterable(history[name] for name in names)
        if loss is not None
    ]
    longest = max(len(history["val_loss"]) for history in histories)
    low, high = min(known), max(known)
    is_log = low > 0 and high > _GREATEST_RATIO * low
    y_range = (low, high) if is_log else (max(0.0, low - 0.06 * (high - low)), high)
    if y_range[0] == y_range[1]:
        y_range = (low - 0.5, high + 0.5)
    f = frame((0.0, float(longest)), y_range, is_log_y=is_log)
    body = [axes(f, "epoch", "log loss" + (" (logarithmic)" if is_log else ""))]
    for name in names:
        kind = "train" if name == "train_loss" else "val"
        curves = [_points(history[name]) for history in histories]
        body += [
            curve(f, points, f"{kind} thin") for points in curves if len(histories) > 1
        ]
        body.append(curve(f, _mean_curve([h[name] for h in histories]), f"{kind} thick"))
    ends = [(row["epoch"], row["val_loss"]) for row in report["ensemble"]]
    body += [
        dot(f.x(epoch), f.y(loss), 3, "pick", f"epoch {epoch}, validation loss {loss:.5f}")
        for epoch, loss in ends
    ]
    return figure(
        "losses",
        "Losses in training",
        _losses_message(report),
        body,
        height=f.height,
        caption=_losses_caption(report, has_training="train_loss" in names),
        key=legend([("line", f"{_kind(n)} thick", _NAMES[n]) for n in names]),
    )


_NAMES = {"train_loss": "training", "val_loss": "validation"}


def _kind(name: str) -> str:
    return "train" if name == "train_loss" else "val"


def _points(losses: Sequence[float | None]) -> list[tuple[float, float]]:
    every = max(1, len(losses) // _MOST_POINTS)
    kept = [(e, loss) for e, loss in enumerate(losses, start=1) if loss is not None]
    return [p for i, p in enumerate(kept) if i % every == 0 or i == len(kept) - 1]


def _mean_curve(curves: list[list[float | None]]) -> list[tuple[float, float]]:
    """The mean of the curves, as far as all of them go."""
    means: list[float | None] = []
    for losses in zip(*curves, strict=False):
        known = [loss for loss in losses if loss is not None]
        means.append(sum(known) / len(known) if len(known) == len(losses) else None)
    return _points(means)


def _losses_message(report: Report) -> str:
    epochs = [row["epoch"] for row in report["ensemble"]]
    losses = [row["val_loss"] for row in report["ensemble"]]
    return (
        f"{count(len(epochs), 'network')}; validation loss {short(min(losses), 4)} to "
        f"{short(max(losses), 4)} at the epochs kept, {min(epochs)} to {max(epochs)}."
    )


def _losses_caption(report: Report, *, has_training: bool) -> str:
    several = len(report["histories"]) > 1
    what = (
        f"Thin: each of the {len(report['histories'])} networks kept; thick: their mean, "
        "as far as all of them ran. "
        if several
        else ""
    )
    dots = "A dot marks the epoch whose parameters were kept"
    drop = (
        "; dropout makes training losses higher than those of the finished networks."
        if report["settings"]["recipe"] == "ensemble"
        else "."
    )
    if has_training:
        return f"{what}{dots}{drop}"
    return f"{what}{dots}. The training loss is left out: it would cost privacy."
