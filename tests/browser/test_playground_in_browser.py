"""The page to play with, in a real browser, its numbers held against the library's."""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest

import jaxmlp.lecture as lecture
from jaxmlp.analysis import influence
from jaxmlp.data.tables import write_table
from jaxmlp.gradients import loss_factors, norms
from tests.browser import chromium
from tests.browser.chromium import contrast, luminance
from tests.interfaces.conftest import run_command
from tests.interfaces.playground.test_runs import params_of

pytestmark = pytest.mark.skipif(
    chromium.find() is None,
    reason="Chromium is not installed: scripts/install_chromium.sh installs it",
)

LONG = "a_column_with_a_name_that_is_far_longer_than_a_telephone_is_wide_" * 3
FLAGS = (
    "--hidden", "3,5", "--learning-rate", "0.3,1e30", "--batch-size", "8,all",
    "--init", "he,zero", "--epochs", "40",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of a table of one's own, with names that are long, and markup."""
    folder = tmp_path_factory.mktemp("playground")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2)) * [1, 30] + [5, 100]
    is_yes = (X[:, 0] - 5) ** 2 + ((X[:, 1] - 100) / 30) ** 2 < 1.3
    columns = {
        LONG: X[:, 0],
        "<img src=x onerror=alert(1)>": X[:, 1],
        "label": np.where(is_yes, "<b>yes</b>", "no"),
    }
    write_table(pa.table(columns), folder / "own.csv")
    with pytest.MonkeyPatch.context() as patch:
        code = run_command(
            patch, "playground", folder / "own.csv", "--target", "label",
            "--positive", "<b>yes</b>", "--out", folder / "page.html", "--quiet", *FLAGS,
        )  # fmt: skip
    assert code == 0
    return folder / "page.html"


@pytest.fixture
def opened(browser, page):
    browser.prefer("light")
    browser.open(page, width=1280)
    return browser


def show(browser, **changes):
    browser.evaluate(f"playground.update({json.dumps(changes)})")


CELLS = """
(() => {
  const number = (cell, kind) => Number(cell.querySelector(kind)?.dataset.value);
  const scalars = {}, units = {};
  for (const row of document.querySelectorAll('#scalars tbody tr')) {
    scalars[row.dataset.name] = [...row.querySelectorAll('.value')].map(
      value => Number(value.dataset.value));
  }
  for (const cell of document.querySelectorAll('#units td')) {
    (units[cell.dataset.name] ??= []).push([number(cell, '.value'), number(cell, '.mean')]);
  }
  return {scalars, units};
})()
"""

PARAMS = """
(() => { const net = playground.network();
  return [...net.W1.flat(), ...net.b1, ...net.W2, net.b2]; })()
"""


def data_of(browser):
    script = "playground.sets[0].points.map(p => [...p.x, p.y, p.isTraining])"
    rows = np.array(browser.evaluate(script), float)
    is_training = rows[:, 3] == 1
    return rows[:, :2], rows[:, 2], is_training


def test_no_error_and_no_request(opened, page):
    assert opened.complaints() == []
    assert opened.requests() == [page.resolve().as_uri()]
    assert opened.evaluate("document.title") == "jaxmlp playground"
    assert opened.evaluate("document.images.length") == 0


