"""`MLPClassifier` as scikit-learn's own estimators are used."""

import copy
import math
import pickle
import subprocess
import sys

import jax
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import jaxmlp
from jaxmlp import MLPClassifier, MLPClassifierCV, ensemble_logits
from jaxmlp.interfaces import prediction

# Small and quick, and it ends by itself.
QUICK = {
    "hidden_layer_sizes": 4,
    "learning_rate_init": 0.05,
    "tol": 0.01,
    "random_state": 0,
}

pytestmark = pytest.mark.filterwarnings(
    # scikit-learn's own machinery, with this NumPy and these pandas.
    "ignore::DeprecationWarning:sklearn"
)

CHECKED = [
    MLPClassifier(),
    MLPClassifierCV([8], [0.01], max_iter=30, cv=2),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(CHECKED)
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def table():
    X, y = make_classification(120, 5, class_sep=1.5, random_state=0)
    return X, y


@pytest.fixture(scope="module")
def fitted(table):
    return MLPClassifier(**QUICK).fit(*table)


def test_importing_the_package_does_not_load_scikit_learn():
    code = "import jaxmlp, sys; assert 'sklearn' not in sys.modules; jaxmlp.MLPClassifier"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("jaxmlp.interfaces.esti")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ImportError, match=r"install jaxmlp\[tables\]"):
        _ = jaxmlp.MLPClassifier


def test_the_package_has_no_other_lazy_names():
    with pytest.raises(AttributeError, match="MLPRegressor"):
        _ = jaxmlp.MLPRegressor


def arrays_of(value):
    if isinstance(value, dict):
        return [a for v in value.values() for a in arrays_of(v)]
    if isinstance(value, list | tuple):
        return [a for v in value for a in arrays_of(v)]
    if hasattr(value, "__dict__") and not callable(value):
        return arrays_of(vars(value))
    return [value]


def test_what_is_kept_is_plain_and_small(fitted, table):
    leaves = arrays_of(vars(fitted))
    assert not any(isinstance(leaf, jax.Array) or callable(leaf) for leaf in leaves)
    assert all(np.size(leaf) < table[0].size / 4 for leaf in leaves)  # no training data


@pytest.mark.parametrize("through", ["pickle", "joblib", "deepcopy"])
def test_copies_predict_the_same(fitted, table, tmp_path, through):
    if through == "pickle":
        copied = pickle.loads(pickle.dumps(fitted))
    elif through == "joblib":
        joblib.dump(fitted, tmp_path / "model")
        copied = joblib.load(tmp_path / "model")
    else:
        copied = copy.deepcopy(fitted)
    np.testing.assert_array_equal(
        copied.decision_function(table[0]), fitted.decision_function(table[0])
    )


def test_a_clone_is_not_fitted_and_has_the_same_parameters(fitted, table):
    cloned = clone(fitted)
    assert cloned.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        cloned.predict(table[0])


def test_predictions_agree_with_each_other(fitted, table):
    X, y = table
    logits, probs = fitted.decision_function(X), fitted.predict_proba(X)
    assert probs.shape == (120, 2)
    np.testing.assert_allclose(probs[:, 1], 1 / (1 + np.exp(-logits.astype(float))))
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(X)), probs, rtol=1e-12)
    np.testing.assert_array_equal(fitted.predict(X), probs.argmax(axis=1))
    weight = np.arange(120)
    assert fitted.score(X, y, weight) == accuracy_score(
        y, fitted.predict(X), sample_weight=weight
    )


def test_log_probabilities_are_finite_where_probabilities_round(fitted, table):
    logs = fitted.predict_log_proba(1e4 * table[0])
    assert np.isfinite(logs).all()
    assert logs.min() < -800


def test_few_rows_are_not_filled_up_to_thousands(fitted, table, monkeypatch):
    shapes = []

    def watched(networks, X):
        shapes.append(len(X))
        return ensemble_logits(networks, X)

    monkeypatch.setattr(prediction, "_logits", watched)
    fitted.predict(table[0][:1])
    fitted.predict(np.tile(table[0], (40, 1)))
    assert shapes == [256, 4096, 4096]  # the last of 4,800 rows


def test_rows_predict_alike_in_small_and_large_blocks(fitted, table):
    X = np.tile(table[0], (40, 1))
    np.testing.assert_array_equal(
        fitted.decision_function(X)[:120], fitted.decision_function(table[0])
    )


