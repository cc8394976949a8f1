"""The page: complete, escaped, well-formed, for tables of every kind."""

import json
import re
import shutil

import jax
import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import confusion_matrix

from jaxmlp.data.tables import read_table, write_table
from jaxmlp.interfaces.model import load_model
from jaxmlp.interfaces.recipes.pipeline import train_on_table
from jaxmlp.interfaces.recipes.recipe import EnsembleRecipe, LectureRecipe
from jaxmlp.interfaces.recipes.threshold import Costs
from jaxmlp.interfaces.report import evaluate, render_report
from jaxmlp.interfaces.report.elements import count, decimal, power, short, tag
from jaxmlp.interfaces.report.svg import Scale
from tests.interfaces.conftest import SMALL, make_table
from tests.interfaces.report.page import check

LECTURE = ("--recipe", "lecture", *SMALL)
TITLES = {
    "What was tried", "Losses in training", "ROC curve", "Precision and recall",
    "Calibration", "Predicted probabilities", "Log loss beside the baselines",
    "Importance of the columns", "Gradient norms",
}  # fmt: skip


@pytest.fixture(autouse=True)
def mixed_types():
    """optax's Adam mixes types itself."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def lecture(**given):
    settings = {"hidden_sizes": ((4,),), "n_epochs": 5, "learning_rates": (0.1,)}
    return LectureRecipe(**{"target": "bought", **settings, **given})


def complete(outcome, evaluation):
    """report.json as the command writes it."""
    report = {
        **outcome.report,
        "evaluation": evaluation,
        "data": "t.csv",
        "device": "cpu",
        "versions": {"jax": "1"},
        "command": "jaxmlp train t.csv",
        "out": "m",
    }
    report["seconds"]["total"] = 1.0
    return json.loads(json.dumps(report, allow_nan=False))


def report_on(table, recipe=None, rule=0.5):
    outcome = train_on_table(table, recipe or lecture(), rule)
    return complete(outcome, evaluate(table, outcome, rule))


@pytest.fixture
def two_runs(cli, data, tmp_path):
    """A small run of the command, with its page and its JSON."""
    out = tmp_path / "model"
    finished = cli("train", data, "--target", "bought", "--out", out, "--json",
                   "--recipe", "lecture", "--learning-rate", "0.03,0.3",
                   "--hidden", "0,3", "--epochs", "6")  # fmt: skip
    assert (finished.code, finished.err) == (0, "")
    return out, json.loads(finished.out)


def test_page_is_whole_and_has_everything(two_runs, data):
    out, report = two_runs
    html = (out / "report.html").read_text(encoding="utf-8")
    page = check(html)
    for title in TITLES:
        assert f"<h3>{title}</h3>" in html
    test = report["test"]
    for name in ("log_loss", "roc_auc", "accuracy", "brier"):
        metric = report["evaluation"]["metrics"][name]
        assert metric["value"] == pytest.approx(test[name], rel=1e-6)
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert f"{metric['value']:.4f}" in page.text
        assert f"{metric['low']:.4f} to {metric['high']:.4f}" in page.text
    for words in ("lecture’s recipe: of 4 networks", str(data), "18 test rows",
                  "bought = yes", "logistic regression", "gradient boosting",
                  "1,000 bootstrap", "Suspected label errors", "the usual threshold",
                  report["command"], report["evaluation"]["fingerprint"],
                  report["versions"]["jax"]):  # fmt: skip
        assert words in page.text, words
    assert report["command"].startswith(f"jaxmlp train {data} --target bought")


def test_page_is_a_pure_function_of_the_json(cli, two_runs):
    out, report = two_runs
    page = (out / "report.html").read_text(encoding="utf-8")
    assert render_report(report) == page
    (out / "report.html").unlink()
    assert cli("report", out).out == f"report in {out / 'report.html'}\n"
    assert (out / "report.html").read_text(encoding="utf-8") == page
    other = out.parent / "other.html"
    finished = cli("report", out, "--out", other, "--json")
    assert json.loads(finished.out) == {"out": str(other), "bytes": len(page.encode())}
    assert other.read_text(encoding="utf-8") == page
    assert cli("report", out, "--quiet").out == ""


def test_evaluation_is_that_of_the_test_rows(two_runs, data):
    out, report = two_runs
    table, model = read_table(data), load_model(out)
    e = report["evaluation"]
    y, logits = model.labels(table), model.logits(table)
    extremes = e["extremes"]["right"] + e["extremes"]["wrong"]
    for found in extremes:
        row = found["row"]
        assert found["label"] == table["bought"][row].as_py()
        assert found["score"] == pytest.approx(abs(float(logits[row])), rel=1e-4)
    right = {found["row"] for found in e["extremes"]["right"]}
    assert all((logits[row] > 0) == y[row] for row in right)
    c = e["confusion"]
    shown = sum(c.values())
    assert (shown, c["true_positives"] + c["false_negatives"]) == (18, e["positives"])
    accuracy = (c["true_positives"] + c["true_negatives"]) / shown
    assert accuracy == pytest.approx(report["test"]["accuracy"])
    histogram = e["histogram"]
    assert (
        sum(histogram["positive"])
        == e["positives"]
        == sum(b["positives"] for b in e["calibration"])
    )
    missing = {c["name"]: c["missing"] for c in e["columns"]}
    assert missing == {name: table[name].null_count for name in ("x", "job", "flag")}


@pytest.mark.parametrize("recipe", ["lecture", "ensemble"])
def test_same_seed_same_numbers(recipe):
    table = make_table(60)
    asked = (
        lecture()
        if recipe == "lecture"
        else EnsembleRecipe("bought", n_epochs=2, n_members=2)
    )
    first, second = (report_on(table, asked)["evaluation"] for _ in range(2))
    for e in (first, second):
        del e["seconds"]
        for baseline in e["baselines"]:
            del baseline["seconds"]
    assert first == second


EVIL = '<script>alert("1")</script>'


def test_every_text_of_the_user_is_escaped(cli, tmp_path):
    table = make_table()
    evil = {
        EVIL: table["x"],
        "<b>job</b>&amp;": [f"<img src=x onerror={j}>" for j in table["job"].to_pylist()],
        "</style></title>": [f"'\"><svg onload=1>{i % 3}" for i in range(120)],
        "</tar>get": [f"<i>{label}</i>" for label in table["bought"].to_pylist()],
        "id": np.arange(120),
    }
    path = tmp_path / "<u>file&.parquet"
    write_table(pa.table(evil), path)
    for flags in (LECTURE, ("--epochs", "2", "--ensemble", "2", "--hidden", "4")):
        out = tmp_path / "<m>"
        finished = cli(
            "train", path, "--target", "</tar>get", "--out", out, "--quiet", *flags
        )
        assert finished.code == 0, finished.err
        html = (out / "report.html").read_text(encoding="utf-8")
        page = check(html)
        assert EVIL in page.text
        for text in ("<b>job</b>&amp;", "</style></title>", "<img src=x onerror=cook>",
                     "<i>yes</i>",
                     "<u>file&.parquet", "<svg onload=1>"):  # fmt: skip
            assert text in page.text, text
        assert re.findall(r"<(?:script|img|b>j|u>|i>|m>)", html) == []


def test_elements_escape_text_and_attributes():
    assert tag("p", "<", tag("b", "&"), title='"x"') == (
        '<p title="&quot;x&quot;">&lt;<b>&amp;</b></p>'
    )
    assert tag("line", x1=1.5, x2=2.0, class_="a") == '<line x1="1.5" x2="2" class="a"/>'


@pytest.mark.parametrize("recipe", ["lecture", "ensemble"])
def test_twenty_rows(recipe):
    table = make_table(20, seed=3)
    asked = (
        lecture()
        if recipe == "lecture"
        else EnsembleRecipe("bought", n_members=2, n_epochs=3)
    )
    report = report_on(table, asked)
    page = check(render_report(report))
    assert "3 test rows" in page.text


@pytest.mark.parametrize("recipe", ["lecture", "ensemble"])
def test_without_a_test_part_the_left_out_rows_are_shown(recipe):
    split = {"fractions": (0.85, 0.15, 0.0)}
    asked = (
        lecture(**split)
        if recipe == "lecture"
        else EnsembleRecipe("bought", n_members=2, n_epochs=3, **split)
    )
    report = report_on(make_table(), asked)
    e = report["evaluation"]
    assert (e["part"], e["rows"]) == ("left-out", 18 if recipe == "lecture" else 120)
    assert e["metrics"]["log_loss"]["value"] == pytest.approx(
        report["validation"]["log_loss"]
    )
    page = check(render_report(report))
    assert "There is no test part" in page.text
    assert f"{e['rows']} left-out rows" in page.text


def test_one_class_in_the_test_part():
    table = make_table()
    outcome = train_on_table(table, lecture())
    data = outcome.data
    rows = data.split.test[data.y[data.split.test] == 1]
    part = data._replace(split=data.split._replace(test=rows))
    outcome = outcome._replace(data=part)
    report = complete(outcome, evaluate(table, outcome, 0.5))
    assert report["evaluation"]["metrics"]["roc_auc"] == dict.fromkeys(
        ("value", "low", "high")
    )
    page = check(render_report(report))
    assert "there is no ROC curve" in page.text
    assert "nan" not in render_report(report).lower().replace("finan", "")


def test_private_training_shows_nothing_of_its_rows(cli, tmp_path):
    pytest.importorskip("dp_accounting")
    write_table(make_table(400), tmp_path / "t.csv")
    out = tmp_path / "m"
    finished = cli("train", tmp_path / "t.csv", "--target", "bought", "--out", out,
                   "--json", "--dp-epsilon", "3", "--epochs", "2")  # fmt: skip
    assert finished.code == 0, finished.err
    report = json.loads(finished.out)
    e = report["evaluation"]
    assert (e["gradients"], e["suspects"], e["extremes"], e["fingerprint"]) == (None,) * 4
    assert e["baselines"] == []
    assert e["shares"]["train"] == {"rows": 280, "positives": None}
    assert {c["missing"] for c in e["columns"]} == {None}
    assert report["evaluation"]["metrics"]["log_loss"]["low"] is not None
    page = check((out / "report.html").read_text(encoding="utf-8"))
    for words in ("What privacy is guaranteed", "Not covered",
                  "because training was private",
                  "reveal of them what private training hides", "kept secret",
                  "would cost privacy"):  # fmt: skip
        assert words in page.text, words


def test_wide_table_is_bounded():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 1500))
    columns = {f"c{j}": X[:, j] for j in range(1500)}
    table = pa.table({**columns, "bought": X[:, 7] > 0})
    report = report_on(table, lecture(n_epochs=1))
    assert len(report["evaluation"]["importance"]["columns"]) == 20
    assert report["evaluation"]["importance"]["n_screened"] == 1440
    html = render_report(report)
    page = check(html)
    assert "And 1,460 further columns." in page.text
    assert "1,440 further columns mattered less" in page.text
    assert len(html) < 150_000


def test_long_table_says_what_was_sampled(monkeypatch):
    from jaxmlp.interfaces.report import baselines

    monkeypatch.setattr(baselines, "MOST_CELLS", 3000)
    page = check(render_report(report_on(make_table(2500), lecture(n_epochs=1))))
    assert "gradient boosting learned from 1,000 rows of the 1,750" in page.text


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (0.25, "from probability 0.25 on, the threshold that was given"),
        ("f1", "which is best for f1 on the rows of the validation part"),
        (Costs(1.0, 5.0), "at costs of 1 for a false positive and 5 for a false negative"),
    ],
)
def test_how_the_threshold_was_chosen(rule, words):
    table = make_table()
    outcome = train_on_table(table, lecture(), rule)
    report = complete(outcome, evaluate(table, outcome, rule))
    assert words in check(render_report(report)).text
    rows, model = outcome.data.split.test, outcome.model
    is_positive = model.logits(table)[rows] >= model.threshold_logit
    (tn, fp), (fn, tp) = confusion_matrix(outcome.data.y[rows], is_positive, labels=[0, 1])
    c = report["evaluation"]["confusion"]
    assert list(c.values()) == [tp, fp, fn, tn]


def test_a_search_with_networks_that_diverged():
    recipe = lecture(learning_rates=(0.1, 1e30), hidden_sizes=((4,), (3, 2)), l2=(0.0, 0.1))
    report = report_on(make_table(), recipe)
    page = check(render_report(report))
    assert "diverged" in page.text
    assert "8 networks tried" in page.text


def test_an_ensemble_of_several_seeds_draws_each_network():
    report = report_on(make_table(), lecture(seeds=3, ensemble=3))
    html = render_report(report)
    assert html.count('class="val thin"') == 3
    assert "the 3 with the lowest validation losses, averaged" in check(html).text


def test_reports_that_cannot_be_drawn(cli, two_runs):
    out, report = two_runs
    older = {key: value for key, value in report.items() if key != "evaluation"}
    place = out / "report.json"
    for content, words in (
        (json.dumps(older), "an earlier version wrote it"),
        ("[]", "an earlier version wrote it"),
        ("{", "cannot be read"),
    ):
        place.write_text(content)
        finished = cli("report", out)
        assert finished.code == 2
        assert words in finished.err
    place.unlink()
    assert "no report.json" in cli("report", out).err
    assert "no report.json" in cli("report", out / "absent").err
    assert "must end in .html" in cli("report", out, "--out", "x.pdf").err


def test_a_model_with_its_page_is_replaced_as_a_whole(cli, data, two_runs):
    out, _ = two_runs
    before = (out / "report.html").read_text()
    finished = cli("train", data, "--target", "bought", "--out", out, "--quiet", *LECTURE)
    assert finished.code == 0, finished.err
    assert (out / "report.html").read_text() != before
    shutil.copy(data, out / "notes.txt")
    finished = cli("train", data, "--target", "bought", "--out", out, "--quiet", *LECTURE)
    assert "other things than a model" in finished.err


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (1234.0, "1,230"), (0.12345, "0.123"), (1e-9, "1e-09"),
     (float("nan"), "–"), (1e12, "1e+12")],
)  # fmt: skip
def test_short_numbers(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-7, "10⁻⁷"), (1e12, "10¹²"), (0.01, "0.01"), (1000.0, "1,000"), (2e-7, "2e-07")],
)
def test_powers_of_ten(value, text):
    assert power(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.0000"),
        (0.12345, "0.1235"),
        (-3e-7, "-3.0e-07"),
        (1.0, "1.0000"),
    ],
)
def test_metrics_have_four_decimals_or_more(value, text):
    assert decimal(value) == text


def test_counts():
    assert [count(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 1, 0, 100), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Scale(0.47, 0.71, 0, 1), [0.5, 0.55, 0.6, 0.65, 0.7]),
        (Scale(0, 3, 0, 1), [0, 1, 2, 3]),
        (Scale(1e-3, 1e2, 0, 1, True), [1e-3, 1e-2, 1e-1, 1, 10, 100]),
        (Scale(0.3, 6, 0, 1, True), [0.5, 1, 2, 5]),
    ],
)
def test_ticks_are_round_and_inside(scale, ticks):
    np.testing.assert_allclose(scale.ticks(), ticks)
    assert [scale(scale.low), scale(scale.high)] == [scale.start, scale.end]
    assert scale(scale.high * 9) == scale.end


def test_adult_like_table_stays_small():
    rng = np.random.default_rng(0)
    n = 4000
    job = rng.integers(40, size=n)
    table = pa.table(
        {f"x{j}": rng.normal(size=n) for j in range(8)}
        | {f"c{j}": [f"level {i}" for i in (job + j) % 40] for j in range(6)}
        | {"bought": rng.random(n) < 0.3}
    )
    recipe = EnsembleRecipe("bought", n_epochs=3, hidden_sizes=((8,),))
    html = render_report(report_on(table, recipe))
    assert len(html.encode()) < 200_000
    check(html)