def test_numbers_of_100_points_at_20_epochs_are_the_library_s(opened):
    """Every cell of the tables, in 2,000 states, against `lecture.backward_one`."""
    X, y, is_training = data_of(opened)
    rng = np.random.default_rng(1)
    points = rng.permutation(len(y))[:100]
    n_snapshots = opened.evaluate("playground.sets[0].epochs.length")
    assert n_snapshots >= 20
    backward_of_each = jax.jit(jax.vmap(lecture.backward_one, in_axes=(None, 0, 0)))
    forward_of_each = jax.jit(jax.vmap(lecture.forward_one, in_axes=(None, 0)))
    for k in np.linspace(0, n_snapshots - 1, 20).round().astype(int):
        width, q = ((0, 3), (1, 5))[k % 2]
        show(opened, snapshot=int(k), width=width, batch_size=0, init=0, learning_rate=0)
        params = params_of(np.array(opened.evaluate(PARAMS), np.float32), q)
        passed = forward_of_each(params, X.astype(np.float32))
        one = backward_of_each(params, X.astype(np.float32), y.astype(np.float32))
        states = f"{points.tolist()}.map(i => (playground.update({{point: i}}), {CELLS}))"
        shown = json.loads(opened.evaluate(f"JSON.stringify({states})"))

        def unit(name, kind=0, shown=shown):
            return np.array([cells["units"][name] for cells in shown], float)[:, :, kind]

        def scalar(name, shown=shown):
            return np.array([cells["scalars"][name][0] for cells in shown])

        def close(actual, expected):
            expected = np.asarray(expected)[points].reshape(actual.shape)
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)

        close(unit("a"), passed.a)
        close(unit("h"), passed.h)
        close(unit("mask"), one.dh_da)
        close(scalar("z"), passed.z)
        close(scalar("ŷ"), passed.y_hat)
        close(scalar("𝓛"), one.loss)
        close(scalar("d𝓛/dz"), one.dL_dz)  # (1)
        close(unit("dW2"), one.dL_dW2)  # (2)
        close(scalar("d𝓛/db2"), one.dL_db2)  # (3)
        close(unit("dh"), one.dL_dh)  # (4)
        close(unit("da"), one.dL_da)  # (5)
        close(unit("dW10"), one.dL_dW1[:, :, 0])  # (6)
        close(unit("dW11"), one.dL_dW1[:, :, 1])
        close(unit("db1"), one.dL_db1)  # (7)
        # Beside them, the means over the mini-batches of the coming epoch.
        order = np.array(opened.evaluate(f"[...playground.sets[0].order({k})]"))
        means = jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan), one)
        for start in range(0, len(order), 8):
            batch = order[start : start + 8]
            for leaf, own in zip(means, one, strict=True):
                leaf[batch] = own[batch].mean(axis=0)
        close(unit("dW2", 1), means.dL_dW2)
        close(unit("dW10", 1), means.dL_dW1[:, :, 0])
        close(unit("dW11", 1), means.dL_dW1[:, :, 1])
        close(unit("db1", 1), means.dL_db1)
        for i, cells in zip(points, shown, strict=True):
            if is_training[i]:
                beside = [cells["scalars"][name][1] for name in ("𝓛", "d𝓛/dz", "d𝓛/db2")]
                wanted = [m[i].item() for m in (means.loss, means.dL_dz, means.dL_db2)]
                assert beside == pytest.approx(wanted, rel=1e-5, abs=1e-5)
            else:
                assert len(cells["scalars"]["𝓛"]) == 1


def test_the_page_holds_itself_against_jax(opened):
    for run in ({"width": 0}, {"width": 1}, {"init": 1}, {"batch_size": 1}):
        show(opened, **{"init": 0, "batch_size": 0, "learning_rate": 0, **run})
        for k in (0, 3, 15):
            show(opened, snapshot=k)
            assert float(opened.evaluate("agreement.dataset.worst")) < 1e-5
            assert "agrees with JAX" in opened.evaluate("verdict.textContent")
            rows = opened.evaluate("playground.comparisons()")
            assert len(rows) == 6
            for name, here, there in rows:
                assert here == pytest.approx(there, rel=1e-5, abs=1e-5), name


def test_the_comparison_can_fail(opened):
    show(opened, width=0, init=0, batch_size=0, learning_rate=0, snapshot=5)
    opened.evaluate(
        "playground.sets[0].points[3].y ^= 1; playground.update({redraw: true})"
    )
    assert "differs from JAX" in opened.evaluate("verdict.textContent")


def test_a_run_that_diverged_says_so(opened):
    show(opened, learning_rate=1, snapshot=15)
    assert opened.evaluate("lost.hidden") is False
    assert opened.evaluate("verdict.textContent") == "nothing to compare"
    assert opened.evaluate("agreement.className") == ""
    drawn = "document.querySelector('.plot svg').outerHTML"
    assert "NaN" not in opened.evaluate(drawn)
    show(opened, learning_rate=0)
    assert opened.evaluate("lost.hidden") is True
    assert opened.complaints() == []


def test_what_is_typed_as_a_point_or_out_of_range_is_one(opened):
    for typed, point in (("1.5", 2), ("-3", 0), ("99999", 149), ("x", 0)):
        show(opened, point=typed)
        assert opened.evaluate("playground.state.point") == point
        assert opened.complaints() == []


def test_values_are_shown_as_the_table_has_them(opened, page):
    import pyarrow.csv

    table = pyarrow.csv.read_csv(page.parent / "own.csv")
    values = set(zip(*(table.columns[i].to_numpy().round(4) for i in (0, 1)), strict=True))
    raw = opened.evaluate("playground.sets[0].points.map(p => p.raw)")
    assert {tuple(np.round(pair, 4)) for pair in raw} <= values
    show(opened, point=3)
    text = opened.evaluate("document.getElementById('which').textContent")
    for value in raw[3]:
        assert f"{value:.8g}".replace("-", "−") in text