@pytest.mark.parametrize(
    "labels",
    [("no", "yes"), (False, True), (-1, 1), (3.0, 7.0), ("b", "a")],
    ids=str,
)
@pytest.mark.parametrize("is_object", [False, True])
def test_labels_of_any_two_values(fitted, table, labels, is_object):
    X, y = table
    named = np.array([labels[i] for i in y], object if is_object else None)
    model = clone(fitted).fit(X, named)
    assert model.classes_.tolist() == sorted(labels)
    assert set(model.predict(X)) <= set(labels)
    assert model.score(X, named) > 0.9
    if labels != ("b", "a"):  # the same table, once more through scikit-learn's tools
        assert cross_validate(model, X, named, cv=2)["test_score"].mean() > 0.8


def test_three_classes_are_refused(table):
    y = np.arange(120) % 3
    with pytest.raises(ValueError, match=r"Only binary .* has 3 classes"):
        MLPClassifier().fit(table[0], y)
    with pytest.raises(ValueError, match="Only binary classification"):
        MLPClassifier().partial_fit(table[0], y, classes=[0, 1, 2])


def test_one_class_is_refused(table):
    with pytest.raises(ValueError, match="one class 1; a classifier needs two"):
        MLPClassifier().fit(table[0], np.ones(120, int))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(fitted, table, bad):
    X = table[0].copy()
    X[3, 1] = bad
    with pytest.raises(ValueError, match="Input X contains"):
        clone(fitted).fit(X, table[1])
    with pytest.raises(ValueError, match="Input X contains"):
        fitted.predict(X)


def test_values_beyond_float32_are_refused_by_a_model_of_that_type(table):
    X = table[0].astype(np.float32)
    model = MLPClassifier(**QUICK).fit(X, table[1])
    wide = table[0].copy()
    wide[3, 1] = 1e300
    with pytest.raises(ValueError, match="row 3, column 1"):
        model.predict(wide)
    with pytest.raises(ValueError, match="scale the features"):
        model.predict(np.full((1, 5), 3e38))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"activation": "tanh"}, "activation must be 'relu', .* not 'tanh'"),
        ({"solver": "rmsprop"}, "solver must be one of"),
        ({"learning_rate": "cosine"}, "learning_rate must be one of"),
        ({"init": "zeros"}, "init must be one of"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes must be a whole number"),
        ({"hidden_layer_sizes": "5"}, "hidden_layer_sizes must be a whole number"),
        ({"alpha": -1}, "alpha must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"learning_rate_init": 0}, "learning_rate_init must be"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"shuffle": "yes"}, "shuffle must be True or False"),
        ({"momentum": 1.5}, "momentum must be"),
        ({"validation_fraction": 1.0}, "validation_fraction must be"),
        ({"beta_1": 1.0}, "beta_1 must be"),
        ({"n_iter_no_change": 0}, "n_iter_no_change must be"),
        ({"n_ensemble": 0}, "n_ensemble must be"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"device": "cpu:9999"}, "device 'cpu:9999'"),
        ({"device": jax.devices()[0]}, "device must be a name, such as 'cpu'"),
        ({"class_weight": {0: -1, 1: 1}}, "class_weight must not be negative"),
        ({"class_weight": "even"}, "class_weight"),
        (
            {"early_stopping": True, "validation_fraction": 0.001},
            "validation_fraction=0.001",
        ),
    ],
    ids=str,
)
def test_each_wrong_parameter_has_its_error(table, params, message):
    model = MLPClassifier(**params)
    if "validation_fraction" in params and params["validation_fraction"] < 1:
        message = "validation_fraction|test_size"  # scikit-learn's split may refuse first
    with pytest.raises(ValueError, match=message):
        model.fit(*table)


def test_training_that_diverges_says_so(table):
    model = MLPClassifier(4, solver="sgd", learning_rate_init=1e30, random_state=0)
    with pytest.raises(ValueError, match="not finite: scale the features"):
        model.fit(table[0].astype(np.float32), table[1])


def test_reaching_max_iter_warns(table):
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        model = MLPClassifier(4, max_iter=2).fit(*table)
    assert model.n_iter_ == 2


