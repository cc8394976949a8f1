"""The lecture's whole recipe on a table: split, standardise, search, test once."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.core import Params
from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import one_line
from jaxmlp.interfaces.metrics import Metrics, evaluate_logits
from jaxmlp.interfaces.model import Model, Origin, predict_logits
from jaxmlp.interfaces.prepare import Prepared, prepare
from jaxmlp.interfaces.private import train_privately
from jaxmlp.interfaces.recipe import (
    Recipe,
    batch_size_of,
    learning_rates_of,
    make_optimizer,
)
from jaxmlp.interfaces.timing import Stopwatch
from jaxmlp.training import Configuration, SearchProgress, SearchResult, search

MEMORY_LIMIT = 2**32
"""Bytes that the networks in training may take, beside the data."""


class Outcome(NamedTuple):
    """A trained model and how it came about.

    Attributes:
      model: The best network, or the ensemble of the best ones.
      report: What `jaxmlp train --json` prints, but for the total time and `out`.
      search: All configurations.
    """

    model: Model
    report: dict[str, Any]
    search: SearchResult


def train_on_table(
    table: pa.Table,
    recipe: Recipe,
    callback: Callable[[SearchProgress], object] | None,
    callback_every: int,
) -> Outcome:
    """Trains, tunes and tests a classifier on a table.

    The seed's key is split in two, for the split and for the search.

    Args:
      table: Features and target.
      recipe: What is asked for.
      callback: As in `search`.
      callback_every: As in `search`.

    Returns:
      An `Outcome`.

    Raises:
      DataError: The table cannot be used, or every configuration diverged.
    """
    split_key, search_key = jax.random.split(jax.random.key(recipe.seed))
    data = prepare(split_key, table, recipe)
    run = (search_key, data, recipe)
    guarantee = None
    with Stopwatch() as watch:
        if recipe.privacy is None:
            result = _search(*run, callback, callback_every)
        else:
            result, guarantee = train_privately(
                *run, recipe.privacy, callback, callback_every
            )
    model = Model(
        networks=result.ensemble,
        preprocessor=data.preprocessor,
        target=recipe.target,
        classes=data.classes,
        origin=None if recipe.privacy else _origin(data, recipe, result),
    )
    if len(result.networks) < recipe.ensemble:
        data.notes.append(
            f"the ensemble has {len(result.networks)} networks, not {recipe.ensemble}: of "
            "the others, no validation loss was finite"
        )
    report = {
        **_describe(data, recipe),
        **_describe_search(result),
        "validation": _evaluate(model.networks, data, data.split.val),
        "test": _evaluate(model.networks, data, data.split.test),
        "privacy": guarantee,
        "seconds": {"compile": watch.compile, "run": watch.run},
    }
    return Outcome(model, report, result)


def _search(
    key: jax.Array,
    data: Prepared,
    recipe: Recipe,
    callback: Callable[[SearchProgress], object] | None,
    callback_every: int,
) -> SearchResult:
    X, y, (train, val, _) = data.X, data.y, data.split
    if recipe.dtype == "float64":
        X = X.astype(np.float64)
    batch_size = batch_size_of(recipe, len(train))
    n_steps = recipe.n_epochs * -(-len(train) // batch_size)
    try:
        return search(
            key,
            X[train],
            y[train],
            X[val],
            y[val],
            learning_rates=learning_rates_of(recipe),
            hidden_sizes=recipe.hidden_sizes,
            n_epochs=recipe.n_epochs,
            batch_size=batch_size,
            l2=recipe.l2,
            n_seeds=recipe.seeds,
            n_best=recipe.ensemble,
            optimizer=partial(make_optimizer, recipe, n_steps),
            init=recipe.init,
            class_weight=recipe.class_weight,
            compute_dtype="bfloat16" if recipe.dtype == "bfloat16" else None,
            device=recipe.device,
            patience=recipe.patience,
            memory_limit=MEMORY_LIMIT,
            callback=callback,
            callback_every=callback_every,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    except FloatingPointError as error:
        raise DataError(f"{error}; give a smaller --learning-rate or --l2") from error
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DataError(
            f"the search does not fit into memory ({one_line(error)}); give fewer or "
            "smaller --hidden"
        ) from error


def _origin(data: Prepared, recipe: Recipe, result: SearchResult) -> Origin:
    is_training = np.zeros(len(data.y), bool)
    is_training[data.split.train] = True
    return Origin(
        fingerprint=data.fingerprint,
        is_training=is_training,
        l2=tuple(network.configuration.l2 for network in result.networks),
        class_weight=recipe.class_weight,
    )


def _evaluate(networks: Params, data: Prepared, rows: NDArray[np.int64]) -> Metrics | None:
    if not len(rows):
        return None
    return evaluate_logits(predict_logits(networks, data.X[rows]), data.y[rows])


def _describe(data: Prepared, recipe: Recipe) -> dict[str, Any]:
    train, val, test = data.split
    return {
        "rows": len(data.y),
        "features": len(data.preprocessor.rules),
        "inputs": len(data.preprocessor.input_names),
        "split": {"train": len(train), "validation": len(val), "test": len(test)},
        "positive": data.classes.positive,
        "negative": data.classes.negative,
        "settings": {
            **recipe._asdict(),
            "privacy": recipe.privacy and recipe.privacy._asdict(),
            "learning_rates": learning_rates_of(recipe),
            "batch_size": batch_size_of(recipe, len(train)),
        },
        "notes": data.notes,
    }


def _describe_search(result: SearchResult) -> dict[str, Any]:
    best = result.best
    return {
        "search": [_json_row(row) for row in result.table],
        "best": _json_row(best.configuration),
        "ensemble": [_json_row(network.configuration) for network in result.networks],
        "history": {
            name: [_json_number(loss) for loss in curve.tolist()]
            for name, curve in best.history.items()
        },
    }


def _json_row(row: Configuration) -> dict[str, Any]:
    return {name: _json_number(value) for name, value in row._asdict().items()}


def _json_number(value: Any) -> Any:
    """JSON has no NaN and no infinity: a loss that is not a number is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
