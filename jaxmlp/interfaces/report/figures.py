"""Figures of how well a model predicts."""

from typing import Any

from jaxmlp.interfaces.report.elements import Html, count, join, percent, short, tag
from jaxmlp.interfaces.report.svg import (
    WIDTH,
    Frame,
    Scale,
    axes,
    bar,
    curve,
    dot,
    figure,
    frame,
    legend,
    line,
    text,
)

Evaluation = dict[str, Any]
Names = tuple[str, str]
"""What the negative and the positive class are called."""

_BASELINE_KINDS = ("first", "second")


def roc_figure(e: Evaluation) -> Html:
    """ROC curve, the baselines' beside it."""
    area = e["metrics"]["roc_auc"]
    return _curves(
        e,
        "roc",
        "ROC curve",
        ("false positive rate", "true positive rate"),
        ((0.0, 0.0), (1.0, 1.0)),
        f"Area under the curve {_with_interval(area)}; 0.5 is guessing.",
        "For every threshold, the share of positive rows found against the share of "
        "negative rows mistaken for them. The dotted diagonal is guessing.",
    )


def precision_recall_figure(e: Evaluation) -> Html:
    """Precision against recall, the baselines' beside it."""
    share = e["positives"] / e["rows"]
    precision = e["metrics"]["average_precision"]
    return _curves(
        e,
        "precision_recall",
        "Precision and recall",
        ("recall", "precision"),
        ((0.0, share), (1.0, share)),
        f"Average precision {_with_interval(precision)}; guessing gives {short(share)}.",
        "For every threshold, how many of the rows called positive are so, against how "
        "many of the positive rows are found. The dotted line is guessing.",
    )


def _curves(
    e: Evaluation,
    key: str,
    title: str,
    names: tuple[str, str],
    guess: tuple[tuple[float, float], tuple[float, float]],
    message: str,
    caption: str,
) -> Html:
    f = frame((0.0, 1.0), (0.0, 1.0), height=300)
    body = [axes(f, *names), curve(f, guess, "guess")]
    entries = [("line", "model", "this model")]
    # The model is drawn last, over the others.
    for baseline, kind in zip(e["baselines"], _BASELINE_KINDS, strict=False):
        body.append(curve(f, baseline[key], kind))
        entries.append(("line", kind, baseline["name"]))
    body.append(curve(f, e[key], "model"))
    return figure(
        key.replace("_", "-"),
        title,
        message,
        body,
        height=f.height,
        caption=caption,
        key=legend(entries),
    )


def calibration_figure(e: Evaluation) -> Html:
    """Observed shares against predicted probabilities."""
    bins = e["calibration"]
    f = frame((0.0, 1.0), (0.0, 1.0), height=300)
    body = [axes(f, "predicted probability", "share of positive rows")]
    body.append(curve(f, ((0.0, 0.0), (1.0, 1.0)), "guess"))
    most = max(b["rows"] for b in bins)
    for b in bins:
        x = f.x(b["predicted"])
        body.append(line(x, f.y(b["low"]), x, f.y(b["high"]), "whisker"))
        title = (
            f"{count(b['rows'], 'row')}: predicted {b['predicted']:.3f}, observed "
            f"{b['observed']:.3f} ({b['low']:.3f} to {b['high']:.3f})"
        )
        radius = 2.5 + 4.5 * (b["rows"] / most) ** 0.5
        body.append(dot(x, f.y(b["observed"]), radius, "point", title))
    missed = sum(b["low"] > b["predicted"] or b["high"] < b["predicted"] for b in bins)
    message = (
        f"{count(len(bins), 'group')} of rows; in {missed} of them the share of positive "
        "rows differs from the mean probability by more than chance would."
    )
    return figure(
        "calibration",
        "Calibration",
        message,
        body,
        height=f.height,
        caption="Rows in ten groups by their probability: on the diagonal, what was "
        "predicted came true as often. Bars are Wilson 95% intervals; larger dots stand "
        "for more rows.",
    )


def probabilities_figure(e: Evaluation, threshold: float, names: Names) -> Html:
    """Histogram of the probabilities by class."""
    h = e["histogram"]
    f = frame((0.0, 1.0), (0.0, _top(h)), height=300)
    body = [
        axes(f, "predicted probability", "rows", y_text=_whole),
        *_bars(f, h, names, is_log=False),
        line(f.x(threshold), f.y.start, f.x(threshold), f.y.end, "threshold"),
    ]
    c = e["confusion"]
    right = c["true_positives"] + c["true_negatives"]
    message = (
        f"{count(sum(h['negative']), 'row')} of {names[0]} and {sum(h['positive']):,} of "
        f"{names[1]}; {right:,} of {e['rows']:,} lie on the right side of the threshold "
        f"{short(threshold)}."
    )
    return figure(
        "probabilities",
        "Predicted probabilities",
        message,
        body,
        height=f.height,
        caption=f"Rows by their probability of {names[1]}, a bar beside a bar for the two "
        f"classes. The upright line is the threshold, {short(threshold)}.",
        key=_class_legend(names),
    )