def test_pipeline_with_categories(table):
    X, y = table
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["city"] = np.where(y == 1, "Rome", "Oslo")
    columns = make_column_transformer(
        (StandardScaler(), list("abcde")), (OneHotEncoder(), ["city"])
    )
    model = make_pipeline(columns, MLPClassifier(**QUICK)).fit(frame, y)
    assert model.score(frame, y) > 0.95


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_tables_give_feature_names(fitted, table, make):
    X, y = table
    frame = make(dict(zip("abcde", X.T, strict=True)))
    labels = pd.Series(y) if make is pd.DataFrame else pl.Series(y)
    model = clone(fitted).fit(frame, labels)
    np.testing.assert_array_equal(model.predict_proba(frame), fitted.predict_proba(X))
    if not hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        pytest.skip("this scikit-learn does not see the names of these tables")
    assert model.feature_names_in_.tolist() == list("abcde")
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[list("abced")])


def test_set_output_of_the_steps_before_reaches_the_network(table):
    model = make_pipeline(StandardScaler(), MLPClassifier(**QUICK))
    model.set_output(transform="pandas")
    model.fit(pd.DataFrame(table[0], columns=list("abcde")), table[1])
    assert model[-1].feature_names_in_.tolist() == list("abcde")


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_sparse_features_are_made_dense(fitted, table, make):
    X, y = table
    model = clone(fitted).fit(make(X), y)
    np.testing.assert_array_equal(model.predict_proba(make(X)), fitted.predict_proba(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_grid_search_with_two_processes(table):
    grid = {"learning_rate_init": [0.01, 0.1], "alpha": [1e-4, 1.0]}
    model = MLPClassifier(**{**QUICK, "max_iter": 20})
    search = GridSearchCV(model, grid, cv=2, n_jobs=2, scoring="neg_log_loss")
    alone = GridSearchCV(model, grid, cv=2, scoring="neg_log_loss").fit(*table)
    search.fit(*table)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    assert search.best_params_ == alone.best_params_


def test_tools_around_an_estimator(table, fitted):
    X, y = table
    probs = cross_val_predict(clone(fitted), X, y, cv=3, method="predict_proba")
    assert log_loss(y, probs) < 0.5
    calibrated = CalibratedClassifierCV(clone(fitted), cv=2).fit(X, y)
    assert calibrated.score(X, y) > 0.9
    importance = permutation_importance(fitted, X, y, n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (5,)
    assert importance.importances_mean.max() > 0.1


def test_new_step_sizes_and_penalties_compile_nothing(table, fitted):
    events = []

    def listen(event, _duration, **_):
        events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        clone(fitted).set_params(learning_rate_init=0.03, alpha=0.1, max_iter=90).fit(
            *table
        )
        clone(fitted).fit(*table).predict(table[0])
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not [event for event in events if "backend_compile" in event]


def test_class_weight_multiplies_sample_weight(table):
    X, y = table
    weight = np.random.default_rng(0).uniform(0.5, 2, 120)
    both = MLPClassifier(**QUICK, class_weight={0: 1, 1: 3}).fit(X, y, weight)
    product = MLPClassifier(**QUICK).fit(X, y, weight * np.where(y == 1, 3, 1))
    assert both.loss_curve_ == product.loss_curve_


def test_balanced_classes(table):
    X, y = table
    rows = np.r_[np.flatnonzero(y == 0)[:12], np.flatnonzero(y == 1)]
    X, y = X[rows], y[rows]
    weight = len(y) / (2 * np.bincount(y)[y])
    balanced = MLPClassifier(**QUICK, class_weight="balanced").fit(X, y)
    assert balanced.loss_curve_ == MLPClassifier(**QUICK).fit(X, y, weight).loss_curve_
    named = MLPClassifier(**QUICK, class_weight={"n": weight[0], "y": weight[-1]})
    named.fit(X, np.where(y == 1, "y", "n"))
    assert balanced.loss_curve_ == named.loss_curve_


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(119), "sample_weight must have shape"),
        (np.r_[-1, np.ones(119)], "sample_weight is negative at row 0"),
        (np.zeros(120), "sample_weight is zero"),
    ],
    ids=["short", "negative", "zero"],
)
def test_wrong_weights_have_errors(table, weight, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier().fit(*table, weight)


def test_validation_part_of_ones_own(table):
    X, X_val, y, y_val = train_test_split(*table, random_state=0)
    names = np.array(["no", "yes"])
    model = MLPClassifier(**QUICK).fit(X, names[y], X_val=X_val, y_val=names[y_val])
    assert model.best_loss_ is None
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_validation_score_ == model.score(X_val, names[y_val])
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == model.n_iter_
    best = int(np.argmax(model.validation_scores_))
    loss = log_loss(y_val, model.predict_proba(X_val))
    assert model.validation_loss_curve_[best] == pytest.approx(loss, rel=1e-5)
    assert model.t_ == model.n_iter_ * len(X)


def test_validation_part_has_errors(table, fitted):
    X, y = table
    model = clone(fitted)
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        model.fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="y_val holds 5, which is not in the classes"):
        model.fit(X, y, X_val=X, y_val=np.full(120, 5))
    with pytest.raises(ValueError, match="features"):
        model.fit(X, y, X_val=X[:, :3], y_val=y)
    with pytest.raises(ValueError, match="y_val must have shape"):
        model.fit(X, y, X_val=X, y_val=y[:50])
    with pytest.raises(ValueError, match="X_val stops epochs"):
        model.set_params(solver="lbfgs").fit(X, y, X_val=X, y_val=y)


