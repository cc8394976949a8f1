"""What the report's numbers are: against scikit-learn, scipy and plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from jaxmlp import stack_params
from jaxmlp.core import init_params
from jaxmlp.data.labels import Classes
from jaxmlp.data.preprocess import Preprocessor
from jaxmlp.data.rules import CategoricalRule, NumericRule
from jaxmlp.interfaces.inspection.gradients import RowGradients
from jaxmlp.interfaces.model import Model, predict_logits
from jaxmlp.interfaces.recipes.prepare import prepare
from jaxmlp.interfaces.recipes.recipe import LectureRecipe
from jaxmlp.interfaces.report import baselines, bootstrap, curves, importance, rows
from tests.interfaces.conftest import make_table


def make_scores(n, seed=0):
    """Labels and scores with ties."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(np.int32)
    return y, (rng.normal(size=n) + y).round(1).astype(np.float32)


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, float)))


@pytest.mark.parametrize("n", [3, 50])
def test_every_resample_has_the_metrics_of_scikit_learn(n):
    y, z = make_scores(n)
    threshold = 0.3
    draws = bootstrap.bootstrap(np.random.default_rng(7), y, [z, -z], threshold, 40)
    counts = bootstrap.draw_counts(np.random.default_rng(7), n, 40).astype(int)
    assert (counts.sum(axis=1) == n).all()
    for count, draw in zip(counts, draws, strict=True):
        labels = np.repeat(y, count)
        for scores, found in zip(
            (np.repeat(z, count), np.repeat(-z, count)), draw, strict=True
        ):
            probs = sigmoid(scores)
            expected = [
                sk.log_loss(labels, probs, labels=[0, 1]),
                np.nan,
                np.nan,
                sk.accuracy_score(labels, scores >= threshold),
                np.mean((probs - labels) ** 2),
            ]
            if 0 < labels.sum() < n:
                expected[1] = sk.roc_auc_score(labels, scores)
                expected[2] = sk.average_precision_score(labels, scores)
            np.testing.assert_allclose(found, expected, rtol=1e-6)  # losses in float32


def test_chunks_of_resamples_are_one_sequence(monkeypatch):
    y, z = make_scores(20)
    whole = bootstrap.bootstrap(np.random.default_rng(0), y, [z], 0.0, 10)
    monkeypatch.setattr(bootstrap, "_CHUNK", 60)
    parts = bootstrap.bootstrap(np.random.default_rng(0), y, [z], 0.0, 10)
    np.testing.assert_array_equal(whole, parts)


def test_interval_is_of_the_draws_that_are_numbers():
    draws = np.append(np.arange(101.0), np.nan)
    found = bootstrap.interval(50.0, draws)
    assert found == {"value": 50.0, "low": 2.5, "high": 97.5}
    nothing = {"value": None, "low": None, "high": None}
    assert bootstrap.interval(None, draws) == nothing
    assert bootstrap.interval(1.0, np.array([np.nan]))["low"] is None


