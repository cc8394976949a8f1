"""What scikit-learn's usual models make of the same rows."""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jaxmlp.data.columns import Values
from jaxmlp.data.preprocess import Preprocessor
from jaxmlp.interfaces.recipes.prepare import Prepared

MOST_CELLS = 5_000_000
"""Values that a baseline learns from; of longer or wider tables, it sees fewer rows."""

_N_STEPS = 200


class Baseline(NamedTuple):
    """A trained baseline on the rows that are shown.

    Attributes:
      name: What it is called.
      detail: What it was given.
      n_train: Rows that it learned from.
      logits: Scores of the shown rows, `(n,)`.
      seconds: Of training it.
    """

    name: str
    detail: str
    n_train: int
    logits: NDArray[np.float64]
    seconds: float


def fit_baselines(
    rng: np.random.Generator,
    data: Prepared,
    columns: Mapping[str, Values],
    shown: NDArray[np.int64],
    class_weight: str | None,
) -> list[Baseline]:
    """Trains logistic regression and histogram gradient boosting on the training part.

    Args:
      rng: Takes some of the rows where there are too many.
      data: The prepared table.
      columns: Its used columns, decoded.
      shown: Rows to predict.
      class_weight: As in training.
    """
    order = rng.permutation(data.split.train)
    trees = _boosting(data, class_weight, seed=int(rng.integers(2**31)))
    return [
        _fit_linear(data, order, shown, class_weight),
        _fit(
            "gradient boosting",
            "scikit-learn's HistGradientBoostingClassifier, on the columns themselves",
            trees,
            lambda rows: raw_matrix(data.preprocessor, columns, rows),
            data.y,
            (order[: _n_rows(len(columns), len(order))], shown),
        ),
    ]


def _fit_linear(
    data: Prepared,
    order: NDArray[np.int64],
    shown: NDArray[np.int64],
    class_weight: str | None,
) -> Baseline:
    from sklearn.linear_model import LogisticRegression

    plain = np.flatnonzero(data.preprocessor.plain_columns())
    return _fit(
        "logistic regression",
        "scikit-learn's LogisticRegression, on the inputs without knots",
        LogisticRegression(max_iter=_N_STEPS, class_weight=class_weight),
        lambda rows: data.X[np.ix_(rows, plain)],
        data.y,
        (order[: _n_rows(len(plain), len(order))], shown),
    )


def _boosting(data: Prepared, class_weight: str | None, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    kinds = [rule.kind for rule in data.preprocessor.rules]
    return HistGradientBoostingClassifier(
        categorical_features=[kind == "categorical" for kind in kinds],
        class_weight=class_weight,
        random_state=seed,
    )


def _n_rows(n_columns: int, n: int) -> int:
    return min(n, max(1000, MOST_CELLS // n_columns))


def _fit(
    name: str,
    detail: str,
    estimator: Any,
    inputs: Callable[[NDArray[np.int64]], NDArray[Any]],
    labels: NDArray[np.int32],
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Baseline:
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    began = time.perf_counter()
    train, shown = parts
    y = labels[train]
    fewest, most = sorted([int(y.sum()), int(len(y) - y.sum())])
    if fewest < 2:  # a sample of rows with a rare label: too few to learn from
        sign = 1 if y.mean() > 0.5 else -1
        logits = np.full(len(shown), sign * np.log((most + 0.5) / (fewest + 0.5)))
    else:
        # Threads wait for one another at each small step: on a machine with other work,
        # two take ten times as long as one.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # steps enough to compare
            logits = estimator.fit(inputs(train), y).decision_function(inputs(shown))
    seconds = time.perf_counter() - began
    return Baseline(name, detail, len(y), np.asarray(logits, np.float64), seconds)


def raw_matrix(
    preprocessor: Preprocessor, columns: Mapping[str, Values], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The used columns of some rows, categories as codes, NaN where missing, `(n, c)`."""
    matrix = np.empty((len(rows), len(preprocessor.rules)))
    for j, rule in enumerate(preprocessor.rules):
        values = columns[rule.name]
        if isinstance(values, np.ndarray):
            matrix[:, j] = values[rows]
            continue
        assert rule.kind == "categorical"
        part = values.take(pa.array(rows))
        found = pc.index_in(part, value_set=pa.array(rule.levels, pa.string()))
        known = pc.fill_null(found, len(rule.levels)).to_numpy(zero_copy_only=False)
        is_missing = pc.is_null(part).to_numpy(zero_copy_only=False)
        matrix[:, j] = np.where(is_missing, np.nan, known)
    return matrix
