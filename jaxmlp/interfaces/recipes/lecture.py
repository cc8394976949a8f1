"""The lecture's recipe: networks of a search, chosen on the validation part."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxmlp.data.errors import DataError
from jaxmlp.interfaces.model import Origin, predict_logits
from jaxmlp.interfaces.recipes.prepare import Prepared
from jaxmlp.interfaces.recipes.private import train_privately
from jaxmlp.interfaces.recipes.recipe import (
    LectureRecipe,
    batch_size_of,
    learning_rates_of,
    optimizer_of,
    with_flags,
)
from jaxmlp.interfaces.recipes.trained import Trained, json_curves, json_row
from jaxmlp.training import Configuration, SearchProgress, SearchResult, search

MEMORY_LIMIT = 2**32
"""Bytes that the networks in training may take, beside the data."""


def train_as_lecture(
    key: jax.Array,
    data: Prepared,
    recipe: LectureRecipe,
    callback: Callable[[SearchProgress], object] | None,
    mesh: Mesh | None = None,
) -> Trained:
    """Trains every step size with every width, on the training part.

    Args:
      key: JAX random key of starting weights and orders.
      data: The table, prepared.
      recipe: What is asked for.
      callback: As in `search`.
      mesh: As in `search`; not for private training.

    Raises:
      DataError: Every configuration diverged, or the budget of private training cannot be
        kept.
    """
    every = max(1, recipe.n_epochs // 50)
    guarantee, notes = None, list[str]()
    if recipe.privacy is None:
        result = _search(key, data, recipe, callback, every, mesh)
    else:
        result, guarantee = train_privately(
            key, data, recipe, recipe.privacy, notes, callback, every
        )
    notes += notes_of(result, recipe.ensemble)
    networks, rows = result.ensemble, data.split.val
    return Trained(
        networks=networks,
        preprocessor=data.preprocessor,
        origin=None if recipe.privacy else _origin(data, recipe, result),
        val_rows=rows,
        val_logits=predict_logits(networks, data.X[rows]),
        account=account_of(result),
        privacy=guarantee,
        notes=notes,
    )


def _search(
    key: jax.Array,
    data: Prepared,
    recipe: LectureRecipe,
    callback: Callable[[SearchProgress], object] | None,
    callback_every: int,
    mesh: Mesh | None,
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
            optimizer=optimizer_of(recipe, n_steps),
            init=recipe.init,
            class_weight=recipe.class_weight,
            compute_dtype="bfloat16" if recipe.dtype == "bfloat16" else None,
            patience=recipe.patience,
            device=recipe.device if mesh is None else None,
            mesh=mesh,
            memory_limit=MEMORY_LIMIT,
            callback=callback,
            callback_every=callback_every,
        )
    except ValueError as error:
        raise DataError(with_flags(str(error))) from error
    except FloatingPointError as error:
        raise DataError(f"{error}; give a smaller --learning-rate or --l2") from error


def _origin(data: Prepared, recipe: LectureRecipe, result: SearchResult) -> Origin:
    is_training = np.zeros((1, len(data.y)), bool)
    is_training[0, data.split.train] = True
    return Origin(
        fingerprint=data.fingerprint,
        is_training=is_training,
        l2=tuple(network.configuration.l2 for network in result.networks),
        class_weight=recipe.class_weight,
    )


def account_of(result: SearchResult) -> dict[str, Any]:
    """The report's account of a search."""
    return {
        "search": [json_row(row._asdict()) for row in result.table],
        "best": json_row(result.best.configuration._asdict()),
        "ensemble": [json_row(each.configuration._asdict()) for each in result.networks],
        "histories": [json_curves(network.history) for network in result.networks],
    }


def notes_of(result: SearchResult, n_best: int) -> list[str]:
    """What there is to say of a search: which runs diverged, and what that means."""
    notes = [
        f"{_name(row)}: the loss became infinite or NaN in epoch {row.diverged}; "
        "the search went on without it"
        for row in result.table
        if row.diverged is not None
    ]
    if len(result.networks) < n_best:
        notes.append(
            f"the ensemble has {len(result.networks)} networks, not {n_best}: of the "
            "others, no validation loss was finite"
        )
    return notes


def _name(row: Configuration) -> str:
    """A run by its settings; penalty and seed only where they are not the usual 0."""
    hidden = "x".join(map(str, row.hidden_sizes)) or "0"
    penalty = f", λ = {row.l2:g}" if row.l2 else ""
    seed = f", seed {row.seed}" if row.seed else ""
    return f"η = {row.learning_rate:g}, q = {hidden}{penalty}{seed}"
