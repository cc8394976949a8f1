import dataclasses
import pickle

import jax
import numpy as np
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.neural_network import MLPClassifier

from jaxmlp import init_params, predict_proba, to_sklearn
from jaxmlp.core import Layer
from jaxmlp.data.errors import DataError
from tests.interfaces.exports.models import make_model, number_table

# Probabilities in float32 of logits near 1: some units in the last place.
TOLERANCE = 1e-6


def rows(n=200, p=5, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(n, p)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [(), (7,), (8, 4)])
def test_parameters_of_one_network(hidden, dtype):
    with jax.enable_x64(dtype == np.float64):
        params = init_params(jax.random.key(0), (5, *hidden, 1), dtype=dtype)
        X = rows(dtype=dtype)
        expected = np.asarray(predict_proba(params, X))
    classifier = to_sklearn(params)
    assert type(classifier) is MLPClassifier
    probabilities = classifier.predict_proba(X)
    np.testing.assert_allclose(probabilities[:, 1], expected, rtol=0, atol=TOLERANCE)
    assert (classifier.predict(X) == (expected > 0.5)).all()
    assert all(coef.dtype == dtype for coef in classifier.coefs_)


@pytest.mark.parametrize("hidden", [(), (7,), (8, 4)])
def test_has_what_a_fitted_one_has(hidden):
    X = rows()
    y = (X[:, 0] > 0).astype(int)
    fitted = MLPClassifier(hidden).partial_fit(X, y, classes=[0, 1])
    classifier = to_sklearn(init_params(jax.random.key(0), (5, *hidden, 1)))
    assert vars(classifier).keys() == vars(fitted).keys() - {"_optimizer"}
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(classifier, name) == getattr(fitted, name)
    assert classifier.classes_.tolist() == [0, 1]
    assert (classifier.n_iter_, classifier.t_, classifier.loss_curve_) == (0, 0, [])


def test_the_network_itself_is_not_changed():
    params = init_params(jax.random.key(0), (5, 4, 1))
    on_host = jax.tree.map(np.array, params)
    before = jax.tree.map(np.copy, on_host)
    X = rows()
    to_sklearn(on_host).partial_fit(X, (X[:, 0] > 0).astype(int))
    assert all(map(np.array_equal, jax.tree.leaves(on_host), jax.tree.leaves(before)))


@pytest.mark.parametrize(
    "classes", [("no", "yes"), ("yes", "no"), (False, True), (1, 0), (2.0, 3.0)]
)
@pytest.mark.parametrize("hidden", [((8,),), ((), (8,), (8, 4))])
def test_a_model(classes, hidden):
    table = number_table()
    model = make_model(table, hidden, classes, scale=0.7)
    classifier = to_sklearn(model)
    assert type(classifier) is (MLPClassifier if len(hidden) == 1 else VotingClassifier)
    X = model.features(table)
    probs, labels = model.predict(table)
    assert classifier.classes_.tolist() == sorted(classes)
    column = classifier.classes_.tolist().index(classes[1])
    found = classifier.predict_proba(X)[:, column]
    np.testing.assert_allclose(found, probs, rtol=0, atol=TOLERANCE)
    assert classifier.predict(X).tolist() == labels
    assert classifier.score(X, np.array(labels)) == 1
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert classifier.n_features_in_ == X.shape[1]
    assert (classifier.predict_proba(X[:1]) == classifier.predict_proba(X)[:1]).all()


def test_training_goes_on():
    """From the network's own loss, and down."""
    X = rows(2000)
    y = np.where(X[:, 0] * X[:, 1] > 0, "yes", "no")
    params = init_params(jax.random.key(0), (5, 32, 1))
    stacked = tuple(Layer(layer.w[None], layer.b[None]) for layer in params)
    model = dataclasses.replace(make_model(number_table()), networks=stacked)
    classifier = to_sklearn(model)
    first = -np.log(classifier.predict_proba(X)[np.arange(2000), (y == "yes") * 1]).mean()
    for _ in range(30):
        classifier.partial_fit(X, y)
    assert classifier.loss_curve_[0] == pytest.approx(first, rel=0.1)
    assert classifier.loss_curve_[-1] < first - 0.2
    assert classifier.t_ == 60_000
    assert classifier.score(X, y) > 0.8


def test_the_step_that_made_it_leaves_no_trace():
    """The first further step is that of a new optimiser, Adam, at our weights."""
    X = rows(50)
    y = (X[:, 0] > 0).astype(int)
    params = init_params(jax.random.key(0), (5, 1))
    classifier = to_sklearn(params).set_params(alpha=0)
    classifier.partial_fit(X, y)
    step = classifier.coefs_[0] - np.asarray(params[0].w)
    residual = np.asarray(predict_proba(params, X)) - y
    gradient = X.T @ residual[:, None]
    # Adam's first step has the length of its step size in every coordinate.
    np.testing.assert_allclose(step, -1e-3 * np.sign(gradient), rtol=1e-3)


def test_another_threshold_by_scikit_learns_own_means():
    table = number_table()
    model = make_model(table, threshold=0.2)
    classifier = FixedThresholdClassifier(
        FrozenEstimator(to_sklearn(model)), threshold=model.threshold, pos_label="yes"
    )
    X, (_, labels) = model.features(table), model.predict(table)
    classifier.fit(X, np.array(labels))
    assert classifier.predict(X).tolist() == labels


def test_fractions_are_no_labels_there():
    model = make_model(number_table(), classes=(0.5, 1.5))
    with pytest.raises(DataError, match=r"no fractions as labels, .*0\.5"):
        to_sklearn(model)
