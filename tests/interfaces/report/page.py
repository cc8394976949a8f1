"""A page taken apart by the standard library's parser."""

import itertools
from html.parser import HTMLParser
from typing import NamedTuple

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Element(NamedTuple):
    name: str
    attributes: dict[str, str | None]
    parents: tuple[str, ...]


class Page(HTMLParser):
    """`elements` in order, and `text` of all of them; unbalanced tags are errors."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        self.elements.append(Element(tag, dict(attrs), tuple(self._open)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self._open, f"<{tag}/> outside of a picture"
        self.elements.append(Element(tag, dict(attrs), tuple(self._open)))

    def handle_endtag(self, tag):
        assert self._open[-1:] == [tag], f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data

    def named(self, *names: str) -> list[Element]:
        return [element for element in self.elements if element.name in names]


def check(html: str) -> Page:
    """What every page must be: whole, described, ordered, and asking for nothing."""
    page = Page(html)
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            if name in element.attributes:
                assert element.attributes[name] in ids
        names = element.attributes.keys()
        assert not any(name.startswith("on") or "src" in name for name in names)
    for picture in page.named("svg"):
        if picture.attributes.get("aria-hidden") != "true":
            assert picture.attributes["role"] == "img"
            assert {"aria-labelledby", "aria-describedby"} <= picture.attributes.keys()
    for link in page.named("a"):
        target = link.attributes["href"] or ""
        assert target[0] == "#"
        assert target[1:] in ids
    levels = [int(e.name[1]) for e in page.named("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= before + 1 for before, later in itertools.pairwise(levels))
    assert all("scope" in e.attributes for e in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table"))
    assert len(page.named("figcaption")) == len(page.named("figure"))
    assert not page.named("script", "img", "iframe", "object", "embed", "form", "base")
    loaded = [e.attributes.get("href") for e in page.named("link")]
    assert loaded == ["data:,"]
    for word in ("http:", "https:", "url(", "@import", "@font-face"):
        assert word not in html, word
    (document,) = page.named("html")
    assert document.attributes["lang"] == "en"
    metas = {
        e.attributes.get("http-equiv") or e.attributes.get("name")
        for e in page.named("meta")
    }
    assert {"Content-Security-Policy", "viewport", "color-scheme"} <= metas
    return page