def test_without_validation_its_attributes_are_none(fitted):
    assert fitted.validation_scores_ is None
    assert fitted.validation_loss_curve_ is None
    assert fitted.best_validation_score_ is None
    assert fitted.best_loss_ == min(fitted.loss_curve_)


def test_partial_fit_learns_the_classes_once(table):
    X, y = table
    names = np.array(["no", "yes"])[y]
    model = MLPClassifier(**QUICK)
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        model.partial_fit(X, names)
    model.partial_fit(X[y == 1], names[y == 1], classes=["yes", "no"])  # one class at first
    assert model.classes_.tolist() == ["no", "yes"]
    model.partial_fit(X, names)
    with pytest.raises(ValueError, match="y holds 'maybe', which is not in the classes"):
        model.partial_fit(X, np.full(120, "maybe"))
    with pytest.raises(ValueError, match="classes must be those of the earlier calls"):
        model.partial_fit(X, names, classes=["a", "b"])
    for _ in range(30):
        model.partial_fit(X, names)
    assert model.n_iter_ == 1
    assert len(model.loss_curve_) == 32
    assert model.score(X, names) > 0.9


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("first", [np.float32, np.float64])
def test_partial_fit_goes_on_in_the_type_of_the_new_features(table, solver, first):
    X, y = table
    model = MLPClassifier(solver=solver, random_state=0)
    model.partial_fit(X.astype(first), y, classes=[0, 1])
    second = np.float64 if first == np.float32 else np.float32
    model.partial_fit(X.astype(second), y)
    assert model.coefs_[0].dtype == second
    alike = MLPClassifier(solver=solver, random_state=0)
    for _ in range(2):
        alike.partial_fit(X, y, classes=[0, 1])
    np.testing.assert_allclose(model.coefs_[0], alike.coefs_[0], rtol=1e-4, atol=1e-6)


def test_early_stopping_names_the_part_without_weight(table):
    X, y = table
    weight = np.zeros(len(y))
    weight[0] = 1  # in one of both parts
    model = MLPClassifier(early_stopping=True, random_state=0)
    with pytest.raises(
        ValueError, match=r"zero for every row of the .* part: give another"
    ):
        model.fit(X, y, sample_weight=weight)


def test_partial_fit_refuses_what_it_cannot_do(table):
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(*table, classes=[0, 1])
    with pytest.raises(ValueError, match="class_weight='balanced' needs all labels"):
        MLPClassifier(class_weight="balanced").partial_fit(*table, classes=[0, 1])


def test_partial_fit_after_another_solver_begins_its_own(table):
    model = MLPClassifier(**QUICK, solver="sgd").fit(*table)
    model.set_params(solver="adam").partial_fit(*table)
    assert int(model._records[0].opt_state.n_steps) == 1


def test_the_validation_part_has_the_class_weights_of_training(table):
    X, y = table
    rows = np.r_[np.flatnonzero(y == 0)[:12], np.flatnonzero(y == 1)]
    weight = dict(enumerate(len(rows) / (2 * np.bincount(y[rows]))))
    val = {"X_val": X, "y_val": y}  # as many of both classes
    balanced = MLPClassifier(**QUICK, class_weight="balanced").fit(X[rows], y[rows], **val)
    given = MLPClassifier(**QUICK, class_weight=weight).fit(X[rows], y[rows], **val)
    assert balanced.validation_scores_ == given.validation_scores_
    right = balanced.predict(X) == y
    expected = np.average(right, weights=np.vectorize(weight.get)(y))
    assert balanced.best_validation_score_ == pytest.approx(expected, rel=1e-12)


def test_warm_start_refuses_another_network(table):
    X, y = table
    model = MLPClassifier(**QUICK, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="hidden_layer_sizes and n_ensemble must be those"):
        model.set_params(hidden_layer_sizes=5).fit(X, y)
    with pytest.raises(ValueError, match="warm_start needs the classes"):
        model.set_params(hidden_layer_sizes=4).fit(X, y + 1)


