"""The page's sections, each a function of report.json alone."""

from typing import Any

from jaxmlp.data.labels import as_text
from jaxmlp.interfaces.report.elements import (
    Html,
    count,
    decimal,
    grid,
    paragraph,
    percent,
    section,
    strong,
    table,
    tag,
)
from jaxmlp.interfaces.report.figures import (
    calibration_figure,
    confusion_table,
    precision_recall_figure,
    probabilities_figure,
    roc_figure,
)
from jaxmlp.interfaces.report.line_figures import comparison_figure, importance_figure
from jaxmlp.interfaces.report.training_figures import losses_figure, search_figure
from jaxmlp.interfaces.report.words import (
    LOWER_IS_BETTER,
    TITLES,
    class_names,
    interval_words,
    reading,
    recipe_words,
    shown_rows,
    threshold_words,
    verdict,
)

Report = dict[str, Any]

_HEADLINE = ("log_loss", "roc_auc", "accuracy")
_MOST_COLUMNS, _MOST_NOTES = 40, 20  # that the page lists; report.json has all

NO_TEST_PART = (
    "There is no test part: what follows was measured on rows that the networks had not "
    "learned from, but which chose among them, so that it is a little too good."
)


def headline(report: Report) -> Html:
    """What was predicted, how well, and by what."""
    e, target = report["evaluation"], report["settings"]["target"]
    numbers = [
        tag(
            "div",
            tag("dt", TITLES[name]),
            tag("dd", strong(decimal(e["metrics"][name]["value"])),
                tag("span", interval_words(e["metrics"][name]))),
        )
        for name in _HEADLINE
    ]  # fmt: skip
    source = report["data"] or "the breast-cancer table of scikit-learn"
    return tag(
        "header",
        tag("p", "jaxmlp · report of a training run", class_="kicker"),
        tag("h1", "Predicting ", tag("em", target)),
        tag(
            "p",
            f"From {source}: the probability that {target} is ",
            strong(as_text(report["positive"])),
            f" and not {as_text(report['negative'])}.",
            class_="lead",
        ),
        tag("dl", *numbers, class_="headline"),
        tag("p", f"On {shown_rows(report)}, with 95% intervals.", class_="small"),
        paragraph(reading(report)),
        paragraph(recipe_words(report)),
        *([paragraph(NO_TEST_PART)] if e["part"] != "test" else []),
    )


def data_section(report: Report) -> Html:
    """Rows, parts and columns."""
    e = report["evaluation"]
    columns = e["columns"]
    rows = [
        (
            c["name"],
            c["kind"],
            str(c["inputs"]),
            "–" if c["missing"] is None else percent(c["missing"] / report["rows"]),
        )
        for c in columns[:_MOST_COLUMNS]
    ]
    rest = len(columns) - len(rows)
    more = [paragraph(f"And {count(rest, 'further column')}.")] if rest else []
    notes = [tag("li", note) for note in report["notes"][:_MOST_NOTES]]
    if len(report["notes"]) > _MOST_NOTES:
        notes.append(tag("li", f"and {len(report['notes']) - _MOST_NOTES:,} more"))
    listed = table(
        "Columns used: what each was read as, its inputs, and its missing values",
        ("column", "read as", "inputs", "missing"),
        rows,
        is_text=(1,),
    )
    beside = tag(
        "div",
        _parts_table(report),
        *([tag("h3", "Notes"), tag("ul", *notes, class_="notes")] if notes else []),
    )
    return section(
        "data",
        "Data",
        paragraph(
            f"{count(report['rows'], 'row')}; {count(report['features'], 'column')} used, "
            f"which make {count(report['inputs'], 'input')} of the networks."
        ),
        grid(beside, tag("div", listed, *more)),
    )


