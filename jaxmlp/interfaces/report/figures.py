"""Figures of how well a model predicts."""

from typing import Any

from jaxmlp.interfaces.report.elements import Html, count, percent, short, tag
from jaxmlp.interfaces.report.svg import (
    Frame,
    axes,
    bar,
    curve,
    dot,
    figure,
    frame,
    legend,
    line,
)
from jaxmlp.interfaces.report.words import with_interval

Evaluation = dict[str, Any]
Names = tuple[str, str]
"""What the negative and the positive class are called."""

BASELINE_KINDS = ("first", "second")


def roc_figure(e: Evaluation) -> Html:
    """ROC curve, the baselines' beside it."""
    area = e["metrics"]["roc_auc"]
    return _curves(
        e,
        "roc",
        "ROC curve",
        ("false positive rate", "true positive rate"),
        ((0.0, 0.0), (1.0, 1.0)),
        f"Area under the curve {with_interval(area)}; 0.5 is guessing.",
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
        f"Average precision {with_interval(precision)}; guessing gives {short(share)}.",
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
    for baseline, kind in zip(e["baselines"], BASELINE_KINDS, strict=False):
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
