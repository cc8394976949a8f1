import warnings

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_moons
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

from jaxmlp import MLPClassifier, MLPClassifierCV, init_params

X, Y = make_moons(90, noise=0.2, random_state=0)
GRID = {"hidden_layer_sizes": [(), 4, (4, 3)], "learning_rate_init": [0.01, 0.1]}
QUICK = {"cv": 3, "max_iter": 40, "random_state": 0}


@pytest.fixture(scope="module")
def model():
    return MLPClassifierCV(**GRID, **QUICK, alpha=[1e-4, 1.0], n_seeds=2).fit(X, Y)


def test_results_have_the_form_of_a_grid_search(model):
    results = model.cv_results_
    assert len(results["params"]) == 12
    assert model.n_splits_ == 3
    splits = np.array([results[f"split{i}_test_score"] for i in range(3)])
    np.testing.assert_allclose(results["mean_test_score"], splits.mean(axis=0))
    np.testing.assert_allclose(results["std_test_score"], splits.std(axis=0))
    assert results["rank_test_score"][model.best_index_] == 1
    assert model.best_score_ == results["mean_test_score"].max() < 0
    assert model.best_params_ == results["params"][model.best_index_]
    for name in ("hidden_layer_sizes", "learning_rate_init", "alpha"):
        column = results[f"param_{name}"]
        assert column.tolist() == [params[name] for params in results["params"]]
    assert {params["hidden_layer_sizes"] for params in results["params"]} == {
        (),
        (4,),
        (4, 3),
    }


def test_the_best_is_trained_on_all_rows(model):
    assert 1 <= model.n_iter_ <= 40
    assert model.best_estimator_.n_iter_ == model.n_iter_
    assert model.best_estimator_.get_params().items() >= model.best_params_.items()
    assert -log_loss(Y, model.predict_proba(X)) > model.best_score_ - 0.1
    np.testing.assert_array_equal(model.predict(X), model.best_estimator_.predict(X))
    again = clone(model).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_score_is_that_of_the_estimators_best_epoch():
    # The same penalty and the same rules: full batches need no order, and from the same
    # starting weights (of the search's key) MLPClassifier takes the same steps.
    folds = list(StratifiedKFold(3).split(X, Y))
    weight = np.random.default_rng(0).uniform(0.5, 3, len(X))
    search = MLPClassifierCV(
        [()],
        [0.05],
        [3.0],
        cv=folds,
        max_iter=30,
        n_iter_no_change=30,
        refit=False,
        class_weight={0: 1, 1: 2},
        random_state=0,
    ).fit(X, Y, weight)
    for i, (train, test) in enumerate(folds):
        network = MLPClassifier(
            (),
            alpha=3.0,
            learning_rate_init=0.05,
            warm_start=True,
            max_iter=1,
            class_weight={0: 1, 1: 2},
            random_state=0,
        )
        score = best_score(network, search, train, test, weight)
        assert search.cv_results_[f"split{i}_test_score"][0] == pytest.approx(
            score, abs=1e-9
        )


def best_score(network, search, train, test, weight):
    key = jax.random.key(np.random.RandomState(0).randint(2**31))
    init_key, _ = jax.random.split(key)
    with jax.enable_x64(True):
        params = init_params(jax.random.fold_in(init_key, 0), (2, 1), dtype=float)
    network.partial_fit(X[train], Y[train], classes=[0, 1])
    network.coefs_ = [np.asarray(params[0].w)]
    network.intercepts_ = [np.asarray(params[0].b)]
    network._records[0].opt_state = network._records[0].opt_state._replace(
        n_steps=np.zeros((), np.int32),
        mean=jax.tree.map(np.zeros_like, network._records[0].opt_state.mean),
        square=jax.tree.map(np.zeros_like, network._records[0].opt_state.square),
    )
    scores = []
    for _ in range(search.max_iter):
        network.partial_fit(X[train], Y[train], sample_weight=weight[train])
        weights = weight[test] * np.array([1, 2])[Y[test]]
        scores.append(
            -log_loss(Y[test], network.predict_proba(X[test]), sample_weight=weights)
        )
    return max(scores)


def test_without_refit_there_is_nothing_to_predict_by():
    model = MLPClassifierCV([()], [0.1], cv=KFold(2, shuffle=True, random_state=0))
    model.set_params(max_iter=5, refit=False).fit(X, Y)
    assert model.n_splits_ == 2
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_refitting_warns_of_nothing_and_leaves_the_filters_alone(recwarn):
    before = list(warnings.filters)
    MLPClassifierCV([()], [0.1], cv=2, max_iter=5, random_state=0).fit(X, Y)
    assert warnings.filters == before
    assert not recwarn.list


def test_folds_without_weight_are_named():
    weight = np.ones(len(X))
    weight[: len(X) // 3] = 0
    with pytest.raises(ValueError, match="zero for every row of a fold: give another cv"):
        MLPClassifierCV([()], [0.1], cv=KFold(3), max_iter=5).fit(X, Y, weight)
    with pytest.raises(ValueError, match="device must be a name"):
        MLPClassifierCV([()], [0.1], device=jax.devices()[0]).fit(X, Y)


def test_it_is_an_estimator_among_others():
    names = np.array(["no", "yes"])[Y]
    model = MLPClassifierCV([4], [0.1], cv=2, max_iter=40, solver="sgd", random_state=0)
    assert cross_val_score(model, X, names, cv=2).mean() > 0.75
    assert set(model.fit(X, names).predict(X)) == {"no", "yes"}


def test_a_candidate_that_diverges_is_never_chosen():
    model = MLPClassifierCV([()], [1e30, 0.1], cv=2, max_iter=5, solver="sgd")
    features = X.astype(np.float32)
    model.fit(features, Y)
    assert model.best_params_["learning_rate_init"] == 0.1
    assert np.isfinite(model.best_score_)
    with pytest.raises(FloatingPointError, match="no configuration had a finite"):
        model.set_params(learning_rate_init=[1e30]).fit(1e20 * features, Y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden_layer_sizes": 5}, "hidden_layer_sizes must be a list of values to try"),
        ({"hidden_layer_sizes": [0]}, "hidden_layer_sizes must be a whole number"),
        ({"learning_rate_init": []}, "learning_rate_init must be a list of values to try"),
        ({"learning_rate_init": [0]}, "learning_rate_init must be positive numbers"),
        ({"alpha": [-1]}, "alpha must be a finite number from 0"),
        ({"solver": "lbfgs"}, "solver must be one of"),
        ({"init": "sklearn"}, "init must be one of"),
        ({"n_seeds": 0}, "n_seeds must be a whole number"),
        ({"batch_size": 0.5}, "batch_size must be a whole number"),
    ],
    ids=str,
)
def test_each_wrong_parameter_has_its_error(params, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifierCV(**params).fit(X, Y)
