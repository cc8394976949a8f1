"""Drawing: scales, axes and marks, whose colours the page's style gives.

Lengths are in units of the view box, of which 380 are the width of a figure: small enough
for a telephone, so that its letters stay readable there.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxmlp.interfaces.report.elements import Html, join, power, short, tag

WIDTH = 380.0


class Scale(NamedTuple):
    """Maps values to lengths.

    Attributes:
      low: Value at `start`.
      high: Value at `end`.
      start: Length.
      end: Length; smaller than start for an axis that points up.
      is_log: Whether equal ratios have equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The length of a value, which is cut to the scale's ends."""
        inside = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, n: int = 5) -> list[float]:
        """Round values, about n of them."""
        if self.is_log:
            return _powers(self.low, self.high, n)
        step = _round_step((self.high - self.low) / n)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def _round_step(raw: float) -> float:
    unit = 10.0 ** math.floor(math.log10(raw))
    return next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)


def _powers(low: float, high: float, n: int) -> list[float]:
    exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high)) + 1)
    every = max(1, len(exponents) // n)
    powers = [10.0**e for e in exponents][::every]
    if len(powers) >= 2:
        return powers
    parts = [m * 10.0**e for e in range(-30, 30) for m in (1, 2, 5)]
    return [part for part in parts if low <= part <= high]


class Frame(NamedTuple):
    """Two axes.

    Attributes:
      x: Along.
      y: Upwards.
      height: Of the whole picture.
    """

    x: Scale
    y: Scale
    height: float


def frame(
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    height: float = 270.0,
    left: float = 54.0,
    is_log_x: bool = False,
    is_log_y: bool = False,
) -> Frame:
    """Axes for values of these ranges."""
    across = Scale(*x, left, WIDTH - 12, is_log_x)
    return Frame(across, Scale(*y, height - 42, 12, is_log_y), height)


def axes(
    f: Frame,
    x_title: str,
    y_title: str,
    *,
    y_text: Callable[[float], str] = short,
) -> Html:
    """Grid lines, the ticks' texts, and what the axes mean."""
    x_text, y_text = (power if f.x.is_log else short), (power if f.y.is_log else y_text)
    bottom, left, right = f.y.start, f.x.start, f.x.end
    parts = []
    for value in f.y.ticks():
        y = f.y(value)
        parts.append(line(left, y, right, y, "grid"))
        parts.append(text(left - 6, y + 4, y_text(value), "tick", "end"))
    for value in f.x.ticks():
        x = f.x(value)
        parts.append(line(x, bottom, x, bottom + 4, "axis"))
        parts.append(text(x, bottom + 17, x_text(value), "tick", "middle"))
    parts.append(line(left, bottom, right, bottom, "axis"))
    parts.append(text((left + right) / 2, f.height - 6, x_title, "label", "middle"))
    middle = (f.y.start + f.y.end) / 2
    turned = f"rotate(-90 10 {middle:.1f})"
    parts.append(text(10, middle, y_title, "label", "middle", transform=turned))
    return join(parts)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    """A straight line; kind is a class of the page's style, as in all that follows."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=kind)


def text(
    x: float,
    y: float,
    content: str,
    kind: str,
    anchor: str = "start",
    transform: str | None = None,
) -> Html:
    """A text whose base line begins, has its middle or ends at x."""
    return tag(
        "text",
        content,
        x=float(x),
        y=float(y),
        class_=kind,
        text_anchor=anchor,
        transform=transform,
    )


def curve(f: Frame, points: Sequence[Sequence[float]], kind: str) -> Html:
    """A line through points."""
    lengths = " ".join(f"{f.x(x):.1f},{f.y(y):.1f}" for x, y in points)
    return tag("polyline", points=lengths, class_=kind)


def bar(x: float, y: float, width: float, height: float, kind: str, title: str) -> Html:
    """A rectangle that tells what it is when pointed at."""
    return tag(
        "rect",
        tag("title", title),
        x=float(x),
        y=float(y),
        width=max(0.0, float(width)),
        height=max(0.0, float(height)),
        class_=kind,
    )


def dot(x: float, y: float, radius: float, kind: str, title: str) -> Html:
    """A circle that tells what it is when pointed at."""
    return tag(
        "circle",
        tag("title", title),
        cx=float(x),
        cy=float(y),
        r=float(radius),
        class_=kind,
    )


def legend(entries: Sequence[tuple[str, str, str]]) -> Html:
    """What the marks of a figure stand for.

    Args:
      entries: Kind, `line` or `box`; class; and text of each.
    """
    parts = []
    for shape, kind, content in entries:
        mark = (
            line(0, 6, 22, 6, kind)
            if shape == "line"
            else tag("rect", x=4, y=0, width=12, height=12, class_=kind)
        )
        icon = tag(
            "svg", mark, viewBox="0 0 22 12", width=22, height=12, aria_hidden="true"
        )
        parts.append(tag("li", icon, content))
    return tag("ul", *parts, class_="legend")


def figure(
    identity: str,
    title: str,
    message: str,
    body: Sequence[str],
    *,
    height: float,
    caption: str,
    key: Html | None = None,
) -> Html:
    """A picture with its heading, a text for those who do not see it, and a caption.

    Args:
      identity: Unique on the page.
      title: What is drawn.
      message: What the picture says, with its numbers.
      body: Its marks.
      height: Of its view box.
      caption: How to read it.
      key: From `legend`.
    """
    names = f"{identity}-name", f"{identity}-message"
    picture = tag(
        "svg",
        tag("title", title, id=names[0]),
        tag("desc", message, id=names[1]),
        *body,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_labelledby=names[0],
        aria_describedby=names[1],
    )
    heading = tag("h3", title)
    children = [heading, picture, *([] if key is None else [key])]
    return tag("figure", *children, tag("figcaption", caption), id=identity)
