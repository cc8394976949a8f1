"""The documentation as it is built: complete, and at home on any machine."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import zlib
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.browser import chromium

pytest.importorskip("mkdocs", reason="mkdocs is not installed")

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "jaxmlp",
    "jaxmlp.core",
    "jaxmlp.gradients",
    "jaxmlp.training",
    "jaxmlp.analysis",
    "jaxmlp.privacy",
    "jaxmlp.lecture",
)
# Documented too: what public functions return, and what public classes have in common.
ALSO = {
    "jaxmlp.interfaces.estimators.base.BinaryClassifier",
    "jaxmlp.interfaces.model.Model",
}
# Hosts that the theme's scripts name. Whatever one fetches, the pages' policy forbids.
IN_SCRIPTS = {
    "api.github.com": "asked where mkdocs.yml has a repo_url",
    "${e}": "GitLab, the same",
    "unpkg.com": "mermaid, for its diagrams; a stand-in that browsers before 2020 need",
    "www.w3.org": "names of the formats SVG and MathML",
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")  # as mkdocs has it
        spec.loader.exec_module(module)
    return module


hooks = load("hooks")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    finished = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return folder


def pages(site):
    found = sorted(site.rglob("*.html"))
    assert len(found) > 10
    return found


class Loads(HTMLParser):
    """Addresses that a page loads by itself, and its policy."""

    def __init__(self):
        super().__init__()
        self.addresses, self.policies, self.ids = [], [], set()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        if attrs.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(attrs["content"])
        if tag != "a":
            wanted = ("src", "srcset", "href", "poster", "data", "action", "xlink:href")
            self.addresses += [attrs[name] for name in wanted if attrs.get(name)]


@cache
def read(page):
    parser = Loads()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_no_page_loads_from_another_host(site):
    for page in pages(site):
        found = read(page)
        assert found.addresses
        for address in found.addresses:
            assert not re.match(r"\w+://|//", address), (page, address)
        assert found.policies == ["default-src 'self' data: blob: 'unsafe-inline'"], page


def test_no_stylesheet_loads_from_another_host(site):
    sheets = [*site.rglob("*.css"), *pages(site)]
    assert len(sheets) > 12
    for sheet in sheets:
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*['\"]?\s*(https?:)?//", text), sheet
        assert "@import" not in text, sheet


def test_scripts_know_no_host_but_these(site):
    found = set()
    for script in site.rglob("*.js"):
        if script.name != "search_index.js":  # the text of the pages
            found |= set(re.findall(r"[\"'`]https?://([^/\s\"'`]+)", script.read_text()))
    assert found <= set(IN_SCRIPTS), found - set(IN_SCRIPTS)


@pytest.fixture(scope="module")
def inventory(site):
    """Names that the site documents: page and id, those of headings apart."""
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    places, headings = {}, set()
    for line in zlib.decompress(packed).decode().splitlines():
        name, _, priority, place, _ = line.split(" ", 4)
        places[name] = place.replace("$", name).split("#")
        if priority == "1":
            headings.add(name)
    return places, headings


def public(package):
    return {f"{package}.{name}" for name in importlib.import_module(package).__all__}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented(package, site, inventory):
    places, headings = inventory
    names = public(package)
    assert names
    assert names <= set(places), names - set(places)
    for name in names:
        page, place = places[name]
        assert place in headings
        assert place in read(site / page).ids


def test_nothing_private_has_a_heading(inventory):
    _, headings = inventory
    names = set().union(*map(public, PACKAGES)) | ALSO
    for heading in headings:
        owner = heading.rpartition(".")[0]
        assert heading in names or owner in names, heading
        assert "._" not in heading


def test_formulas_are_mathml(site):
    text = "".join(page.read_text(encoding="utf-8") for page in pages(site))
    assert text.count("<math") > 100
    assert text.count("<math") == text.count("</math>")
    assert "arithmatex" not in text
    assert "<merror" not in text


def test_formula_in_bold():
    assert "<mn>\U0001d7cf</mn>" in hooks.mathml(r"\mathbf{1}_{a>0}")
    assert "<mi>\U0001d6c9</mi>" in hooks.mathml(r"\mathbf{\theta}")


def test_aligned_formula_is_a_table():
    drawn = hooks.mathml(r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "block")
    assert drawn.count("<mtr>") == 2


@pytest.mark.parametrize(
    "tex", [r"\nosuch x", r"\frac{1}{", r"\begin{nosuch} a & b \end{nosuch}"]
)
def test_formula_that_cannot_be_drawn_stops_the_build(tex):
    from mkdocs.exceptions import PluginError

    page = SimpleNamespace(file=SimpleNamespace(src_uri="some/page.md"))
    html = rf'<p><span class="arithmatex">\({tex}\)</span></p>'
    with pytest.raises(PluginError, match=r"some/page\.md: cannot be drawn"):
        hooks.on_page_content(html, page, None, None)


def test_links_of_the_readme_lead_to_pages():
    turned = hooks.LINK.sub(
        hooks._within_docs,
        "[a](docs/export.md#json) [b](CONTRIBUTING.md) [c](notebooks) [d](https://e.org)",
    )
    first = "notebooks/01_the_lecture_in_code.md"
    assert turned == (
        f"[a](export.md#json) [b](contributing.md) [c]({first}) [d](https://e.org)"
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if chromium.find() is None:
        pytest.skip("Chromium is not installed: scripts/install_chromium.sh installs it")
    opened = chromium.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def test_pages_are_no_wider_than_a_telephone(browser, site):
    for page in pages(site):
        browser.open(page, width=360, height=700)
        assert browser.evaluate("document.scrollingElement.scrollWidth") == 360, page


def test_search_from_the_disk_asks_nobody(browser, site):
    browser.open(site / "reference" / "model.html")
    browser.evaluate("document.querySelector('[data-md-component=search-query]').focus()")
    browser.send("Input.insertText", text="bce_with_logits")
    for _ in range(300):  # 30 seconds
        browser.send("Input.dispatchKeyEvent", type="keyUp", key="s")
        n_found = browser.evaluate(
            "document.querySelectorAll('.md-search-result__item').length"
        )
        if n_found:
            break
        time.sleep(0.1)
    assert n_found
    requests = [
        e["params"]["request"]["url"]
        for e in browser.events
        if e["method"] == "Network.requestWillBeSent"
    ]
    assert any("search_index" in url for url in requests)
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "about"}
    complaints = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
    assert [e for e in browser.events if e["method"] in complaints] == []


def test_notebooks_are_pages_with_their_outputs(site):
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        n_outputs = sum(
            bool(cell.get("outputs")) for cell in json.loads(path.read_text())["cells"]
        )
        shown = page.count('class="output highlight"') + page.count("data:image/png")
        assert shown >= n_outputs > 0
        assert page.count("<summary>Solution</summary>") >= 1
        assert "arithmatex" not in page
    drawn = load("notebook_pages").page_of(ROOT / "notebooks/01_the_lecture_in_code.ipynb")
    assert "AssertionError: your function returns None" in drawn
    assert "(02_from_loop_to_one_product.md)" in drawn
