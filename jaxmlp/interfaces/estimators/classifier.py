"""`MLPClassifier`: scikit-learn's estimator for two classes, computed by jaxmlp."""

from typing import Any, Literal, Self

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from jaxmlp.interfaces.estimators.base import (
    BinaryClassifier,
    Rows,
    check_features,
    check_training_part,
    encode,
    find_classes,
    make_rows,
    plain,
    weights_by_class,
)
from jaxmlp.interfaces.estimators.epochs import Record, warn_unfinished
from jaxmlp.interfaces.estimators.options import check_options, rules_of
from jaxmlp.interfaces.estimators.training import Trained, go_on, train_networks


def _has_epochs(estimator: "MLPClassifier") -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit takes one epoch, which solver='lbfgs' has not")
    return True


class MLPClassifier(BinaryClassifier):
    r"""Multilayer perceptron for two classes, a drop-in for scikit-learn's of that name.

    Parameters, their order and defaults, methods and fitted attributes are those of
    `sklearn.neural_network.MLPClassifier`; what is said below is what they mean, and
    where more or less is possible. Training minimises, on each mini-batch B,

    $$
    \frac{1}{\sum_{i \in B} w_i} \left(\sum_{i \in B} w_i \ell_i +
    \frac{\alpha}{2} \sum_l \lVert W_l \rVert^2\right)
    $$

    Computation is in the type of the features, float64 or float32, as in scikit-learn; but
    on an accelerator in float64 only where `jax_enable_x64` is on.

    Args:
      hidden_layer_sizes: Widths of the hidden layers; a number is one layer, `()` is
        logistic regression.
      activation: `"relu"`; no other has a backward pass here.
      solver: `"adam"`, `"sgd"`, or `"lbfgs"` (optax's, with SciPy's rules for the end).
      alpha: Strength α of the L2 penalty on the weights.
      batch_size: Examples a step; `"auto"` is min(200, n).
      learning_rate: Of `"sgd"`: `"constant"`, `"invscaling"` ($\eta_0 / (t +
        1)^{p}$ after t examples, set once an epoch) or `"adaptive"` (divided by 5 where
        training would else stop).
      learning_rate_init: Step size η of `"sgd"` and `"adam"`.
      power_t: Exponent p of `"invscaling"`.
      max_iter: Most epochs, or steps of L-BFGS.
      shuffle: Whether each epoch has a new order.
      random_state: Seed or `numpy.random.RandomState` of starting weights, split and
        orders, which are scikit-learn's.
      tol: Least improvement that counts; of L-BFGS the slope at which to stop.
      verbose: Whether to print a line an epoch.
      warm_start: Whether `fit` goes on from the weights of the last one.
      momentum: Of `"sgd"`.
      nesterovs_momentum: Of `"sgd"`.
      early_stopping: Whether to set `validation_fraction` of the rows aside, stop by the
        accuracy on them, and keep the weights with the highest one.
      validation_fraction: Share of the rows set aside.
      beta_1: Of `"adam"`.
      beta_2: Of `"adam"`.
      epsilon: Of `"adam"`.
      n_iter_no_change: Epochs without improvement that are let pass.
      max_fun: Most evaluations of the loss by L-BFGS.
      class_weight: Weights by label, or `"balanced"` for n / (2 n_c); they multiply
        `sample_weight`, in the validation part too. Not in scikit-learn.
      n_ensemble: Number of networks, trained one after another, whose probabilities are
        averaged. The first is the network that 1 gives. Not in scikit-learn.
      init: How starting weights are drawn: `"sklearn"`, uniform by Glorot with biases
        too, or `"he"` or `"xavier"` as in `jaxmlp.init_params`. Not in scikit-learn.
      device: `"cpu"`, `"gpu"` or `"tpu"`, or with a number, `"gpu:1"`; None is JAX's
        default. Not in scikit-learn.

    Attributes:
      classes_: The two labels, sorted.
      coefs_: Weights of each layer, NumPy arrays `(d_in, d_out)`; with more networks than
        one, `(n_ensemble, d_in, d_out)`.
      intercepts_: Biases, `(d_out,)` or `(n_ensemble, d_out)`.
      loss_curve_: Training loss of each epoch, penalty included, mean over its steps,
        each taken before its update. Of an ensemble, as the next two, a list for each
        network.
      validation_loss_curve_: Mean log loss on the validation part after each epoch, or
        None. Not in scikit-learn.
      validation_scores_: Accuracy on it after each epoch, or None.
      loss_: Last training loss. Of an ensemble, as the next two, the mean.
      best_loss_: Lowest training loss; None with a validation part.
      best_validation_score_: Highest accuracy, or None.
      n_iter_: Number of epochs. Of an ensemble, as the next, the greatest.
      t_: Examples seen.
      n_features_in_: Number of features p.
      feature_names_in_: Their names, if all are strings.
      n_layers_: Number of layers, input and output included.
      n_outputs_: 1.
      out_activation_: `"logistic"`.

    Guarantees:
      In float64, `loss_curve_`, `n_iter_` and weights of solvers `"sgd"` and `"adam"` are
      scikit-learn's with the same `random_state`, to rounding (the tests ask for 1e-10),
      as long as no probability rounds to 0 or 1: there scikit-learn's loss is cut off,
      and the one here goes on. What the instance keeps is Python and NumPy: it can be
      pickled, copied, cloned.

    Examples:
      >>> from sklearn.datasets import load_breast_cancer
      >>> from sklearn.pipeline import make_pipeline
      >>> from sklearn.preprocessing import StandardScaler
      >>> from jaxmlp import MLPClassifier
      >>> X, y = load_breast_cancer(return_X_y=True)
      >>> network = MLPClassifier(learning_rate_init=0.01, random_state=0)
      >>> model = make_pipeline(StandardScaler(), network).fit(X[:400], y[:400])
      >>> model.score(X[400:], y[400:]) > 0.9
      True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Literal["relu"] = "relu",
        *,
        solver: Literal["adam", "sgd", "lbfgs"] = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        n_ensemble: int = 1,
        init: Literal["sklearn", "he", "xavier"] = "sklearn",
        device: str | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.class_weight = class_weight
        self.n_ensemble = n_ensemble
        self.init = init
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Trains on a table.

        Args:
          X: Features, `(n, p)`: an array, a table of pandas or polars, or a sparse matrix
            (made dense).
          y: Labels of two values, `(n,)`.
          sample_weight: Non-negative weights, `(n,)`.
          X_val: Validation features, `(n_val, p)`. They imply early stopping, judged on
            this part; no rows of X are set aside.
          y_val: Validation labels, `(n_val,)`.

        Returns:
          The estimator itself.

        Raises:
          ValueError: Names the argument or parameter and says what is wrong with it.
        """
        is_over = self._fit(X, y, sample_weight, X_val, y_val)
        if not is_over:
            warn_unfinished(self.max_iter)
        return self

    def _fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> bool:
        """As `fit`, without its warning: whether training ended before max_iter did."""
        check_options(self)
        is_first = not (self.warm_start and hasattr(self, "coefs_"))
        X, y = check_training_part(self, X, y, reset=is_first)
        classes = find_classes(y)
        if is_first:
            self.classes_ = classes
        elif classes.tolist() != self.classes_.tolist():
            raise ValueError(
                f"warm_start needs the classes of the earlier fit, {self.classes_.tolist()}"
                f"; y has {classes.tolist()}"
            )
        by_class = weights_by_class(self.class_weight, self.classes_, y)
        rows = make_rows(X, encode(y, self.classes_), sample_weight, by_class)
        val = self._validation_rows(X_val, y_val, by_class)
        starts = None if is_first else go_on(self, rows, keep_optimizer=False)
        rules = rules_of(self, max_iter=self.max_iter)
        trained = train_networks(self, starts, rows, val, rules)
        self._set_fitted(trained)
        return all(network.is_over for network in trained)

    @available_if(_has_epochs)  # type: ignore[untyped-decorator] # scikit-learn is untyped
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Trains for one epoch, with the optimiser's state of the call before.

        Args:
          X: Features, `(n, p)`, as in `fit`.
          y: Labels, `(n,)`; they need not hold both.
          sample_weight: Non-negative weights, `(n,)`.
          classes: The two labels; needed in the first call.

        Returns:
          The estimator itself.

        Raises:
          ValueError: Names the argument or parameter and says what is wrong with it.
        """
        check_options(self)
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' needs all labels at once, which partial_fit has "
                "not: give the weights by label, {label: weight}"
            )
        self._learn_classes(classes)
        is_first = not hasattr(self, "coefs_")
        X, y = check_training_part(self, X, y, reset=is_first)
        by_class = weights_by_class(self.class_weight, self.classes_, y)
        rows = make_rows(X, encode(y, self.classes_), sample_weight, by_class)
        starts = None if is_first else go_on(self, rows, keep_optimizer=True)
        rules = rules_of(self, max_iter=1)
        self._set_fitted(train_networks(self, starts, rows, None, rules))
        return self

    def _learn_classes(self, classes: ArrayLike | None) -> None:
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be given in the first call of partial_fit")
        if classes is None:
            return
        found = find_classes(np.asarray(classes))
        if hasattr(self, "classes_") and found.tolist() != self.classes_.tolist():
            raise ValueError(
                f"classes must be those of the earlier calls, {self.classes_.tolist()}, "
                f"not {found.tolist()}"
            )
        self.classes_ = found

    def _validation_rows(
        self,
        X: ArrayLike | None,
        y: ArrayLike | None,
        by_class: NDArray[np.float64] | None,
    ) -> Rows | None:
        if X is None and y is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val must be given together")
        if self.solver == "lbfgs":
            raise ValueError(
                "X_val stops epochs, which solver='lbfgs' has not: leave it out"
            )
        codes = encode(plain(column_or_1d(y, warn=True)), self.classes_, "y_val")
        return make_rows(check_features(self, X), codes, None, by_class)

    def _set_fitted(self, trained: list[Trained]) -> None:
        self._records = records = [network.record for network in trained]
        stacked = jax.tree.map(lambda *a: np.stack(a), *(t.params for t in trained))
        alone = len(trained) == 1
        self.coefs_ = [layer.w[0] if alone else layer.w for layer in stacked]
        self.intercepts_ = [layer.b[0] if alone else layer.b for layer in stacked]
        self.n_iter_ = max(network.n_iter for network in trained)
        self.t_ = max(record.n_seen for record in records)
        self.n_layers_, self.n_outputs_ = len(self.coefs_) + 1, 1
        self.out_activation_ = "logistic"
        self._set_curves(records)

    def _set_curves(self, records: list[Record]) -> None:
        curves = {
            "loss_curve_": [record.loss_curve for record in records],
            "validation_scores_": [record.val_scores for record in records],
            "validation_loss_curve_": [record.val_loss_curve for record in records],
        }
        for name, curve in curves.items():
            value = curve if len(records) > 1 else curve[0]
            setattr(self, name, value if all(curve) else None)
        is_judged = all(record.val_scores for record in records)
        loss = float(np.mean([record.best_loss for record in records]))
        score = float(np.mean([record.best_score for record in records]))
        self.loss_ = float(np.mean([record.loss_curve[-1] for record in records]))
        self.best_loss_ = None if is_judged else loss
        self.best_validation_score_ = score if is_judged else None
