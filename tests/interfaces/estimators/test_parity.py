"""`MLPClassifier` against scikit-learn's, in float64 and from the same random state."""

import copy

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.datasets import make_classification

from jaxmlp import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Sums in another order give 1e-15, and the steps are too few to amplify that. Where a row
# is far on the wrong side, scikit-learn's loss, from a rounded probability, is off by more.
TOLERANCE = 1e-10

X, Y = make_classification(131, 6, n_informative=4, flip_y=0.1, random_state=0)
WEIGHT = np.random.default_rng(0).integers(0, 4, len(X)) * 1.3


def make_pair(**params):
    params = {
        "solver": "sgd",
        "max_iter": 12,
        "random_state": 3,
        "batch_size": 32,
        **params,
    }
    params = {"hidden_layer_sizes": 5, "learning_rate_init": 0.05, **params}
    return MLPClassifier(**params), neural_network.MLPClassifier(**params)


def assert_same(ours, theirs):
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(ours, name) == getattr(theirs, name)
    for name in ("loss_curve_", "loss_", "best_loss_", "validation_scores_"):
        actual, expected = getattr(ours, name), getattr(theirs, name)
        assert (actual is None) == (expected is None)
        if expected is not None:
            np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)
    for actual, expected in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert actual.dtype == expected.dtype == np.float64
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": (5, 4)},
        {"alpha": 3.0},
        {"alpha": 3.0, "weighted": True},
        {"batch_size": "auto"},
        {"batch_size": "auto", "alpha": 3.0, "weighted": True},
        {"batch_size": 1, "max_iter": 2},
        {"shuffle": False},
        {"n_iter_no_change": 2, "tol": 0.01, "max_iter": 300},
        {"early_stopping": True, "max_iter": 300},
        {"early_stopping": True, "max_iter": 300, "weighted": True},
    ],
    ids=str,
)
def test_training(solver, params):
    params = dict(params)
    weight = WEIGHT if params.pop("weighted", False) else None
    ours, theirs = make_pair(solver=solver, **params)
    assert_same(ours.fit(X, Y, weight), theirs.fit(X, Y, weight))


@pytest.mark.parametrize(
    "params",
    [
        {"momentum": 0.0},
        {"nesterovs_momentum": False},
        {"learning_rate": "invscaling", "power_t": 0.3},
        {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.02, "max_iter": 200},
        {
            "learning_rate": "adaptive",
            "n_iter_no_change": 1,
            "early_stopping": True,
            "max_iter": 200,
        },
    ],
    ids=str,
)
def test_momentum_and_schedules(params):
    ours, theirs = make_pair(**params)
    assert_same(ours.fit(X, Y), theirs.fit(X, Y))
    assert ours.n_iter_ < 200  # the adaptive step size gave up by itself


@pytest.mark.parametrize("params", [{"beta_1": 0.5}, {"beta_2": 0.9}, {"epsilon": 0.01}])
def test_constants_of_adam(params):
    ours, theirs = make_pair(solver="adam", **params)
    assert_same(ours.fit(X, Y), theirs.fit(X, Y))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling"])
def test_a_warm_start_from_given_weights(solver, learning_rate):
    ours, theirs = make_pair(solver=solver, learning_rate=learning_rate, warm_start=True)
    for model in (ours.fit(X, Y), theirs.fit(X, Y)):
        rng = np.random.default_rng(1)
        model.coefs_ = [rng.normal(size=w.shape) for w in model.coefs_]
        model.intercepts_ = [rng.normal(size=b.shape) for b in model.intercepts_]
        model.fit(X, Y)
    assert_same(ours, theirs)
    assert len(ours.loss_curve_) > 12


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
def test_partial_fit(solver, learning_rate):
    ours, theirs = make_pair(solver=solver, learning_rate=learning_rate, n_iter_no_change=2)
    for part in (slice(0, 50), slice(50, 131), slice(20, 70), slice(0, 50), slice(0, 131)):
        weight = WEIGHT[part] if part.start else None
        for model in (ours, theirs):
            model.partial_fit(X[part], Y[part], classes=[0, 1], sample_weight=weight)
        assert_same(ours, theirs)
    # After a fit, its optimiser's state is gone on with.
    for model in (ours.fit(X, Y), theirs.fit(X, Y)):
        model.partial_fit(X, Y)
    assert_same(ours, theirs)


def test_a_random_state_is_left_where_scikit_learn_leaves_it():
    ours, theirs = (m.set_params(early_stopping=True) for m in make_pair())
    for model in (ours, theirs):
        model.set_params(random_state=np.random.RandomState(0)).fit(X, Y)
    assert ours.random_state.randint(2**31) == theirs.random_state.randint(2**31)


def test_predictions_agree():
    ours, theirs = make_pair()
    ours, theirs = ours.fit(X, Y), theirs.fit(X, Y)
    for method in ("predict_proba", "predict_log_proba"):
        actual, expected = getattr(ours, method)(X), getattr(theirs, method)(X)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.score(X, Y, WEIGHT) == theirs.score(X, Y, WEIGHT)


def test_parameters_are_scikit_learns_and_four_more():
    theirs = neural_network.MLPClassifier().get_params()
    ours = MLPClassifier().get_params()
    new = {"class_weight": None, "n_ensemble": 1, "init": "sklearn", "device": None}
    assert ours == {**theirs, **new}


def test_too_large_a_batch_warns_as_scikit_learn_does():
    for model in make_pair(batch_size=500):
        with pytest.warns(UserWarning, match="batch_size"):
            model.fit(X, Y)


def test_earlier_copies_keep_their_curves():
    model, _ = make_pair(warm_start=True)
    earlier = copy.copy(model.fit(X, Y))
    model.fit(X, Y)
    assert len(earlier.loss_curve_) == 12
