"""A network as scikit-learn's own classifier."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmlp.core import Layer, Params
from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import Classes
from jaxmlp.interfaces.model import Model

if TYPE_CHECKING:
    from sklearn.ensemble import VotingClassifier
    from sklearn.neural_network import MLPClassifier


def to_sklearn(model: Model | Params) -> "MLPClassifier | VotingClassifier":
    """Makes a fitted scikit-learn classifier that gives the same probabilities.

    It takes the networks' input, `Model.features`, and predicts the more probable label,
    whatever the model's threshold.

    Args:
      model: A model; or parameters, of one network or stacked, whose labels are 0 and 1.

    Returns:
      Of one network, an `MLPClassifier`, whose `partial_fit` goes on training with a new
      optimiser; of several, a soft `VotingClassifier`. `classes_` are ascending, as
      scikit-learn has them: the positive label comes second only if it is the greater.

    Raises:
      DataError: The labels are fractions, which scikit-learn takes for a regression's.
      TypeError: It is neither a model nor parameters.

    Examples:
      >>> import jax
      >>> import numpy as np
      >>> from jaxmlp import init_params
      >>> classifier = to_sklearn(init_params(jax.random.key(0), (3, 4, 1)))
      >>> classifier.predict_proba(np.zeros((1, 3)))
      array([[0.5, 0.5]])
    """
    if not isinstance(model, Model) and not (model and isinstance(model[0], Layer)):
        raise TypeError(
            "model must be a model, such as load_model reads, or parameters, not "
            f"{type(model).__name__}"
        )
    networks, classes = (
        (model.networks, model.classes)
        if isinstance(model, Model)
        else (model, Classes(0, 1))
    )
    if any(isinstance(label, float) and not label.is_integer() for label in classes):
        raise DataError(
            f"scikit-learn takes no fractions as labels, and these are {classes}"
        )
    labels = np.sort(np.array(classes))
    members = _members(networks)
    if labels[1] != classes.positive:
        members = [_negated(params) for params in members]
    return _classifier(members[0], labels) if len(members) == 1 else _vote(members, labels)


def _members(networks: Params) -> list[Params]:
    """Takes a stack apart, into arrays of their own."""
    host = jax.tree.map(np.array, networks)
    if host[0].w.ndim == 2:
        return [host]
    return [
        jax.tree.map(lambda array, i=i: array[i].copy(), host)
        for i in range(len(host[0].w))
    ]


def _negated(params: Params) -> Params:
    """The network of the opposite logit."""
    *hidden, output = params
    return (*hidden, jax.tree.map(np.negative, output))


def _classifier(params: Params, labels: NDArray[Any]) -> "MLPClassifier":
    from sklearn.neural_network import MLPClassifier

    sizes = tuple(layer.b.shape[0] for layer in params[:-1])
    classifier = MLPClassifier(hidden_layer_sizes=sizes, random_state=0)
    # A step of its own makes everything that this version of scikit-learn keeps. Then the
    # traces of that step go, and without its optimiser the next one makes a new one.
    nothing = np.zeros((2, params[0].w.shape[0]), params[0].w.dtype)
    classifier.partial_fit(nothing, labels, classes=labels)
    del classifier._optimizer
    classifier.coefs_ = [layer.w for layer in params]
    classifier.intercepts_ = [layer.b for layer in params]
    classifier.n_iter_ = classifier.t_ = classifier._no_improvement_count = 0
    classifier.loss_, classifier.best_loss_, classifier.loss_curve_ = np.nan, np.inf, []
    return classifier


def _vote(members: list[Params], labels: NDArray[Any]) -> "VotingClassifier":
    from sklearn.ensemble import VotingClassifier
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import Bunch

    # Its members know the labels by their codes, as those do that it fits itself.
    named = {
        f"network_{i}": _classifier(params, np.array([0, 1]))
        for i, params in enumerate(members)
    }
    vote = VotingClassifier(list(named.items()), voting="soft")
    vote.estimators_, vote.named_estimators_ = list(named.values()), Bunch(**named)
    vote.le_ = LabelEncoder().fit(labels)
    vote.classes_ = vote.le_.classes_
    return vote