def test_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        y, z = make_scores(200, seed)
        draws = bootstrap.bootstrap(np.random.default_rng(seed), y, [z], 0.0, 200)[:, 0, 3]
        low, high = np.quantile(draws, (0.025, 0.975))
        covered += low <= 0.63 <= high  # the share of right rows in four million
    assert 0.9 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    ("n", "resamples"), [(3, 1000), (20_000, 1000), (50_000, 400), (225_000, 200)]
)
def test_very_many_rows_are_drawn_less_often(n, resamples):
    assert bootstrap.count_resamples(n) == resamples


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 10), (400, 1000)])
def test_wilson(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(curves.wilson(k, n), expected, atol=1e-7)


def test_calibration_by_a_loop():
    y, z = make_scores(300)
    probs = sigmoid(z)
    found = curves.calibration(y, probs)
    expected = [
        (inside.sum(), y[inside].sum(), probs[inside].mean(), y[inside].mean())
        for low in np.arange(10) / 10
        if (inside := (low <= probs) & (probs < low + 0.1)).any()
    ]
    names = ("rows", "positives", "predicted", "observed")
    np.testing.assert_allclose([[b[name] for name in names] for b in found], expected)
    assert sum(b["rows"] for b in found) == 300


def test_sure_probabilities_are_in_the_outer_bins():
    found = curves.calibration(np.array([0, 1]), np.array([0.0, 1.0]))
    assert [(b["predicted"], b["observed"]) for b in found] == [(0, 0), (1, 1)]


def test_confusion_and_curves_are_those_of_scikit_learn():
    y, z = make_scores(120)
    tn, fp, fn, tp = sk.confusion_matrix(y, z >= 0.5).ravel()
    assert curves.confusion(y, z, 0.5) == {
        "true_positives": tp, "false_positives": fp, "false_negatives": fn,
        "true_negatives": tn,
    }  # fmt: skip
    false, true, _ = sk.roc_curve(y, z)
    np.testing.assert_allclose(
        curves.roc_points(y, z), np.stack([false, true], 1), atol=1e-4
    )
    points = np.array(curves.precision_recall_points(y, z))
    precision, recall, _ = sk.precision_recall_curve(y, z)
    expected = np.stack([recall, precision], axis=1)[:-1][::-1]
    np.testing.assert_allclose(points, expected, atol=1e-4)


def test_long_curves_are_thinned_and_keep_their_ends():
    y, z = np.tile([0, 1], 4000), np.random.default_rng(0).normal(size=8000)
    points = curves.roc_points(y, z)
    assert (len(points), points[0], points[-1]) == (160, [0, 0], [1, 1])


def test_one_class_has_no_curve():
    y, z = np.ones(5, np.int32), np.arange(5.0)
    assert curves.roc_points(y, z) is curves.precision_recall_points(y, z) is None
    assert bootstrap.all_metrics(z, y, 0.0)["average_precision"] is None


RULES = (
    NumericRule("a", 0.0, 0.0, 1.0, False, knots=(0.0, 1.0, 2.0)),
    CategoricalRule("b", ("x", "y"), True, False),
    NumericRule("c", 0.0, 0.0, 1.0, True),
)


def make_model(sizes, k):
    p = sum(len(rule.input_names) for rule in RULES)
    networks = stack_params(
        [init_params(jax.random.key(i), (p, *sizes, 1)) for i in range(k)]
    )
    return Model(networks, Preprocessor(RULES), "t", Classes(0, 1), 0.5, None)


@pytest.mark.parametrize(("sizes", "k"), [((), 1), ((), 3), ((4,), 3), ((4, 3), 2)])
def test_importance_by_predicting_shuffled_rows(sizes, k):
    model, n = make_model(sizes, k), 30
    X = np.random.default_rng(1).normal(size=(n, 8)).astype(np.float32)
    y = np.arange(n, dtype=np.int32) % 2
    found = importance.permutation_importance(np.random.default_rng(5), model, X, y)
    rng = np.random.default_rng(5)
    order = rng.permutation(n)
    X, y = X[order], y[order]

    def loss(inputs):
        return sk.log_loss(y, sigmoid(predict_logits(model.networks, inputs)))

    expected = {}
    for name, block in {"a": slice(0, 3), "b": slice(3, 6), "c": slice(6, 8)}.items():
        rises = []
        for _ in range(importance.N_REPEATS):
            shuffled = X.copy()
            shuffled[:, block] = rng.permutation(X[:, block])
            rises.append(loss(shuffled) - loss(X))
        expected[name] = (np.mean(rises), np.std(rises))
    assert [c["increase"] for c in found.columns] == sorted(
        (c["increase"] for c in found.columns), reverse=True
    )
    for column in found.columns:
        values = column["increase"], column["spread"]
        np.testing.assert_allclose(values, expected[column["name"]], atol=1e-5)
    assert found[1:] == (n, importance.N_REPEATS, 0)


def test_of_many_columns_only_those_that_seem_to_matter_are_measured_well(monkeypatch):
    monkeypatch.setattr(importance, "_SCREENED", 1)
    model = make_model((), 1)
    w = model.networks[0].w.at[:].set(0.0).at[0, 3].set(9.0)  # column b alone counts
    model = Model(((model.networks[0]._replace(w=w)),), *list(vars(model).values())[1:])
    X = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
    y = (X[:, 3] > 0).astype(np.int32)
    found = importance.permutation_importance(np.random.default_rng(5), model, X, y)
    assert [c["name"] for c in found.columns] == ["b"]
    assert found.n_screened == 2


def prepared():
    table = make_table(n=200)
    data = prepare(jax.random.key(0), table, LectureRecipe(target="bought"))
    return data, {
        name: np.array(table[name], float)
        if name != "job"
        else table[name].combine_chunks()
        for name in data.preprocessor.kinds
    }


def test_baselines_learn_the_training_rows():
    data, columns = prepared()
    found = baselines.fit_baselines(
        np.random.default_rng(0), data, columns, data.split.test, None
    )
    assert [b.n_train for b in found] == [140, 140]
    train, test = data.split.train, data.split.test
    linear = LogisticRegression().fit(data.X[train], data.y[train])
    expected = linear.decision_function(data.X[test])
    np.testing.assert_allclose(found[0].logits, expected, atol=1e-2)  # order of the rows
    for baseline in found:
        assert sk.roc_auc_score(data.y[test], baseline.logits) > 0.8


def test_long_tables_are_sampled(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_CELLS", 10)
    assert baselines._n_rows(3, 5000) == 1000  # never fewer
    assert baselines._n_rows(3, 600) == 600
    monkeypatch.undo()
    assert baselines._n_rows(1500, 8000) == 3333


def test_a_label_that_the_sample_has_once_is_not_learned():
    data, columns = prepared()
    first = data.split.train[0]
    y = np.zeros_like(data.y)
    y[first] = 1
    found = baselines.fit_baselines(
        np.random.default_rng(0), data._replace(y=y), columns, data.split.test, None
    )
    for baseline in found:
        np.testing.assert_allclose(baseline.logits, np.log(1.5 / 139.5))


def test_raw_matrix_codes_categories():
    rules = (RULES[0], CategoricalRule("b", ("x", "y"), True, True))
    columns = {"a": np.array([1.5, np.nan, 2, 3]), "b": pa.array(["y", None, "z", "x"])}
    found = baselines.raw_matrix(Preprocessor(rules), columns, np.array([0, 1, 2]))
    np.testing.assert_array_equal(found, [[1.5, 1], [np.nan, np.nan], [2, 2]])


def test_a_wrong_label_is_the_first_suspect():
    y = np.tile([0, 1], 50).astype(np.int32)
    z = np.where(y == 1, 5.0, -5.0)
    y[8] = 1
    numbers = np.arange(100) + 1000
    found = rows.find_suspects(numbers, z, y, Classes("no", "yes"))
    first = found["labels"][0]
    assert (first["row"], first["given"], first["suggested"]) == (1008, "yes", "no")
    assert (found["rows"], found["suspected"]) == (100, 1)
    assert rows.find_suspects(numbers, z, np.ones(100, np.int32), Classes(0, 1)) is None


def test_gradients_of_zero_length_are_counted():
    norms = np.array([0.0, 1e-30, 0.1, 1.0], np.float32)
    summary = {"median_norm_by_class": {"0": 0.0, "1": 0.5}, "noise_scale": None}
    y = np.array([0, 0, 1, 1], np.int32)
    found = rows.describe_gradients(RowGradients(pa.table({"norm": norms}), y, summary), 9)
    assert (sum(found["negative"]), sum(found["positive"])) == (2, 2)
    assert (found["negative"][0], found["rows"], found["of"]) == (2, 4, 9)
    flat = RowGradients(pa.table({"norm": np.zeros(4, np.float32)}), y, summary)
    assert sum(rows.describe_gradients(flat, 4)["negative"]) == 2


@pytest.mark.parametrize(
    ("n", "n_inputs", "expected"),
    [(10, 3, 10), (10**6, 3, 16_384), (41_000, 245, 12_288), (10**6, 1500, 2048)],
)
def test_gradients_of_some_rows_where_all_would_take_long(n, n_inputs, expected):
    assert rows.count_gradients(n, n_inputs) == expected


def test_extremes_are_the_greatest_scores():
    table = pa.table({"a": [1.0, None, 3.14159265], "b": ["x", "y" * 99, None]})
    parts = {"right": (np.array([2, 0, 1]), np.array([0.5, 2.0, 1.0]))}
    found = rows.find_extremes(table, ["b", "a"], parts, lambda row: f"label {row}")
    assert found["columns"] == ["b", "a"]
    assert [(r["row"], r["label"], r["score"]) for r in found["right"]] == [
        (0, "label 0", 2.0), (1, "label 1", 1.0), (2, "label 2", 0.5),
    ]  # fmt: skip
    assert [r["values"] for r in found["right"]] == [
        ["x", "1"], ["y" * 47 + "…", ""], ["", "3.1416"],
    ]  # fmt: skip


def test_losses_of_the_first_layer_alone_are_finite_far_out():
    model = make_model((), 2)
    X = np.full((2, 8), 1e9, np.float32)
    output = X @ np.asarray(model.networks[0].w)  # (k, n, 1)
    losses = importance._losses((), jnp.asarray(output).swapaxes(0, 1), jnp.array([0, 1]))
    assert np.isfinite(losses).all()
