import base64
import hashlib
import json
import re

import numpy as np

from jaxmlp.interfaces.playground.page import render_playground
from tests.interfaces.playground.conftest import GRID

MARKUP = "</script><script>document.title = 'run'</script>"


def render(replay, **changes):
    points = replay.points._replace(**changes)
    return render_playground(
        [replay._replace(points=points)], GRID, replay.runs[0].choice, "jaxmlp <b>"
    )


def test_the_one_script_is_allowed_by_its_hash_and_nothing_else(replay):
    page = render(replay)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    links = re.findall(r"https?://[^\s\"']+", page)
    assert set(links) == {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_texts_of_a_table_are_no_markup(replay):
    page = render(replay, axes=(MARKUP, "b"), classes=("<b>", "&amp;"), name=MARKUP)
    assert MARKUP not in page
    assert "jaxmlp &lt;b&gt;" in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
    (stored,) = json.loads(data)["sets"]
    assert (stored["name"], stored["axes"][0], stored["classes"]) == (
        MARKUP,
        MARKUP,
        ["<b>", "&amp;"],
    )


def test_stored_numbers_are_the_runs(replay):
    data = re.search(r'id="data">(.*?)</script>', render(replay))[1]
    (stored,) = json.loads(data)["sets"]
    for run, one in zip(replay.runs, stored["runs"], strict=True):
        params = np.frombuffer(base64.b64decode(one["params"]), "<f4")
        np.testing.assert_array_equal(params, run.params.ravel())
    X = np.frombuffer(base64.b64decode(stored["X"]), "<f4").reshape(-1, 2)
    np.testing.assert_array_equal(X[:42], replay.points.X_train)
    orders = np.frombuffer(base64.b64decode(stored["orders"]), "<u4")
    np.testing.assert_array_equal(orders, replay.orders.ravel())


def test_a_name_that_is_no_text_can_be_written(replay):
    assert render(replay, name="t\udcff.csv").encode()
