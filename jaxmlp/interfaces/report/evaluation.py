"""The report's `evaluation`: everything that the page shows beyond the training itself."""

import time
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit

from jaxmlp.data.columns import decode
from jaxmlp.interfaces.inspection.gradients import row_gradients
from jaxmlp.interfaces.model import predict_logits
from jaxmlp.interfaces.recipes.pipeline import Outcome
from jaxmlp.interfaces.recipes.threshold import Costs, Rule
from jaxmlp.interfaces.report.baselines import Baseline, fit_baselines
from jaxmlp.interfaces.report.bootstrap import (
    METRICS,
    Interval,
    all_metrics,
    bootstrap,
    count_resamples,
    interval,
)
from jaxmlp.interfaces.report.curves import (
    calibration,
    confusion,
    precision_recall_points,
    probability_histogram,
    roc_points,
)
from jaxmlp.interfaces.report.importance import permutation_importance
from jaxmlp.interfaces.report.rows import (
    count_gradients,
    describe_gradients,
    find_extremes,
    find_suspects,
)


class _Shown(NamedTuple):
    """The rows that the page is about: the test part, or without one the left-out rows."""

    part: str
    rows: NDArray[np.int64]
    X: NDArray[np.floating]
    y: NDArray[np.int32]
    logits: NDArray[np.floating]


_NO_ROWS = {"gradients": None, "suspects": None, "extremes": None}


def evaluate(table: pa.Table, outcome: Outcome, rule: Rule) -> dict[str, Any]:
    """Measures a trained model for its report.

    Of a privately trained model nothing is measured that training rows could show through:
    no baselines, label errors, gradients, shares, counts of missing values or fingerprint;
    and no single row is named.

    Args:
      table: What it was trained on.
      outcome: The training.
      rule: How the threshold was chosen.

    Returns:
      JSON values; see docs/command-line.md.
    """
    began = time.perf_counter()
    model, seed = outcome.model, outcome.report["settings"]["seed"]
    is_private = outcome.report["privacy"] is not None
    is_sample = "stream" in outcome.report  # whose rows have no number to be found by
    rngs = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
    baseline_rng, bootstrap_rng, importance_rng, rows_rng = rngs
    shown = _choose_shown(outcome)
    baselines = [] if is_private else _baselines(baseline_rng, table, outcome, shown)
    importance = permutation_importance(importance_rng, model, shown.X, shown.y)
    names = [column["name"] for column in importance.columns]
    found = {
        "part": shown.part,
        "rows": len(shown.y),
        "positives": int(shown.y.sum()),
        "shares": _shares(outcome, is_private=is_private),
        "columns": _columns(table, outcome, is_private=is_private),
        "threshold_rule": rule._asdict() if isinstance(rule, Costs) else rule,
        **_compare(bootstrap_rng, shown, baselines, model.threshold_logit),
        **_curves(shown, model.threshold_logit),
        "importance": importance._asdict(),
        **(
            _NO_ROWS
            if is_private or is_sample
            else _single_rows(rows_rng, table, outcome, shown, names)
        ),
        "fingerprint": None if is_private else outcome.data.fingerprint,
    }
    return {**found, "seconds": time.perf_counter() - began}


def _choose_shown(outcome: Outcome) -> _Shown:
    data, trained, model = outcome.data, outcome.trained, outcome.model
    rows = data.split.test if len(data.split.test) else trained.val_rows
    X = data.X[rows]
    if X.shape[1] != len(model.preprocessor.input_names):
        X = X[:, data.preprocessor.plain_columns()]
    if len(data.split.test):
        return _Shown("test", rows, X, data.y[rows], predict_logits(model.networks, X))
    return _Shown("left-out", rows, X, data.y[rows], trained.val_logits)


def _baselines(
    rng: np.random.Generator, table: pa.Table, outcome: Outcome, shown: _Shown
) -> list[Baseline]:
    columns = decode(table, outcome.data.preprocessor.kinds)
    class_weight = outcome.report["settings"]["class_weight"]
    return fit_baselines(rng, outcome.data, columns, shown.rows, class_weight)


