"""The section of single rows: gradients, suspected labels, extremes."""

import math
from typing import Any

from jaxmlp.data.labels import as_text
from jaxmlp.interfaces.report.elements import (
    Html,
    count,
    paragraph,
    percent,
    section,
    short,
    table,
    tag,
)
from jaxmlp.interfaces.report.figures import gradients_figure
from jaxmlp.interfaces.report.words import class_names, cut

_KINDS = {
    "right": ("Surest and right", "sure"),
    "wrong": ("Surest and wrong", "sure"),
    "steep": ("Longest gradients, of training rows", "norm"),
}


_OF_PRIVATE = (
    "Left out, because training was private: gradients and suspected labels would be "
    "measured on training rows, without the noise that protects them, and a page made to "
    "be passed on shall show no single row."
)
_OF_STREAM = (
    "Left out: the rows were read as a stream, and are kept nowhere to be looked at."
)


def rows_section(report: dict[str, Any]) -> Html:
    """Rows worth a look; none where training was private, or on a stream."""
    e = report["evaluation"]
    if e["gradients"] is None:
        reason = _OF_STREAM if report["privacy"] is None else _OF_PRIVATE
        return section("rows", "Rows worth a look", paragraph(reason))
    return section(
        "rows",
        "Rows worth a look",
        paragraph("Rows count from 0, in the order of the table."),
        tag("div", gradients_figure(e, class_names(report)), *_suspects(e), class_="grid"),
        tag("h3", "Extremes"),
        paragraph(
            "With their values of the columns that matter most; “sure” is the probability "
            "that the model gives to the label which it holds for right."
        ),
        *(part for kind in _KINDS for part in _extremes(e["extremes"], kind)),
    )


def _suspects(e: dict[str, Any]) -> list[Html]:
    found = e["suspects"]
    if found is None:
        return []
    rows = [
        (
            str(label["row"]),
            as_text(label["given"]),
            as_text(label["suggested"]),
            percent(label["probability_wrong"]),
        )
        for label in found["labels"]
    ]
    block = tag(
        "div",
        tag("h3", "Suspected label errors"),
        paragraph(
            f"Of {count(found['rows'], 'row')}, judged by networks that had not learned "
            f"from them, {count(found['suspected'], 'label')} "
            f"{'is' if found['suspected'] == 1 else 'are'} more probably wrong than right; "
            f"about {short(found['expected'], 2)} wrong ones are expected in all. ",
            tag("code", "jaxmlp audit"),
            " looks closer, with networks trained for it.",
        ),
        table(
            "The most suspicious labels",
            ("row", "given", "other label", "chance that it is wrong"),
            rows,
            is_text=(1, 2),
        ),
    )
    return [block]


def _extremes(found: dict[str, Any], kind: str) -> list[Html]:
    if not found[kind]:
        return []
    title, measure = _KINDS[kind]
    columns = found["columns"]
    rows = [
        (
            str(row["row"]),
            as_text(row["label"]),
            short(row["score"]) if kind == "steep" else _sure(row["score"]),
            *(value or "missing" for value in row["values"]),
        )
        for row in found[kind]
    ]
    return [
        table(
            title,
            ("row", "label", measure, *map(cut, columns)),
            rows,
            is_text=(1, *range(3, 3 + len(columns))),
        )
    ]


def _sure(logit: float) -> str:
    """The probability of the more probable label; never called certain."""
    probability = 1 / (1 + math.exp(-logit))
    return f"{100 * probability:.2f}%" if probability < 0.9999 else "> 99.99%"
