"""What mkdocs does beside its plugins: formulas as MathML, pages from the root."""

import re
import unicodedata
from html import unescape
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from notebook_pages import page_of

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
FIRST_NOTEBOOK = "notebooks/01_the_lecture_in_code.md"
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>',
    re.DOTALL,
)
LINK = re.compile(r"\[(?P<text>[^]]*)\]\((?P<target>[^):#]+)(?P<anchor>#[^)]*)?\)")


def on_files(files, config):
    """Adds the pages that stand outside of docs: at the root, and the notebooks."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=LINK.sub(_within_docs, text)))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = f"notebooks/{path.stem}.md"
        files.append(File.generated(config, page, content=page_of(path)))
    return files


def _within_docs(link):
    """A link as seen from the docs; what is no page of theirs is no link there."""
    elsewhere = {**PAGES, "notebooks": FIRST_NOTEBOOK}
    target = elsewhere.get(link["target"], link["target"].removeprefix("docs/"))
    if target not in elsewhere.values() and not (ROOT / "docs" / target).exists():
        return link["text"]
    return f"[{link['text']}]({target}{link['anchor'] or ''})"


def on_page_content(html, page, config, files):
    """Formulas become MathML, which browsers draw without a script."""

    def to_mathml(match):
        tex = unescape(match["tex"]).strip()
        try:
            if match["tag"] == "span":
                return mathml(tex)
            return f'<div class="formula">{mathml(tex, "block")}</div>'
        except Exception as error:
            where = page.file.src_uri
            raise PluginError(f"{where}: cannot be drawn: {tex} ({error!r})") from error

    return FORMULA.sub(to_mathml, html)


def mathml(tex, display="inline"):
    """TeX as the MathML that browsers know; raises for what cannot be converted."""
    result = convert(tex.replace("{aligned}", "{split}"), display=display)
    if "\\" in unescape(result) or ">&<" in result:
        raise ValueError("a command or an environment that latex2mathml does not know")
    for pattern, replacement in REPAIRS:
        result = re.sub(pattern, replacement, result)
    return result


def _bold(element):
    """A letter's bold sign: browsers do not look at `mathvariant`."""
    name = re.sub("LATIN |GREEK |LETTER ", "", unicodedata.name(unescape(element["sign"])))
    style = element["style"].replace("-", " ")
    bold = unicodedata.lookup(f"MATHEMATICAL {style} {name}")
    return f"<{element['tag']}>{bold}</{element['tag']}>"


REPAIRS = [
    (
        r'<(?P<tag>m[in]) mathvariant="(?P<style>bold[a-z-]*)">(?P<sign>[^<]+)</m[in]>',
        _bold,
    ),
    ("negativethinmathspace", "-0.167em"),
    ("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>"),
    # Two bars about a fraction would each take a height of their own.
    ("<mo>&#x02016;</mo>", '<mo stretchy="false">&#x02016;</mo>'),
    # TeX's thin space between a function and its argument, which latex2mathml leaves out.
    (r"(<mi>(?:log|exp|cos)</mi>)(?!<mo)", r'\1<mspace width="0.167em" />'),
]