def test_a_warm_start_keeps_the_best_weights_until_there_are_better(table):
    X, X_val, y, y_val = train_test_split(*table, random_state=0)
    model = MLPClassifier(**QUICK, warm_start=True).fit(X, y, X_val=X_val, y_val=y_val)
    best, weights = model.best_validation_score_, model.coefs_
    model.set_params(learning_rate_init=1e-6).fit(X, y, X_val=X_val, y_val=y_val)
    assert model.best_validation_score_ == best
    np.testing.assert_array_equal(model.coefs_[0], weights[0])


def test_an_ensemble_averages_probabilities(table, fitted):
    X, y = table
    model = MLPClassifier(**QUICK, n_ensemble=3).fit(X, y)
    assert [w.shape for w in model.coefs_] == [(3, 5, 4), (3, 4, 1)]
    assert [b.shape for b in model.intercepts_] == [(3, 4), (3, 1)]
    assert len(model.loss_curve_) == 3
    assert model.loss_curve_[0] == fitted.loss_curve_  # the first is the network alone
    members = []
    for k in range(3):
        alone = clone(fitted).fit(X, y)
        alone.coefs_ = [w[k] for w in model.coefs_]
        alone.intercepts_ = [b[k] for b in model.intercepts_]
        members.append(alone.predict_proba(X))
    np.testing.assert_allclose(model.predict_proba(X), np.mean(members, axis=0), atol=1e-6)
    assert np.abs(members[0] - members[1]).max() > 1e-3
    again = model.set_params(warm_start=True).fit(X, y)
    assert [len(curve) for curve in again.loss_curve_] > [len(fitted.loss_curve_)] * 3


@pytest.mark.parametrize("init", ["he", "xavier"])
def test_other_starting_weights(table, init):
    model = MLPClassifier(**QUICK, init=init).fit(*table)
    assert model.score(*table) > 0.9
    assert model.loss_curve_ == clone(model).fit(*table).loss_curve_


def test_verbose_prints_a_line_an_epoch(table, capsys):
    model = MLPClassifier(**QUICK, early_stopping=True, verbose=True).fit(*table)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_
    assert "validation loss" in lines[0]


@pytest.mark.parametrize("is_on", [False, True])
def test_computes_in_the_type_of_the_features(table, is_on):
    X, y = table
    with jax.enable_x64(is_on):
        assert MLPClassifier(**QUICK).fit(X, y).coefs_[0].dtype == np.float64
        narrow = MLPClassifier(**QUICK).fit(X.astype(np.float32), y)
        assert narrow.coefs_[0].dtype == np.float32
        assert narrow.decision_function(X).dtype == np.float32


def test_a_device_by_name(table, fitted):
    model = clone(fitted).set_params(device="cpu").fit(*table)
    np.testing.assert_allclose(
        model.predict_proba(table[0]), fitted.predict_proba(table[0])
    )


def test_metadata_routing_brings_weights_and_validation_part(table):
    X, X_val, y, y_val = train_test_split(*table, random_state=0)
    weight = np.ones(len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        network = MLPClassifier(**QUICK)
        network.set_fit_request(sample_weight=True, X_val=True, y_val=True)
        network.set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = Pipeline([("scale", scaler), ("net", network)], transform_input=["X_val"])
        model.fit(X, y, sample_weight=weight, X_val=X_val, y_val=y_val)
        score = model[-1].score(model[0].transform(X_val), y_val)
        assert model[-1].best_validation_score_ == score

        params = {"sample_weight": weight}
        result = cross_validate(network, X, y, cv=2, params=params)
    assert len(result["test_score"]) == 2


def test_lbfgs_reaches_scikit_learns_minimum(table):
    params = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 1.0, "tol": 1e-8}
    reference = neural_network.MLPClassifier(**params, random_state=0).fit(*table)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integer types
        model = MLPClassifier(**params, random_state=0).fit(*table)
        assert model.loss_ == pytest.approx(reference.loss_, rel=1e-9)
        np.testing.assert_allclose(model.coefs_[0], reference.coefs_[0], atol=1e-4)
        for limit in ("max_fun", "max_iter"):
            short = clone(model).set_params(**{limit: 3})
            with pytest.warns(ConvergenceWarning, match=limit):
                short.fit(*table)
            assert short.n_iter_ <= 3 < model.n_iter_
