"""The page of a training run: one file, which asks for nothing from elsewhere."""

from importlib.resources import files
from typing import Any

from jaxmlp.interfaces.report.elements import Html, join, tag
from jaxmlp.interfaces.report.row_sections import rows_section
from jaxmlp.interfaces.report.run_sections import privacy_section, repeat_section
from jaxmlp.interfaces.report.sections import (
    baselines_section,
    contents,
    data_section,
    headline,
    importance_section,
    performance_section,
    training_section,
)

# Nothing is loaded, run or sent, whatever the page holds; the icon is empty, so that no
# server is asked for one.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def render_report(report: dict[str, Any]) -> str:
    """Makes the page, a pure function of report.json.

    Args:
      report: What `jaxmlp train --json` prints, `evaluation` among it.

    Returns:
      An HTML document.

    Guarantees:
      Every text of the table or the user's is escaped; no script, and no request. The page
      can be written as UTF-8.
    """
    links = {
        "data": "Data",
        "training": "Training",
        "performance": "Performance",
        "baselines": "Baselines",
        "columns": "Columns",
        "rows": "Rows",
        "repeat": "Repeat",
    }
    main = tag(
        "main",
        headline(report),
        contents(links),
        *([privacy_section(report)] if report["privacy"] is not None else []),
        data_section(report),
        training_section(report),
        performance_section(report),
        baselines_section(report),
        importance_section(report),
        rows_section(report),
        repeat_section(report),
    )
    page = tag("html", _head(report), tag("body", main), lang="en")
    # A name of a file may hold bytes that are no text.
    return f"<!doctype html>\n{page}\n".encode(errors="backslashreplace").decode()


def _head(report: dict[str, Any]) -> Html:
    style = files("jaxmlp.interfaces.report").joinpath("style.css").read_text("utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", f"jaxmlp: {report['settings']['target']}"),
        tag("link", rel="icon", href="data:,"),
        tag("style", join([Html(style)])),
    )
