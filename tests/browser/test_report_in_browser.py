"""The page in a real browser: Chromium, without a window and without a network."""

import jax
import pyarrow as pa
import pytest

from jaxmlp.data.tables import write_table
from tests.browser import chromium
from tests.browser.chromium import contrast, luminance
from tests.interfaces.conftest import SMALL, cli, make_table  # noqa: F401

pytestmark = pytest.mark.skipif(
    chromium.find() is None,
    reason="Chromium is not installed: scripts/install_chromium.sh installs it",
)

LONG = "a_column_with_a_name_that_is_far_longer_than_a_telephone_is_wide_" * 3


@pytest.fixture(params=["lecture", "ensemble"])
def page(request, cli, tmp_path):  # noqa: F811
    """A report with names that are long, and markup."""
    table = make_table()
    columns = {
        LONG: table["x"],
        "<script>document.title = 'run'</script>": table["job"],
        "flag": table["flag"],
        "bought": [
            f"{label} <img src=x onerror=alert(1)>" for label in table["bought"].to_pylist()
        ],
    }
    write_table(pa.table(columns), tmp_path / "t.parquet")
    flags = ("--recipe", "lecture", *SMALL) if request.param == "lecture" else (
        "--epochs", "3", "--ensemble", "2", "--hidden", "4"
    )  # fmt: skip
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam mixes types itself
        finished = cli(
            "train", tmp_path / "t.parquet", "--target", "bought", "--out", tmp_path / "m",
            "--quiet", *flags,
        )  # fmt: skip
    assert finished.code == 0, finished.err
    return tmp_path / "m/report.html"


def test_no_error_and_no_request(browser, page):
    browser.open(page)
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]
    assert browser.evaluate("document.title") == "jaxmlp: bought"
    assert browser.evaluate("document.scripts.length + document.images.length") == 0


def test_a_page_with_an_error_would_be_seen(browser, page):
    """The check above can fail: a script is refused by the page's own policy, and told."""
    content = page.read_text()
    page.write_text(
        content.replace("</body>", "<script>1</script><img src='http://a.b/c'></body>")
    )
    browser.open(page)
    assert [e["method"] for e in browser.complaints()].count("Log.entryAdded") >= 1


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser, page, width):
    browser.open(page, width=width)
    script = "[document.documentElement.scrollWidth, innerWidth]"
    scroll_width, inner_width = browser.evaluate(script)
    assert inner_width == width
    assert scroll_width <= inner_width
    pictures = "[...document.querySelectorAll('figure > svg')]"
    sizes = f"{pictures}.map(svg => svg.getBoundingClientRect().width)"
    assert min(browser.evaluate(sizes)) >= 250


OVERLAPS = """
[...document.querySelectorAll('figure > svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(
    text => [text.textContent, text.getBoundingClientRect()]);
  const found = [];
  boxes.forEach(([a, s], i) => boxes.slice(i + 1).forEach(([b, t]) => {
    const across = Math.min(s.right, t.right) - Math.max(s.left, t.left);
    const down = Math.min(s.bottom, t.bottom) - Math.max(s.top, t.top);
    if (across > 1 && down > 3) found.push([svg.id, a, b]);
  }));
  return found;
})
"""


def test_texts_of_a_figure_do_not_overlap(browser, page):
    browser.open(page, width=1280)
    assert browser.evaluate(OVERLAPS) == []


def test_dark_mode_is_dark_and_readable(browser, page):
    colours = "['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])"
    light, dark = [], []
    for scheme, found in (("light", light), ("dark", dark)):
        browser.prefer(scheme)
        browser.open(page)
        for text in browser.evaluate(colours):
            found.append(luminance(text))
        label = "getComputedStyle(document.querySelector('svg text')).fill"
        found.append(luminance(browser.evaluate(label)))
    browser.prefer("light")
    for ink, paper, tick in (light, dark):
        assert contrast(ink, paper) > 7
        assert contrast(tick, paper) > 4.5
    assert light[1] > 0.8
    assert dark[1] < 0.05


def test_it_prints(browser, page, tmp_path):
    browser.open(page)
    assert browser.pdf().startswith(b"%PDF")
    browser.send("Emulation.setEmulatedMedia", media="print")
    hidden = "getComputedStyle(document.querySelector('nav')).display"
    assert browser.evaluate(hidden) == "none"
    kept = "getComputedStyle(document.querySelector('figure')).breakInside"
    assert browser.evaluate(kept) == "avoid"
    browser.send("Emulation.setEmulatedMedia", media="")
    assert browser.screenshot().startswith(b"\x89PNG")
