"""One network trained on a table with differential privacy."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxmlp.core import init_params
from jaxmlp.data.errors import DataError
from jaxmlp.interfaces.recipes.prepare import Prepared
from jaxmlp.interfaces.recipes.recipe import (
    LectureRecipe,
    Privacy,
    batch_size_of,
    learning_rates_of,
    optimizer_of,
)
from jaxmlp.privacy import DpFitProgress, calibrate, dp_fit, secret_key
from jaxmlp.privacy.guarantee import MEASURED, PREPROCESSING, SPLIT, WEAK_DELTA
from jaxmlp.training import (
    Configuration,
    Network,
    SearchProgress,
    SearchResult,
)


def train_privately(
    key: jax.Array,
    data: Prepared,
    recipe: LectureRecipe,
    privacy: Privacy,
    notes: list[str],
    callback: Callable[[SearchProgress], object] | None,
    callback_every: int,
) -> tuple[SearchResult, dict[str, Any]]:
    """Calibrates the noise to the budget and trains.

    Args:
      key: JAX random key of the starting weights alone.
      data: The table, prepared.
      recipe: What is asked for.
      privacy: The budget.
      notes: Takes further sentences for the user.
      callback: As in `search`.
      callback_every: As in `search`.

    Returns:
      The network as a search's only one, without what was measured on its training rows,
      and the guarantee as the report's `privacy`.

    Raises:
      DataError: The budget cannot be kept, or the ledger is not installed.
    """
    train, val, _ = data.split
    batch_size = batch_size_of(recipe, len(train))
    if batch_size > len(train):
        raise DataError(
            f"--batch-size {batch_size}: the training part has only {len(train)} rows, so "
            "the sampling rate would be above 1"
        )
    n_steps = recipe.n_epochs * math.ceil(len(train) / batch_size)
    (hidden_sizes,), (learning_rate,) = recipe.hidden_sizes, learning_rates_of(recipe)
    X = data.X.astype(np.float64) if recipe.dtype == "float64" else data.X
    sizes = (X.shape[1], *hidden_sizes, 1)
    try:
        noise = calibrate(
            privacy.epsilon,
            privacy.delta,
            sampling_rate=batch_size / len(train),
            n_steps=n_steps,
        )
    except (ImportError, ValueError) as error:
        raise DataError(f"--dp-epsilon: {error}") from error
    try:
        result = dp_fit(
            secret_key(),  # kept nowhere; the seed rules all else
            init_params(key, sizes, method=recipe.init, dtype=X.dtype),
            X[train],
            data.y[train],
            optimizer=optimizer_of(recipe, n_steps)(learning_rate),
            n_epochs=recipe.n_epochs,
            batch_size=batch_size,
            noise_multiplier=noise,
            max_grad_norm=privacy.max_norm,
            delta=privacy.delta,
            X_val=X[val],
            y_val=data.y[val],
            l2=recipe.l2[0],
            patience=recipe.patience or recipe.n_epochs,
            device=recipe.device,
            callback=callback and (lambda now: callback(_as_search(now))),
            callback_every=callback_every,
        )
    except ValueError as error:
        raise DataError(f"private training: {error}") from error
    if WEAK_DELTA in result.guarantee.not_covered:
        notes.append(f"--dp-delta {privacy.delta:g} does not cover {WEAK_DELTA}")
    if result.best_epoch is None:
        raise DataError("private training diverged; give a smaller --learning-rate")
    val_losses = result.history["val_loss"]
    best = result.best_epoch
    row = Configuration(
        learning_rate,
        hidden_sizes,
        recipe.l2[0],
        seed=0,
        epoch=best,
        train_loss=math.nan,
        val_loss=float(val_losses[best - 1]),
    )
    network = Network(row, result.params, {"val_loss": val_losses})
    guarantee = result.guarantee._asdict()
    guarantee["bounds"] = privacy.bounds
    # The report has no such history, and bounds were not learned from the rows.
    covered = {MEASURED, PREPROCESSING} if privacy.bounds else {MEASURED}
    not_covered = [what for what in result.guarantee.not_covered if what not in covered]
    guarantee["not_covered"] = [*not_covered, SPLIT]
    return SearchResult([row], [network]), guarantee


def _as_search(now: DpFitProgress) -> SearchProgress:
    return SearchProgress(now.n_done, now.n_epochs, [])
