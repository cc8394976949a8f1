"""`MLPClassifierCV`: the compiled search, by cross-validation, as an estimator."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state

from jaxmlp.core.params import InitMethod
from jaxmlp.core.validate import check_count, check_number
from jaxmlp.interfaces.estimators.base import (
    BinaryClassifier,
    Rows,
    check_training_part,
    check_weighted,
    compute_dtype,
    encode,
    find_classes,
    make_rows,
    weights_by_class,
)
from jaxmlp.interfaces.estimators.classifier import MLPClassifier
from jaxmlp.interfaces.estimators.options import (
    check_choice,
    check_device,
    hidden_sizes,
    optimizer_of,
)
from jaxmlp.training.search import search
from jaxmlp.training.validate import check_l2, find_device


class Candidate(NamedTuple):
    """Parameters of `MLPClassifier` to try together."""

    hidden_layer_sizes: tuple[int, ...]
    learning_rate_init: float
    alpha: float


class MLPClassifierCV(BinaryClassifier):
    r"""`MLPClassifier` that chooses widths, step size and penalty by cross-validation.

    All candidates of a fold train with one compiled program for each depth, side by side
    on an accelerator (see `jaxmlp.search`). A candidate's score on a fold is that of its
    best epoch there, so that it is a little better than that of new rows.

    Args:
      hidden_layer_sizes: Hidden layers to try: widths, or tuples of widths; `()` is
        logistic regression.
      learning_rate_init: Step sizes to try.
      alpha: Strengths of the L2 penalty to try, in the meaning of `MLPClassifier`: the
        search's λ, per example, is alpha over the mean weight of a mini-batch, without
        weights alpha / batch_size.
      solver: `"adam"`, or `"sgd"` with Nesterov's momentum of 0.9.
      n_seeds: Starting weights for each candidate and fold, whose scores are averaged.
      cv: Number of folds, or a scikit-learn splitter that needs no groups, or pairs of row
        numbers; a number makes stratified folds in the order of the rows.
      refit: Whether to train the best candidate on all rows in the end, for the mean
        number of epochs that was best on the folds. Else there is nothing to predict by.
      max_iter: Most epochs.
      batch_size: Examples a step; `"auto"` is min(200, n).
      n_iter_no_change: Epochs without a lower loss on the fold after which one stops.
      random_state: Seed or `numpy.random.RandomState` of starting weights and orders.
      class_weight: As in `MLPClassifier`, in the folds' scores too.
      init: `"he"` or `"xavier"`, as in `jaxmlp.init_params`.
      device: As in `MLPClassifier`.

    Attributes:
      best_params_: The best candidate, as parameters of `MLPClassifier`.
      best_score_: Its mean score: the negative mean log loss on the folds.
      best_index_: Its place in `cv_results_`.
      n_iter_: Mean number of epochs that was best for it, rounded.
      cv_results_: Scores of all candidates, in the form of scikit-learn's `GridSearchCV`:
        `params`, `param_*`, `split*_test_score`, `mean_test_score`, `std_test_score`,
        `rank_test_score`. NaN where training diverged.
      n_splits_: Number of folds.
      best_estimator_: The `MLPClassifier` trained in the end, if `refit`.
      coefs_: Its weights.
      intercepts_: Its biases.
      classes_: The two labels, sorted.
      n_features_in_: Number of features p.
      feature_names_in_: Their names, if all are strings.

    Examples:
      >>> from sklearn.datasets import make_moons
      >>> from jaxmlp import MLPClassifierCV
      >>> X, y = make_moons(200, noise=0.1, random_state=0)
      >>> model = MLPClassifierCV(
      ...     [(), 16], [0.001, 0.03], cv=3, max_iter=50, random_state=0
      ... ).fit(X, y)
      >>> model.best_params_["hidden_layer_sizes"], model.best_params_["learning_rate_init"]
      ((16,), 0.03)
      >>> model.cv_results_["mean_test_score"].shape
      (4,)
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[Any] = ((), (8,), (32,)),
        learning_rate_init: Sequence[float] = (0.0003, 0.001, 0.003, 0.01),
        alpha: Sequence[float] = (0.0001,),
        *,
        solver: Literal["adam", "sgd"] = "adam",
        n_seeds: int = 1,
        cv: Any = 5,
        refit: bool = True,
        max_iter: int = 200,
        batch_size: int | Literal["auto"] = "auto",
        n_iter_no_change: int = 10,
        random_state: int | np.random.RandomState | None = None,
        class_weight: Any = None,
        init: InitMethod = "he",
        device: str | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.solver = solver
        self.n_seeds = n_seeds
        self.cv = cv
        self.refit = refit
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.class_weight = class_weight
        self.init = init
        self.device = device

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Scores all candidates, and trains the best on all rows.

        Args:
          X: Features, `(n, p)`, as in `MLPClassifier.fit`.
          y: Labels of two values, `(n,)`.
          sample_weight: Non-negative weights, `(n,)`, in the folds' scores too.

        Returns:
          The estimator itself.

        Raises:
          ValueError: Names the argument or parameter and says what is wrong with it.
          FloatingPointError: No candidate had a finite loss on a fold.
        """
        candidates = self._check_candidates()
        features, labels = check_training_part(self, X, y, reset=True)
        self.classes_ = find_classes(labels)
        folds = list(check_cv(self.cv, labels, classifier=True).split(features, labels))
        random_state = check_random_state(self.random_state)
        key = jax.random.key(random_state.randint(2**31))
        rows = make_rows(features, encode(labels, self.classes_), sample_weight, None)
        by_class = weights_by_class(self.class_weight, self.classes_, labels)
        dtype = compute_dtype(features, find_device(self.device))
        with jax.enable_x64(dtype == np.float64):
            found = [
                self._score(key, rows.take(train), rows.take(test), by_class, candidates)
                for train, test in folds
            ]
        scores, epochs = map(np.stack, zip(*found, strict=True))
        self._set_results(candidates, scores)
        self.n_iter_ = max(1, round(float(epochs[:, self.best_index_].mean())))
        if self.refit:
            self._refit(features, labels, sample_weight, random_state)
        return self

    def _check_candidates(self) -> list[Candidate]:
        check_choice("solver", self.solver, ("adam", "sgd"))
        check_choice("init", self.init, ("he", "xavier"))
        check_device(self.device)
        for name in ("n_seeds", "max_iter", "n_iter_no_change"):
            check_count(name, getattr(self, name))
        if self.batch_size != "auto":
            check_count("batch_size", self.batch_size)
        lists = {
            name: list(dict.fromkeys(map(check, _listed(name, getattr(self, name)))))
            for name, check in _CHECKS.items()
        }
        return [Candidate(*values) for values in itertools.product(*lists.values())]

    def _score(
        self,
        key: jax.Array,
        train: Rows,
        test: Rows,
        by_class: NDArray[np.float64] | None,
        candidates: list[Candidate],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores of the candidates on one fold, and their best epochs, means over seeds."""
        for part, name in ((train, "the rows outside a fold"), (test, "a fold")):
            check_weighted(part, f"{name}: give another cv")
        widths, rates, alphas = (
            list(dict.fromkeys(values)) for values in zip(*candidates, strict=True)
        )
        n_samples = len(train.X)
        batch_size = min(200 if self.batch_size == "auto" else self.batch_size, n_samples)
        weight = make_rows(*train, by_class).weight
        # Weights that are all zero are refused by the search.
        mean_weight = 1.0 if weight is None else float(weight.mean()) or 1.0
        result = search(
            key,
            train.X,
            train.y,
            test.X,
            test.y,
            learning_rates=rates,
            hidden_sizes=widths,
            l2=[alpha / (batch_size * mean_weight) for alpha in alphas],
            n_epochs=self.max_iter,
            batch_size=batch_size,
            n_seeds=self.n_seeds,
            optimizer=optimizer_of(self._template()),
            init=self.init,
            sample_weight=train.weight,
            sample_weight_val=test.weight,
            class_weight=None if by_class is None else dict(enumerate(by_class.tolist())),
            patience=self.n_iter_no_change,
            device=self.device,
        )
        losses = np.array([row.val_loss for row in result.table])
        losses[~np.isfinite(losses)] = np.nan
        epochs = np.array([row.epoch for row in result.table], float)
        shape = (len(candidates), self.n_seeds)
        return -losses.reshape(shape).mean(axis=1), epochs.reshape(shape).mean(axis=1)

    def _template(self, **params: Any) -> MLPClassifier:
        """The network to train, but for what the candidates say."""
        return MLPClassifier(
            solver=self.solver,
            batch_size=self.batch_size,
            class_weight=self.class_weight,
            init=self.init,
            device=self.device,
            **params,
        )

    def _set_results(
        self, candidates: list[Candidate], scores: NDArray[np.float64]
    ) -> None:
        mean = scores.mean(axis=0)
        # NaN ranks last, as in scikit-learn.
        ranked = np.where(np.isnan(mean), -np.inf, mean)
        results: dict[str, Any] = {
            f"param_{name}": _masked([getattr(c, name) for c in candidates])
            for name in Candidate._fields
        }
        results["params"] = [candidate._asdict() for candidate in candidates]
        for i, score in enumerate(scores):
            results[f"split{i}_test_score"] = score
        results["mean_test_score"] = mean
        results["std_test_score"] = scores.std(axis=0)
        results["rank_test_score"] = rankdata(-ranked, method="min").astype(np.int32)
        self.cv_results_, self.n_splits_ = results, len(scores)
        self.best_index_ = int(np.argmax(ranked))
        self.best_score_ = float(mean[self.best_index_])
        self.best_params_ = candidates[self.best_index_]._asdict()

    def _refit(
        self,
        X: NDArray[np.floating],
        y: NDArray[Any],
        sample_weight: ArrayLike | None,
        random_state: np.random.RandomState,
    ) -> None:
        network = self._template(
            **self.best_params_,
            max_iter=self.n_iter_,
            n_iter_no_change=np.inf,
            random_state=random_state.randint(2**31),
        )
        network._fit(X, y, sample_weight)  # that the epochs end is meant
        self.best_estimator_ = network
        self.coefs_, self.intercepts_ = network.coefs_, network.intercepts_


def _listed(name: str, values: Any) -> list[Any]:
    is_list = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str)
    if not is_list or len(values) == 0:
        raise ValueError(f"{name} must be a list of values to try, not {values!r}")
    return list(values)


def _rate(value: Any) -> float:
    name, wanted = "learning_rate_init", "positive numbers"
    return check_number(name, value, wanted, lambda x: 0 < x < np.inf)


_CHECKS: dict[str, Any] = {
    "hidden_layer_sizes": hidden_sizes,
    "learning_rate_init": _rate,
    "alpha": lambda value: check_l2("alpha", value),
}


def _masked(values: list[Any]) -> np.ma.MaskedArray[Any, Any]:
    """Values as `cv_results_` has them: objects where they are not numbers."""
    is_number = not isinstance(values[0], tuple)
    array = np.ma.empty(len(values), float if is_number else object)
    for i, value in enumerate(values):
        array[i] = value
    return array