def test_points_are_sized_by_gradient_norm_and_influence(opened, x64):
    show(opened, width=1, init=0, batch_size=0, learning_rate=0, snapshot=18, point=7)
    X, y, is_training = data_of(opened)
    flat = np.array(opened.evaluate(PARAMS), np.float32)
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params_of(flat, 5))
    values = """
    [...document.querySelectorAll('[data-point]')]
      .sort((a, b) => a.dataset.point - b.dataset.point)
      .map(p => Number(p.dataset.value))
    """
    show(opened, size="norm")
    np.testing.assert_allclose(
        opened.evaluate(values), norms(loss_factors(params, X, y)), rtol=1e-6, atol=1e-9
    )
    show(opened, size="influence")
    found = np.array(opened.evaluate(values), float)
    n = int(is_training.sum())
    removal = influence(params, X[:n], y[:n], X[7:8], l2=0.01, solver="parameters")[0]
    np.testing.assert_allclose(found[:n], -removal, rtol=1e-6, atol=1e-9)
    assert np.isnan(found[n:]).all()  # validation points shaped nothing
    circles = "[...document.querySelectorAll('circle[data-point]')]"
    sizes = opened.evaluate(f"{circles}.map(c => Number(c.getAttribute('r')))")
    assert max(sizes) > 2 * min(sizes)
    up = "document.querySelectorAll('.push.up').length"
    down = "document.querySelectorAll('.push.down').length"
    assert 0 < opened.evaluate(up) <= (removal < 0).sum()
    assert 0 < opened.evaluate(down) <= (removal > 0).sum()


