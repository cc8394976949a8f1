"""HTML and SVG elements as text, in which nothing is markup unless it was made here.

`tag` escapes every text that is not an `Html` of its own making: a column that is named
`<script>` shows as its name.
"""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any


class Html(str):
    """Markup, already escaped."""

    __slots__ = ()


_VOID = {"meta", "link", "br"}
_LONGEST_WORD = 22
_EMPTY_IN_SVG = {"path", "line", "rect", "circle", "polyline"}


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def tag(name: str, *children: str, **attributes: Any) -> Html:
    """An element.

    Args:
      name: Its name.
      *children: Markup or text; text is escaped.
      **attributes: Underscores stand for hyphens, one at the end is dropped; None is left
        out.

    Examples:
      >>> tag("td", "a < b", class_="name")
      '<td class="name">a &lt; b</td>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    if name in _EMPTY_IN_SVG and not children:
        return Html(f"<{name}{given}/>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Markup and text, one after the other; text is escaped."""
    return Html("".join(p if isinstance(p, Html) else html.escape(p) for p in parts))


def _number(value: Any) -> str:
    return (
        f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    )


def table(
    caption: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    is_text: Sequence[int] = (),
) -> Html:
    """A table whose first column names the rows.

    Args:
      caption: What it shows, in words.
      headers: Of the columns.
      rows: Their cells.
      is_text: Columns beside the first that hold text, and not numbers.
    """
    kinds = ["text" if j == 0 or j in is_text else "number" for j in range(len(headers))]
    head = [
        tag("th", header, scope="col", class_=_kind(header, kind))
        for header, kind in zip(headers, kinds, strict=True)
    ]
    body = [
        tag(
            "tr",
            tag("th", cells[0], scope="row", class_=_kind(cells[0], "text")),
            *(
                tag("td", cell, class_=_kind(cell, kind))
                for cell, kind in zip(cells[1:], kinds[1:], strict=True)
            ),
        )
        for cells in rows
    ]
    parts = tag("thead", tag("tr", *head)), tag("tbody", *body)
    content = tag("table", tag("caption", caption), *parts)
    # Reached by the keyboard too, where it is wider than the screen.
    return tag(
        "div", content, class_="scroll", tabindex=0, role="region", aria_label=caption
    )


def _kind(cell: str, kind: str) -> str:
    """Class of a cell; only where a word is very long, words may break anywhere."""
    longest = max(map(len, cell.split()), default=0)
    return f"{kind} long" if longest > _LONGEST_WORD else kind


def section(identity: str, title: str, *children: str) -> Html:
    """A part of the page, with a heading that a link can name."""
    heading = tag("h2", title, id=f"{identity}-title")
    return tag(
        "section", heading, *children, id=identity, aria_labelledby=f"{identity}-title"
    )


def grid(*parts: Html) -> Html:
    """Figures or tables side by side, where there is room."""
    return tag("div", *parts, class_="grid")


def paragraph(*children: str) -> Html:
    """A paragraph."""
    return tag("p", *children)


def strong(text: str) -> Html:
    """A text that stands out."""
    return tag("strong", text)


def short(value: float | None, digits: int = 3) -> str:
    """A number in a text: so many significant digits, or a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        text = f"{value:.{digits}g}"
        return f"{float(text):,.0f}" if "e" in text else text
    return f"{value:.{digits}g}"


def decimal(value: float | None) -> str:
    """A metric: four decimals, more only where these would all be 0."""
    if value is None:
        return "–"
    return f"{value:.1e}" if 0 < abs(value) < 5e-5 else f"{value:.4f}"


def power(value: float) -> str:
    """A number on a logarithmic axis: far from 1, a power of ten."""
    exponent = round(math.log10(value))
    if -3 < exponent < 4 or not math.isclose(value, 10.0**exponent, rel_tol=1e-6):
        return short(value)
    return "10" + str(exponent).translate(_RAISED)


def percent(share: float | None) -> str:
    """A share as per cent."""
    return "–" if share is None else f"{100 * share:.1f}%"


def count(n: int, one: str, many: str | None = None) -> str:
    """A number of things: `1 row`, `2,000 rows`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
