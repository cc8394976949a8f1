"""What mkdocs does beside its plugins: formulas as MathML, pages from the root."""

import re
from html import unescape
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>',
    re.DOTALL,
)
LINK = re.compile(r"\[(?P<text>[^]]*)\]\((?P<target>[^):#]+)(?P<anchor>#[^)]*)?\)")


def on_files(files, config):
    """Adds the pages that stand at the root of the repository, for its readers."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=LINK.sub(_within_docs, text)))
    return files


def _within_docs(link):
    """A link as seen from the docs; what is no page of theirs is no link there."""
    target = PAGES.get(link["target"], link["target"].removeprefix("docs/"))
    if target not in PAGES.values() and not (ROOT / "docs" / target).exists():
        return link["text"]
    return f"[{link['text']}]({target}{link['anchor'] or ''})"


def on_page_content(html, page, config, files):
    """Formulas become MathML, which browsers draw without a script."""

    def to_mathml(match):
        tex = unescape(match["tex"]).strip()
        display = "block" if match["tag"] == "div" else "inline"
        try:
            return mathml(tex, display)
        except Exception as error:
            raise PluginError(
                f"{page.file.src_uri}: no formula: {tex}: {error!r}"
            ) from error

    return FORMULA.sub(to_mathml, html)


def mathml(tex, display="inline"):
    """TeX as MathML; raises ValueError for what latex2mathml passes over."""
    result = convert(tex, display=display)
    if "\\" in unescape(result) or ">&<" in result:
        raise ValueError("a command that latex2mathml does not know")
    return result