def centre(browser, script):
    browser.evaluate(f"{script}.scrollIntoView({{block: 'center'}})")
    box = f"{script}.getBoundingClientRect()"
    return browser.evaluate(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")


def test_a_click_chooses_the_point_under_it(opened):
    for point in (0, 11, 42, 120):
        x, y = centre(opened, f"document.querySelector('#points [data-point=\"{point}\"]')")
        opened.click(x, y)
        chosen = opened.evaluate("playground.state.point")
        near = opened.evaluate(
            f"[{point}, {chosen}].map(i => playground.sets[0].points[i].x.join())"
        )
        assert chosen == point or np.allclose(
            *[np.array(text.split(","), float) for text in near], atol=0.1
        )
        assert int(opened.evaluate("document.getElementById('point').value")) == chosen


def test_the_plot_is_used_by_keys(opened):
    opened.evaluate("plot.focus()")
    show(opened, point=10)
    for key, axis, sign in (
        ("ArrowRight", 0, 1), ("ArrowLeft", 0, -1), ("ArrowUp", 1, 1), ("ArrowDown", 1, -1),
    ):  # fmt: skip
        before, old = opened.evaluate(
            "(s => [playground.sets[0].points[s.point].x, s.point])(playground.state)"
        )
        opened.press(key)
        after, new = opened.evaluate(
            "(s => [playground.sets[0].points[s.point].x, s.point])(playground.state)"
        )
        assert new != old
        assert sign * (after[axis] - before[axis]) > 0
    show(opened, snapshot=4)
    opened.press(".")
    assert opened.evaluate("playground.state.snapshot") == 5
    opened.press(",")
    opened.press(",")
    assert opened.evaluate("playground.state.snapshot") == 3


def test_slider_and_play_button_go_through_the_epochs(opened):
    show(opened, batch_size=0, learning_rate=0)
    opened.evaluate("slider.focus()")
    opened.press("Home")
    assert opened.evaluate("epoch.textContent") == "epoch 0 of 40"
    opened.press("ArrowRight")
    assert opened.evaluate("epoch.textContent") == "epoch 1 of 40"
    assert opened.evaluate("updates.textContent") == "14 updates"  # 105 points by 8
    opened.press("End")
    assert opened.evaluate("epoch.textContent") == "epoch 40 of 40"
    loss = float(opened.evaluate("document.getElementById('train-loss').textContent"))
    assert loss < 0.3
    opened.click(*centre(opened, "play"))
    assert opened.evaluate("[play.textContent, epoch.textContent]") == [
        "Pause",
        "epoch 0 of 40",
    ]
    deadline = time.monotonic() + 30
    while opened.evaluate("playground.state.snapshot") < 2:
        assert time.monotonic() < deadline, "it does not play"
    opened.click(*centre(opened, "play"))
    assert opened.evaluate("playground.state.playing") is False
    # Pressed again and again, it goes no faster.
    show(opened, snapshot=0)
    opened.evaluate("for (let i = 0; i < 9; i++) document.getElementById('play').click()")
    assert later(opened, 1000, "playground.state.snapshot") <= 4


def later(browser, milliseconds, script="null"):
    """What an expression gives after a while."""
    promise = f"new Promise(r => setTimeout(() => r({script}), {milliseconds}))"
    found = browser.send(
        "Runtime.evaluate", expression=promise, awaitPromise=True, returnByValue=True
    )
    return found["result"].get("value")


def test_the_address_keeps_what_is_shown(opened, page):
    show(opened, width=1, snapshot=3, point=7, size="norm", batch_size=0)
    later(opened, 500)
    shown = opened.evaluate("location.hash")
    show(opened, width=0, snapshot=5, point=1, size="same", batch_size=1)
    later(opened, 500)
    opened.evaluate(f"location.hash = '{shown}'")
    found = later(opened, 100, "playground.state")
    assert [found[k] for k in ("width", "snapshot", "point", "size", "batch_size")] == [
        1, 3, 7, "norm", 0,
    ]  # fmt: skip
    # What an address cannot mean is left as it was.
    opened.evaluate("location.hash = '#width=9&set=-1&point=x&size=huge&snapshot=9999'")
    later(opened, 100)
    assert opened.evaluate("playground.network().q") == 5
    assert opened.complaints() == []


def test_controls_switch_between_runs(opened):
    show(opened, width=0, batch_size=0, init=0, learning_rate=0, snapshot=15)
    before = opened.evaluate(PARAMS)
    boundary = opened.evaluate("boundary.getAttribute('d')")
    opened.click(*centre(opened, "document.getElementById('batch_size-1').parentElement"))
    assert opened.evaluate("playground.state.batch_size") == 1
    assert opened.evaluate(PARAMS) != before
    assert opened.evaluate("boundary.getAttribute('d')") != boundary
    opened.evaluate("document.getElementById('width-0').focus()")
    opened.press("ArrowRight")
    assert opened.evaluate("playground.network().q") == 5
    n_lines = "document.querySelectorAll('#lines line').length"
    assert 2 <= opened.evaluate(n_lines) <= 10
    opened.click(*centre(opened, "document.getElementById('show-lines')"))
    assert opened.evaluate(n_lines) == 0


def test_hidden_units_lines_are_where_a_is_0(opened):
    show(opened, width=1, batch_size=0, init=0, learning_rate=0, snapshot=15, lines=True)
    script = """
    (net => net.W1.map((_, j) => playground.unitLine(net, j)).filter(Boolean))(
      playground.network())
    """
    flat = np.array(opened.evaluate(PARAMS))
    hidden, _ = params_of(flat, 5)
    ends = np.array(opened.evaluate(script))
    assert len(ends) >= 1
    w, b = np.asarray(hidden.w), np.asarray(hidden.b)
    for line in ends:
        a = line @ w + b
        assert (abs(a) < 1e-4).all(axis=0).any()


def test_names_are_shown_and_are_no_markup(opened):
    assert opened.evaluate("document.querySelectorAll('#units b img, p b b').length") == 0
    text = opened.evaluate("document.getElementById('which').textContent")
    assert "<img src=x" in text
    assert "<b>yes</b>" in text or "label no" in text


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser, page, width):
    browser.open(page, width=width)
    show(browser, width=1)
    script = "[document.documentElement.scrollWidth, innerWidth]"
    scroll_width, inner_width = browser.evaluate(script)
    assert inner_width == width
    assert scroll_width <= inner_width
    assert browser.evaluate("plot.getBoundingClientRect().width") >= 280
    small = "[...document.querySelectorAll('button, #size')].map(b => b.offsetHeight)"
    assert min(browser.evaluate(small)) >= 30


def test_dark_mode_is_readable_and_the_surface_follows(browser, page):
    colours, corners = [], []
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        browser.open(page)
        script = "['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])"
        colours.append([luminance(text) for text in browser.evaluate(script)])
        corners.append(
            browser.evaluate("[...surface.getContext('2d').getImageData(0, 0, 1, 1).data]")
        )
    browser.prefer("light")
    for ink, paper in colours:
        assert contrast(ink, paper) > 7
    assert corners[0] != corners[1]


def test_everything_is_reached_by_the_tab_key(opened):
    opened.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(25):
        opened.press("Tab")
        reached.add(
            opened.evaluate("document.activeElement.id || document.activeElement.tagName")
        )
    assert {
        "plot",
        "play",
        "back",
        "slider",
        "on",
        "size",
        "show-lines",
        "point",
    } <= reached
    assert any(name.startswith("learning_rate-") for name in reached)
