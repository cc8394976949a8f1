"""From a table to a tested model: split, prepare, train by a recipe, test once."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
from jax.sharding import Mesh
from numpy.typing import NDArray
from scipy.special import expit

from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import one_line
from jaxmlp.interfaces.metrics import Metrics, evaluate_logits
from jaxmlp.interfaces.model import Model, predict_logits
from jaxmlp.interfaces.recipes.ensemble import N_KNOTS, train_ensemble
from jaxmlp.interfaces.recipes.lecture import train_as_lecture
from jaxmlp.interfaces.recipes.prepare import Prepared, prepare
from jaxmlp.interfaces.recipes.recipe import (
    EnsembleRecipe,
    Recipe,
    batch_size_of,
    learning_rates_of,
)
from jaxmlp.interfaces.recipes.threshold import Rule, choose_threshold
from jaxmlp.interfaces.recipes.timing import Stopwatch
from jaxmlp.interfaces.recipes.trained import Trained


class Outcome(NamedTuple):
    """A trained model and how it came about.

    Attributes:
      model: The classifier.
      report: What `jaxmlp train --json` prints, but for the total time and `out`.
      training_notes: Those of its notes that came up in training.
      data: The prepared table.
      trained: What the recipe handed on.
    """

    model: Model
    report: dict[str, Any]
    training_notes: list[str]
    data: Prepared
    trained: Trained


class Watch(NamedTuple):
    """What a caller wants to see while a table is trained on.

    Attributes:
      prepared: Called once the table is prepared.
      progress: Called with a `SearchProgress` or `CrossFitProgress`, or None.
    """

    prepared: Callable[[Prepared], object] = lambda _: None
    progress: Callable[[Any], object] | None = None


def train_on_table(
    table: pa.Table,
    recipe: Recipe,
    rule: Rule = 0.5,
    watch: Watch | None = None,
    mesh: Mesh | None = None,
) -> Outcome:
    """Trains, tunes and tests a classifier on a table.

    The seed's key is split in two, for the split and for the training.

    Args:
      table: Features and target.
      recipe: What is asked for.
      rule: How the threshold is chosen.
      watch: Whom to tell.
      mesh: Devices that share out the networks of the lecture's recipe, or None.

    Returns:
      An `Outcome`.

    Raises:
      DataError: The table cannot be used, or every network diverged.
    """
    began = time.monotonic()
    watch = watch or Watch()
    split_key, train_key = jax.random.split(jax.random.key(recipe.seed))
    is_ensemble = isinstance(recipe, EnsembleRecipe)
    data = prepare(split_key, table, recipe, n_knots=N_KNOTS if is_ensemble else 0)
    watch.prepared(data)
    with Stopwatch() as stopwatch:
        trained = _train(train_key, data, recipe, began, watch, mesh)
    return conclude(data, recipe, trained, rule, stopwatch, partial(_test, data))


def conclude(
    data: Prepared,
    recipe: Recipe,
    trained: Trained,
    rule: Rule,
    stopwatch: Stopwatch,
    test: Callable[[Model], Metrics | None],
) -> Outcome:
    """Chooses the threshold, tests once, and gives the account of it.

    Args:
      data: The prepared table.
      recipe: What was asked for.
      trained: What the recipe handed on.
      rule: How the threshold is chosen.
      stopwatch: Has measured the training.
      test: Measures the model on the test part, if there is one.
    """
    val_probs = expit(trained.val_logits)
    threshold = choose_threshold(val_probs, data.y[trained.val_rows], rule)
    model = Model(
        networks=trained.networks,
        preprocessor=trained.preprocessor,
        target=recipe.target,
        classes=data.classes,
        threshold=threshold,
        origin=trained.origin,
    )
    report = {
        **_describe(data, recipe, trained),
        **trained.account,
        "threshold": threshold,
        "validation": _evaluate(trained.val_logits, data, trained.val_rows, model),
        "test": test(model),
        "privacy": trained.privacy,
        "seconds": {"compile": stopwatch.compile, "run": stopwatch.run},
    }
    return Outcome(model, report, trained.notes, data, trained)


def _train(
    key: jax.Array,
    data: Prepared,
    recipe: Recipe,
    began: float,
    watch: Watch,
    mesh: Mesh | None,
) -> Trained:
    try:
        if not isinstance(recipe, EnsembleRecipe):
            return train_as_lecture(key, data, recipe, watch.progress, mesh)
        deadline = None if recipe.budget is None else began + recipe.budget
        return train_ensemble(key, data, recipe, deadline, watch.progress)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DataError(
            f"training does not fit into memory ({one_line(error)}); give fewer or "
            "smaller --hidden"
        ) from error


def _test(data: Prepared, model: Model) -> Metrics | None:
    rows = data.split.test
    if not len(rows):
        return None
    X = data.X[rows]
    if X.shape[1] != len(model.preprocessor.input_names):
        X = X[:, data.preprocessor.plain_columns()]
    return _evaluate(predict_logits(model.networks, X), data, rows, model)


def _evaluate(
    logits: NDArray[np.floating], data: Prepared, rows: NDArray[np.int64], model: Model
) -> Metrics:
    return evaluate_logits(logits, data.y[rows], model.threshold_logit)


def _describe(data: Prepared, recipe: Recipe, trained: Trained) -> dict[str, Any]:
    train, val, test = data.split
    return {
        "rows": len(data.y),
        "features": len(data.preprocessor.rules),
        "inputs": len(trained.preprocessor.input_names),
        "split": {"train": len(train), "validation": len(val), "test": len(test)},
        "positive": data.classes.positive,
        "negative": data.classes.negative,
        "settings": _settings(recipe, len(train)),
        "notes": [*data.notes, *trained.notes],
    }


def _settings(recipe: Recipe, n_train: int) -> dict[str, Any]:
    settings = {**recipe._asdict(), "columns": dict(recipe.columns)}
    if isinstance(recipe, EnsembleRecipe):
        return {"recipe": "ensemble", **settings}
    return {
        "recipe": "lecture",
        **settings,
        "privacy": recipe.privacy and recipe.privacy._asdict(),
        "learning_rates": learning_rates_of(recipe),
        "batch_size": batch_size_of(recipe, n_train),
    }