def _shares(outcome: Outcome, *, is_private: bool) -> dict[str, dict[str, int | None]]:
    """Rows, and positive ones, of each part."""
    is_secret = {"train": is_private}
    return {
        name: {
            "rows": len(rows),
            "positives": None if is_secret.get(name) else int(outcome.data.y[rows].sum()),
        }
        for name, rows in zip(
            ("train", "validation", "test"), outcome.data.split, strict=True
        )
    }


def _columns(
    table: pa.Table, outcome: Outcome, *, is_private: bool
) -> list[dict[str, Any]]:
    return [
        {
            "name": rule.name,
            "kind": rule.kind,
            "inputs": len(rule.input_names),
            "missing": None if is_private else _count_missing(table[rule.name]),
        }
        for rule in outcome.model.preprocessor.rules
    ]


def _count_missing(column: pa.ChunkedArray) -> int:
    return int(column.is_null(nan_is_null=True).to_numpy().sum())


def _compare(
    rng: np.random.Generator,
    shown: _Shown,
    baselines: list[Baseline],
    threshold_logit: float,
) -> dict[str, Any]:
    """Metrics of the model and of the baselines, on the same draws of the rows."""
    logits = [shown.logits, *(baseline.logits for baseline in baselines)]
    values = [all_metrics(z, shown.y, threshold_logit) for z in logits]
    n_resamples = count_resamples(len(shown.y))
    draws = bootstrap(rng, shown.y, logits, threshold_logit, n_resamples)
    described = [
        {
            "name": baseline.name,
            "detail": baseline.detail,
            "train_rows": baseline.n_train,
            "seconds": baseline.seconds,
            "metrics": _intervals(values[m], draws[:, m]),
            "difference": _intervals(
                {k: _minus(v, values[m][k]) for k, v in values[0].items()},
                draws[:, 0] - draws[:, m],
            ),
            "roc": roc_points(shown.y, baseline.logits),
            "precision_recall": precision_recall_points(shown.y, baseline.logits),
        }
        for m, baseline in enumerate(baselines, start=1)
    ]
    return {
        "resamples": n_resamples,
        "metrics": _intervals(values[0], draws[:, 0]),
        "baselines": described,
    }


def _intervals(
    values: dict[str, float | None], draws: NDArray[np.float64]
) -> dict[str, Interval]:
    return {name: interval(values[name], draws[:, j]) for j, name in enumerate(METRICS)}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _curves(shown: _Shown, threshold_logit: float) -> dict[str, Any]:
    probs = expit(shown.logits)
    return {
        "roc": roc_points(shown.y, shown.logits),
        "precision_recall": precision_recall_points(shown.y, shown.logits),
        "calibration": calibration(shown.y, probs),
        "confusion": confusion(shown.y, shown.logits, threshold_logit),
        "histogram": probability_histogram(shown.y, probs),
    }


def _single_rows(
    rng: np.random.Generator,
    table: pa.Table,
    outcome: Outcome,
    shown: _Shown,
    names: list[str],
) -> dict[str, Any]:
    data, trained, model = outcome.data, outcome.trained, outcome.model
    train = data.split.train
    n_gradients = count_gradients(len(train), outcome.report["inputs"])
    sample = rng.permutation(train)[:n_gradients]
    gradients = row_gradients(model, table.take(pa.array(sample)))
    # How sure the model is of the given label, in log odds.
    certainty = np.where(shown.y == 1, shown.logits, -shown.logits)
    parts = {
        "right": (shown.rows[certainty > 0], certainty[certainty > 0]),
        "wrong": (shown.rows[certainty < 0], -certainty[certainty < 0]),
        "steep": (sample, gradients.table["norm"].to_numpy()),
    }
    val_y = data.y[trained.val_rows]
    return {
        "gradients": describe_gradients(gradients, len(train)),
        "suspects": find_suspects(
            trained.val_rows, trained.val_logits, val_y, data.classes
        ),
        "extremes": find_extremes(
            table, names, parts, lambda row: data.classes[data.y[row]]
        ),
    }
