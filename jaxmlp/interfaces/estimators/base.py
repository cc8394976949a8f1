"""What the estimators share: labels, features and predictions in scikit-learn's form."""

from typing import Any, NamedTuple, cast

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.special import expit, log_expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxmlp.core import Layer, Params
from jaxmlp.interfaces.prediction import predict_logits
from jaxmlp.training.arrays import as_finite
from jaxmlp.training.validate import find_device


class BinaryClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # untyped
    """Predictions of one network or more with labels of any two values.

    Attributes:
      classes_: The two labels, sorted; the second is the positive one.
      coefs_: Weights of each layer, `(d_in, d_out)`, or `(k, d_in, d_out)` of k networks.
      intercepts_: Biases of each layer, `(d_out,)` or `(k, d_out)`.
      device: Name of the device to compute on, or None for JAX's default.
    """

    classes_: NDArray[Any]
    coefs_: list[NDArray[np.floating]]
    intercepts_: list[NDArray[np.floating]]
    device: str | None

    def decision_function(self, X: ArrayLike) -> NDArray[np.floating]:
        """Computes the logit of the positive class, of an ensemble of its mean probability.

        Args:
          X: Features, `(n, p)`.

        Returns:
          Natural-log odds of `classes_[1]`, `(n,)`.

        Raises:
          ValueError: X has other features than those of `fit`, or is not finite.
        """
        check_is_fitted(self, "coefs_")
        dtype = self.coefs_[0].dtype
        # Cast here: JAX gives up in silence, or worse, on what float32 cannot hold.
        features = as_finite("X", check_features(self, X), dtype)
        with jax.enable_x64(dtype == np.float64):
            networks = jax.device_put(networks_of(self), find_device(self.device))
            logits = predict_logits(networks, features)
        if not np.isfinite(logits).all():
            raise ValueError(
                f"X gives infinite scores in {logits.dtype}, as values much larger than "
                "those of fit do: scale the features"
            )
        return logits

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predicts the more probable label of each row, `(n,)`; X as above."""
        is_positive = self.decision_function(X) > 0
        return self.classes_[is_positive.astype(int)]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Computes the probabilities of both labels, `(n, 2)`; X as above."""
        return expit(self._scores(X))

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Computes the logarithms of both probabilities, `(n, 2)`; finite; X as above."""
        return log_expit(self._scores(X))

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Computes the accuracy.

        Args:
          X: Features, `(n, p)`.
          y: Labels, `(n,)`, as in `fit`.
          sample_weight: Non-negative weights, `(n,)`.

        Raises:
          ValueError: As of `decision_function`.
        """
        # scikit-learn's metrics take no booleans in an array of objects.
        accuracy: float = super().score(X, plain(np.asarray(y)), sample_weight)
        return accuracy

    def _scores(self, X: ArrayLike) -> NDArray[np.float64]:
        # Of each class, so that neither probability loses its digits.
        logits = self.decision_function(X).astype(float)
        return np.stack([-logits, logits], axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.sparse = True
        return tags


def networks_of(estimator: BinaryClassifier) -> Params:
    """Parameters of a fitted estimator's networks, stacked, in NumPy arrays."""
    layers = []
    for weights, biases in zip(estimator.coefs_, estimator.intercepts_, strict=True):
        w, b = cast(Any, np.asarray(weights)), cast(Any, np.asarray(biases))
        layers.append(Layer(w, b) if w.ndim == 3 else Layer(w[None], b[None]))
    return tuple(layers)


def check_features(estimator: Any, X: Any) -> NDArray[np.floating]:
    """Features as those of `fit`, `(n, p)`, dense and finite; else raises ValueError."""
    return _dense(validate_data(estimator, X, reset=False, **_FORM))


def check_training_part(
    estimator: Any, X: Any, y: Any, *, reset: bool
) -> tuple[NDArray[np.floating], NDArray[Any]]:
    """Features `(n, p)`, dense and finite, and labels `(n,)`; else raises ValueError.

    Args:
      estimator: Learns number and names of the features, if `reset`, or knows them.
      X: Features, also sparse.
      y: Labels of any kind.
      reset: Whether this is a first fit.
    """
    X, y = validate_data(estimator, X, y, reset=reset, **_FORM)
    labels = plain(y)
    check_classification_targets(labels)
    return _dense(X), labels


_FORM: dict[str, Any] = {
    "accept_sparse": ("csr", "csc"),
    "dtype": (np.float64, np.float32),
}


def _dense(X: Any) -> NDArray[np.floating]:
    return X.toarray() if issparse(X) else X


def plain(y: NDArray[Any]) -> NDArray[Any]:
    """Objects of one type as an array of that type: pandas has booleans as objects."""
    is_uniform = y.dtype == object and len({type(value) for value in y}) == 1
    return np.array(y.tolist()) if is_uniform else y


def find_classes(y: NDArray[Any]) -> NDArray[Any]:
    """The two labels, sorted.

    Raises:
      ValueError: There are more than two, or only one.
    """
    kind = type_of_target(y, input_name="y", raise_unknown=True)
    classes = np.unique(y)
    if kind != "binary":
        raise ValueError(
            f"Only binary classification is supported. The type of the target is {kind}: "
            f"y has {len(classes)} classes; keep two of them, or join some"
        )
    if len(classes) == 1:
        raise ValueError(
            f"y has the one class {classes.tolist()[0]!r}; a classifier needs two classes"
        )
    return classes


def encode(y: NDArray[Any], classes: NDArray[Any], name: str = "y") -> NDArray[np.int64]:
    """Codes labels by their place in the classes, `(n,)`.

    Raises:
      ValueError: A label is none of them.
    """
    is_known = np.isin(y, classes)
    if not is_known.all():
        raise ValueError(
            f"{name} holds {y[~is_known].tolist()[0]!r}, which is not in the classes "
            f"{classes.tolist()}"
        )
    return np.searchsorted(classes, y)


class Rows(NamedTuple):
    """Examples on the host.

    Attributes:
      X: Features, `(n, p)`.
      y: Labels in {0, 1}, `(n,)`.
      weight: Weights, `(n,)`, or None for equal ones.
    """

    X: NDArray[np.floating]
    y: NDArray[np.int64]
    weight: NDArray[np.float64] | None

    def take(self, rows: NDArray[np.integer]) -> "Rows":
        """Some of them."""
        weight = None if self.weight is None else self.weight[rows]
        return Rows(self.X[rows], self.y[rows], weight)


def weights_by_class(
    class_weight: Any, classes: NDArray[Any], y: NDArray[Any]
) -> NDArray[np.float64] | None:
    """Weights of both classes, `(2,)`, of labels or `"balanced"`, or None for equal ones.

    Raises:
      ValueError: Weights are of other labels, or not to be understood.
    """
    if class_weight is None:
        return None
    weights: NDArray[np.float64] = compute_class_weight(class_weight, classes=classes, y=y)
    if not (weights >= 0).all():
        raise ValueError(f"class_weight must not be negative: {class_weight!r}")
    return weights


def check_weighted(rows: "Rows", name: str) -> None:
    """Refuses rows whose weights are all zero: there is nothing to learn or judge by."""
    if rows.weight is not None and not rows.weight.any():
        raise ValueError(f"sample_weight is zero for every row of {name}")


def make_rows(
    X: NDArray[np.floating],
    codes: NDArray[np.int64],
    sample_weight: ArrayLike | None,
    by_class: NDArray[np.float64] | None,
) -> Rows:
    """Rows whose weights are multiplied by those of their classes.

    Raises:
      ValueError: There is not one weight a row.
    """
    weight = None if sample_weight is None else np.asarray(sample_weight, float)
    if weight is not None and weight.shape != codes.shape:
        raise ValueError(
            f"sample_weight must have shape {codes.shape}, one weight a row of X, not "
            f"{weight.shape}"
        )
    if by_class is not None:
        weight = by_class[codes] if weight is None else weight * by_class[codes]
    return Rows(X, codes, weight)


def compute_dtype(X: NDArray[np.floating], device: jax.Device | None) -> np.dtype[Any]:
    """The type to compute in: that of the features, as in scikit-learn.

    An accelerator, whose float64 is slow, has it only where `jax_enable_x64` is on.
    """
    has_float64 = jax.config.jax_enable_x64 or _platform(device) == "cpu"
    is_wide = X.dtype == np.float64 and has_float64
    return np.dtype(np.float64 if is_wide else np.float32)


def _platform(device: jax.Device | None) -> str:
    (used,) = jax.device_put(np.zeros(0, np.float32), device).devices()
    return used.platform
