"""Figures with a line for each thing: columns by importance, models by loss."""

from typing import Any

from jaxmlp.interfaces.report.elements import Html, count, join, short
from jaxmlp.interfaces.report.figures import BASELINE_KINDS, Evaluation
from jaxmlp.interfaces.report.svg import WIDTH, Scale, bar, dot, figure, line, text
from jaxmlp.interfaces.report.words import with_interval


def importance_figure(e: Evaluation) -> Html:
    """Bars of the columns' importance."""
    found = e["importance"]
    columns = found["columns"]
    step, left, top = 21.0, 136.0, 8.0
    height = top + step * len(columns) + 40
    greatest = max(c["increase"] + c["spread"] for c in columns)
    least = min(0.0, *(c["increase"] - c["spread"] for c in columns))
    x = Scale(least, greatest if greatest > least else 1.0, left, WIDTH - 12)
    bottom = top + step * len(columns)
    body = [_axis(x, top, bottom, "rise of the log loss")]
    for i, column in enumerate(columns):
        middle = top + (i + 0.5) * step
        body.append(_importance_bar(column, x, middle))
    first = ", ".join(f"{c['name']} ({short(c['increase'])})" for c in columns[:3])
    others = found["n_screened"]
    screened = (
        f" {count(others, 'further column')} mattered less at a first glance."
        if others
        else ""
    )
    return figure(
        "importance",
        "Importance of the columns",
        f"Greatest rise of the log loss by shuffling: {first}.",
        body,
        height=height,
        caption=f"How much the log loss rises when a column is shuffled among "
        f"{count(found['n_rows'], 'row')} ({found['n_repeats']} times; whiskers: standard "
        f"deviation). Columns that say the same share their importance.{screened}",
    )


def _axis(x: Scale, top: float, bottom: float, title: str) -> Html:
    """Upright grid lines, and below them their values and what they mean."""
    parts = []
    for value in x.ticks(4):
        parts.append(line(x(value), top, x(value), bottom, "grid"))
        parts.append(text(x(value), bottom + 15, short(value), "tick", "middle"))
    middle = (x.start + x.end) / 2
    return join([*parts, text(middle, bottom + 34, title, "label", "middle")])


def _importance_bar(column: dict[str, Any], x: Scale, middle: float) -> Html:
    increase, spread = column["increase"], column["spread"]
    ends = sorted((x(0.0), x(increase)))
    title = f"{column['name']}: {increase:.5f} ± {spread:.5f}"
    return join(
        [
            text(x.start - 8, middle + 4, _cut(column["name"], 20), "tick", "end"),
            bar(ends[0], middle - 6, ends[1] - ends[0], 12, "positive", title),
            line(x(increase - spread), middle, x(increase + spread), middle, "whisker"),
        ]
    )


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def comparison_figure(e: Evaluation) -> Html:
    """Log loss of the model and the baselines, with intervals."""
    rows = [("this model", e["metrics"], "model")]
    rows += [
        (b["name"], b["metrics"], kind)
        for b, kind in zip(e["baselines"], BASELINE_KINDS, strict=False)
    ]
    losses = [metrics["log_loss"] for _, metrics, _ in rows]
    low, high = (f(loss[k] for loss in losses) for f, k in ((min, "low"), (max, "high")))
    step, left, top = 36.0, 128.0, 8.0
    bottom = top + step * len(rows)
    margin = 0.06 * (high - low) or 0.5
    x = Scale(max(0.0, low - margin), high + margin, left, WIDTH - 16)
    body = [_axis(x, top, bottom, "log loss (lower is better)")]
    for i, (name, metrics, kind) in enumerate(rows):
        y, loss = top + (i + 0.5) * step, metrics["log_loss"]
        title = f"{name}: {with_interval(loss)}"
        body += [
            text(left - 8, y + 4, name, "tick", "end"),
            line(x(loss["low"]), y, x(loss["high"]), y, f"{kind} solid"),
            dot(x(loss["value"]), y, 5, f"dot-{kind}", title),
        ]
    message = "; ".join(f"{name} {with_interval(m['log_loss'])}" for name, m, _ in rows)
    return figure(
        "comparison",
        "Log loss beside the baselines",
        f"{message}.",
        body,
        height=bottom + 40,
        caption="Dots: on the rows shown; lines: 95% intervals. They may overlap where the "
        "difference is clear, since all are measured on the same rows: the table tells.",
    )