def gradients_figure(e: Evaluation, names: Names) -> Html:
    """Histogram of the gradients' norms by class."""
    g = e["gradients"]
    f = frame((g["edges"][0], g["edges"][-1]), (0.0, _top(g)), height=300, is_log_x=True)
    medians = ", ".join(
        f"{short(median)} for {name}"
        for name, median in zip(names, g["median_by_class"].values(), strict=True)
        if median is not None
    )
    sampled = "" if g["rows"] == g["of"] else f" {g['rows']:,} of {g['of']:,}, at random."
    return figure(
        "gradients",
        "Gradient norms",
        f"{count(g['rows'], 'training row')}; the median norm is {medians}.",
        [
            axes(f, "norm of the gradient (logarithmic)", "rows", y_text=_whole),
            *_bars(f, g, names, is_log=True),
        ],
        height=f.height,
        caption="How hard each training row still pulls at the finished networks: the "
        f"length of its loss gradient. Median {medians}.{sampled}",
        key=_class_legend(names),
    )


def _top(h: dict[str, Any]) -> float:
    return float(max(1, *h["negative"], *h["positive"]))


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else ""


def _bars(f: Frame, h: dict[str, Any], names: Names, *, is_log: bool) -> list[Html]:
    """Two bars a bin, side by side."""
    found = []
    pairs = zip(h["edges"][:-1], h["edges"][1:], strict=True)
    for j, (low, high) in enumerate(pairs):
        left, right = f.x(low), f.x(high)
        half = (right - left - 1) / 2
        for i, (name, kind) in enumerate(zip(names, ("negative", "positive"), strict=True)):
            n = h[kind][j]
            if n:
                top = f.y(n)
                range_ = (
                    f"{short(low)} to {short(high)}" if is_log else f"{low:g} to {high:g}"
                )
                title = f"{range_}: {count(n, 'row')} of {name}"
                x = left + 0.5 + i * half
                found.append(bar(x, top, half, f.y.start - top, kind, title))
    return found


def _class_legend(names: Names) -> Html:
    return legend([("box", "negative", names[0]), ("box", "positive", names[1])])


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
    body = [
        join([line(x(v), top, x(v), bottom, "grid"), _tick(x(v), bottom + 15, v)])
        for v in x.ticks(4)
    ]
    for i, column in enumerate(columns):
        middle = top + (i + 0.5) * step
        body.append(_importance_bar(column, x, middle))
    body.append(
        text((left + WIDTH - 12) / 2, height - 5, "rise of the log loss", "label", "middle")
    )
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


def _tick(x: float, y: float, value: float) -> Html:
    return text(x, y, short(value), "tick", "middle")


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
        for b, kind in zip(e["baselines"], _BASELINE_KINDS, strict=False)
    ]
    losses = [metrics["log_loss"] for _, metrics, _ in rows]
    low, high = (f(loss[k] for loss in losses) for f, k in ((min, "low"), (max, "high")))
    step, left, top = 36.0, 128.0, 8.0
    bottom = top + step * len(rows)
    margin = 0.06 * (high - low) or 0.5
    x = Scale(max(0.0, low - margin), high + margin, left, WIDTH - 16)
    body = [
        join([line(x(v), top, x(v), bottom, "grid"), _tick(x(v), bottom + 15, v)])
        for v in x.ticks(4)
    ]
    for i, (name, metrics, kind) in enumerate(rows):
        y, loss = top + (i + 0.5) * step, metrics["log_loss"]
        title = f"{name}: {_with_interval(loss)}"
        body += [
            text(left - 8, y + 4, name, "tick", "end"),
            line(x(loss["low"]), y, x(loss["high"]), y, f"{kind} solid"),
            dot(x(loss["value"]), y, 5, f"dot-{kind}", title),
        ]
    body.append(
        text(
            (left + WIDTH - 16) / 2,
            bottom + 34,
            "log loss (lower is better)",
            "label",
            "middle",
        )
    )
    message = "; ".join(f"{name} {_with_interval(m['log_loss'])}" for name, m, _ in rows)
    return figure(
        "comparison",
        "Log loss beside the baselines",
        f"{message}.",
        body,
        height=bottom + 40,
        caption="Dots: on the rows shown; lines: 95% intervals. They may overlap where the "
        "difference is clear, since all are measured on the same rows: the table tells.",
    )


def _with_interval(metric: dict[str, float | None]) -> str:
    if metric["low"] is None:
        return short(metric["value"], 4)
    return (
        f"{short(metric['value'], 4)} ({short(metric['low'])} to {short(metric['high'])})"
    )


def confusion_table(e: Evaluation, names: Names) -> Html:
    """Counts of rows by label and prediction, with shares of each label."""
    c = e["confusion"]
    counts = [
        (names[1], c["true_positives"], c["false_negatives"], 0),
        (names[0], c["false_positives"], c["true_negatives"], 1),
    ]
    body = []
    for name, first, second, right in counts:
        cells = [
            tag(
                "td",
                tag("b", f"{n:,}"),
                tag("span", percent(n / (first + second) if first + second else None)),
                class_="right" if j == right else "wrong",
            )
            for j, n in enumerate((first, second))
        ]
        body.append(tag("tr", tag("th", name, scope="row"), *cells))
    head = tag(
        "tr",
        tag("th", "label", scope="col"),
        *(tag("th", f"predicted {name}", scope="col") for name in reversed(names)),
    )
    caption = tag("caption", "Rows by label and prediction, and shares of each label")
    return tag(
        "table", caption, tag("thead", head), tag("tbody", *body), class_="confusion"
    )