def _parts_table(report: Report) -> Html:
    e, (_, positive) = report["evaluation"], class_names(report)
    is_crossed = not report["split"]["validation"]
    titles = {"train": "training" + (", cross-validated" if is_crossed else "")}
    rows = [
        (
            titles.get(name, name),
            f"{part['rows']:,}",
            "kept secret" if part["positives"] is None else f"{part['positives']:,}",
            "–" if part["positives"] is None else percent(part["positives"] / part["rows"]),
        )
        for name, part in e["shares"].items()
        if part["rows"]
    ]
    headers = ("part", "rows", positive, "share")
    drawn = "drawn with each label’s share alike"
    if "stream" in report:
        drawn = "by a hash of each row"
    return table(f"Parts, {drawn}", headers, rows)


def training_section(report: Report) -> Html:
    """What was tried, and how losses fell."""
    figures = [losses_figure(report)]
    if len(report["search"]) > 1:
        figures.insert(0, search_figure(report))
    return section("training", "Training", grid(*figures))


def performance_section(report: Report) -> Html:
    """Metrics and curves."""
    e, names = report["evaluation"], class_names(report)
    metrics = [
        (
            f"{title} ({'lower' if name in LOWER_IS_BETTER else 'higher'} is better)",
            decimal(e["metrics"][name]["value"]),
            interval_words(e["metrics"][name]),
        )
        for name, title in TITLES.items()
    ]
    figures = [calibration_figure(e), probabilities_figure(e, report["threshold"], names)]
    if e["roc"] is not None:
        figures = [roc_figure(e), precision_recall_figure(e), *figures]
    missing = "All these rows have one label, so that there is no ROC curve."
    return section(
        "performance",
        "How well it predicts",
        table(
            f"On {shown_rows(report)}; intervals by {e['resamples']:,} bootstrap resamples",
            ("metric", "value", "95% interval"),
            metrics,
        ),
        *([paragraph(missing)] if e["roc"] is None else []),
        grid(*figures),
        tag("h3", "At the threshold"),
        paragraph(threshold_words(report)),
        confusion_table(e, names),
    )


def baselines_section(report: Report) -> Html:
    """What scikit-learn's usual models make of the same rows."""
    e = report["evaluation"]
    if not e["baselines"]:
        return section(
            "baselines",
            "Beside the usual models",
            paragraph(
                "Left out: baselines trained on the same rows without privacy would "
                "reveal of them what private training hides."
            ),
        )
    trained = report["split"]["train"]
    sampled = " and ".join(
        f"{b['name']} learned from {b['train_rows']:,} rows"
        for b in e["baselines"]
        if b["train_rows"] < trained
    )
    note = (
        f" To save time, {sampled} of the {trained:,}, which makes for worse predictions "
        "than all would."
    )
    details = "; ".join(f"{b['name']}: {b['detail']}" for b in e["baselines"])
    return section(
        "baselines",
        "Beside the usual models",
        paragraph(
            f"{details}; both with their defaults, on the same training rows.",
            note if sampled else "",
        ),
        comparison_figure(e),
        table(
            "Differences, this model minus the other, both at this model’s threshold; "
            "intervals by the same resamples",
            ("metric", "other model", "its value", "difference", "95% interval", ""),
            [row for name in TITLES for row in _differences(e, name)],
            is_text=(1, 5),
        ),
    )


def _differences(e: dict[str, Any], name: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for baseline in e["baselines"]:
        difference = baseline["difference"][name]
        side = verdict(difference) * (1 if name in LOWER_IS_BETTER else -1)
        found.append(
            (
                TITLES[name],
                baseline["name"],
                decimal(baseline["metrics"][name]["value"]),
                _signed(difference["value"]),
                f"{_signed(difference['low'])} to {_signed(difference['high'])}",
                {-1: "better", 0: "no clear difference", 1: "worse"}[side],
            )
        )
    return found


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}".replace("-", "−")


def importance_section(report: Report) -> Html:
    """What predictions rest on."""
    return section(
        "columns", "What it looks at", grid(importance_figure(report["evaluation"]))
    )


def contents(sections: dict[str, str]) -> Html:
    """Links to the sections."""
    links = [tag("a", title, href=f"#{name}") for name, title in sections.items()]
    return tag("nav", *links, aria_label="Contents")
