"""The default recipe: a cross-validated ensemble on features with knots."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from jaxmlp.core import Params
from jaxmlp.core.dropout import Dropout
from jaxmlp.data.errors import DataError
from jaxmlp.interfaces.model import Origin
from jaxmlp.interfaces.recipes.prepare import Prepared
from jaxmlp.interfaces.recipes.recipe import EnsembleRecipe
from jaxmlp.interfaces.recipes.trained import Trained, json_curves, json_row
from jaxmlp.training import Candidate, CrossFitProgress, CrossFitResult, cross_fit

N_KNOTS = 33
"""Most knots of a number: 32 intervals."""

# Found by `scripts/bench_quality.py` and trials of single parts; see docs/benchmarks.md.
LEARNING_RATE, OF_LINEAR = 0.003, 0.01
WEIGHT_DECAY = 0.1
LIGHT = Dropout(hidden=0.1)
HEAVY = Dropout(hidden=0.3, inputs=0.2)
HIDDEN_SIZES: tuple[tuple[int, ...], ...] = ((), (256,))
MORE_HIDDEN_SIZES = (*HIDDEN_SIZES, (64, 64, 64))
PATIENCE = 5
N_MEMBERS, FEWER_MEMBERS = 8, 5
_FEWEST_STEPS, _USUAL_EPOCHS, _MOST_STEPS = 1200, 30, 20_000
RACE_FROM = 4000
"""Rows from which candidates race; with fewer, all train for all folds in little time."""
MANY_ROWS = 10_000
"""From so many on networks are alike and slow, so that fewer are averaged; three hidden
layers are worth a trial, and a linear model without knots is not."""


def train_ensemble(
    key: jax.Array,
    data: Prepared,
    recipe: EnsembleRecipe,
    deadline: float | None,
    callback: Callable[[CrossFitProgress], object] | None,
) -> Trained:
    """Chooses among networks by cross-validation; those chosen are the ensemble.

    Args:
      key: JAX random key.
      data: The table, prepared with knots; its validation part is empty.
      recipe: What is asked for.
      deadline: When to end, on the clock of `time.monotonic`, or None.
      callback: As in `cross_fit`.

    Raises:
      DataError: The table has too few rows of a label, or every network diverged.
    """
    train = data.split.train
    y = data.y[train]
    n_folds = _n_folds(recipe, y, data)
    batch_size = recipe.batch_size or 256
    n_steps = -(-(len(train) - -(-len(train) // n_folds)) // batch_size)  # an epoch
    n_epochs = recipe.n_epochs or _n_epochs(n_steps)
    candidates, descriptions = _candidates(data, recipe)
    try:
        found = cross_fit(
            key,
            candidates,
            y,
            n_epochs=n_epochs,
            batch_size=batch_size,
            n_folds=n_folds,
            race=len(train) >= RACE_FROM,
            optimizer=FallingAdamW(n_steps * n_epochs),
            class_weight=recipe.class_weight,
            patience=PATIENCE,
            compute_dtype="bfloat16" if recipe.dtype == "bfloat16" else None,
            device=recipe.device,
            is_stopped=lambda: deadline is not None and time.monotonic() > deadline,
            callback=callback,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    except FloatingPointError as error:
        raise DataError(str(error)) from error
    return _trained(data, recipe, found, descriptions, n_folds)


def _n_folds(recipe: EnsembleRecipe, y: NDArray[np.int32], data: Prepared) -> int:
    fewest = int(np.bincount(y, minlength=2).min())
    if fewest < 2:
        raise DataError(
            f"the training part has {fewest} row of one of the labels "
            f"{data.classes.negative!r} and {data.classes.positive!r}; 2 are needed"
        )
    usual = N_MEMBERS if len(y) < MANY_ROWS else FEWER_MEMBERS
    return min(recipe.n_members or usual, fewest)


def _n_epochs(n_steps: int) -> int:
    """Enough steps for few rows, fewer epochs for very many."""
    usual = min(_USUAL_EPOCHS, -(-_MOST_STEPS // n_steps))
    return max(5, usual, -(-_FEWEST_STEPS // n_steps))


def _candidates(
    data: Prepared, recipe: EnsembleRecipe
) -> tuple[list[Candidate], list[dict[str, Any]]]:
    """What to choose from, and the report's rows of it."""
    rows = data.split.train
    dtype = np.float64 if recipe.dtype == "float64" else np.float32
    # Centred: networks on inputs whose means are 0 learn in a third of the epochs.
    full = (data.X[rows] - _means(data)).astype(dtype)
    is_plain = data.preprocessor.plain_columns()
    plain = full if is_plain.all() else np.ascontiguousarray(full[:, is_plain])
    first = "plain" if plain is full else "knots"
    kinds = {first: full, "plain": plain}
    usual = HIDDEN_SIZES if len(rows) < MANY_ROWS else MORE_HIDDEN_SIZES
    wanted = [
        (name, sizes, dropout)
        for name in kinds
        for dropout in (LIGHT, HEAVY)
        for sizes in recipe.hidden_sizes or usual
        if _is_tried(len(rows), name == first, dropout, sizes)
    ]
    candidates, descriptions = [], []
    for name, sizes, dropout in wanted:
        shares = Dropout(dropout.hidden if sizes else 0.0, dropout.inputs)
        learning_rate = LEARNING_RATE if sizes else OF_LINEAR
        candidates.append(Candidate(kinds[name], sizes, learning_rate, *shares))
        descriptions.append(
            {
                "features": name,
                "hidden_sizes": sizes,
                "learning_rate": learning_rate,
                "dropout": shares.hidden,
                "input_dropout": shares.inputs,
            }
        )
    return candidates, descriptions


def _means(data: Prepared) -> NDArray[np.float32]:
    """Means of the inputs in the training part, `(n_inputs,)`."""
    return data.X[data.split.train].mean(axis=0, dtype=np.float64).astype(np.float32)


def _on_inputs_as_they_are(networks: Params, means: NDArray[np.floating]) -> Params:
    """The same networks without centring: its shift goes into the first layer's biases."""
    first, *others = networks
    w = np.asarray(first.w, np.float64)
    b = np.asarray(first.b, np.float64) - means @ w
    return (first._replace(b=jnp.asarray(b, first.b.dtype)), *others)


def _is_tried(n: int, is_first: bool, dropout: Dropout, sizes: tuple[int, ...]) -> bool:
    """Leaves out of the grid what hardly ever wins: it would cost others their time.

    Args:
      n: Number of training rows.
      is_first: Whether it is on all inputs, knots included where there are any.
      dropout: Little or much.
      sizes: Widths of the hidden layers.
    """
    if is_first:
        return dropout == LIGHT or len(sizes) == 1
    if dropout == LIGHT:
        return not sizes and n < MANY_ROWS
    return len(sizes) == 1 and n < RACE_FROM


@dataclass(frozen=True)
class FallingAdamW:
    """Makes AdamW with a step size that falls to 0; biases do not decay.

    Attributes:
      n_steps: Steps of the whole run.
    """

    n_steps: int

    def __call__(self, learning_rate: Any) -> optax.GradientTransformation:
        """The optimiser, from the step size at the start."""
        schedule = optax.cosine_decay_schedule(learning_rate, self.n_steps)
        return optax.adamw(schedule, b2=0.95, weight_decay=WEIGHT_DECAY, mask=_is_matrix)


def _is_matrix(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim == 2, params)


def _trained(
    data: Prepared,
    recipe: EnsembleRecipe,
    found: CrossFitResult,
    descriptions: list[dict[str, Any]],
    n_folds: int,
) -> Trained:
    train, best = data.split.train, descriptions[found.best]
    is_judged = ~np.isnan(found.logits)
    has_knots = best["features"] == "knots"
    n_tried = (~np.isnan(found.val_losses)).sum(axis=1)
    rows = [
        json_row({**row, "folds": int(n), "val_loss": _mean(losses)})
        for row, n, losses in zip(descriptions, n_tried, found.val_losses, strict=True)
    ]
    means = _means(data)
    if not has_knots:
        means = means[data.preprocessor.plain_columns()]
    notes = []
    if len(found.members) < n_folds:
        notes.append(
            f"the ensemble has {len(found.members)} of {n_folds} networks: the budget of "
            "time was spent, or no validation loss of the others was finite"
        )
    return Trained(
        networks=_on_inputs_as_they_are(found.ensemble, means),
        preprocessor=data.preprocessor if has_knots else data.preprocessor.plain(),
        origin=_origin(data, recipe, found),
        val_rows=train[is_judged],
        val_logits=found.logits[is_judged],
        account={
            "search": rows,
            "best": rows[found.best],
            "ensemble": [
                json_row({"fold": m.fold, "epoch": m.epoch, "val_loss": m.val_loss})
                for m in found.members
            ],
            "histories": [json_curves(member.history) for member in found.members],
        },
        privacy=None,
        notes=notes,
    )


def _mean(losses: NDArray[np.float64]) -> float:
    return float(np.nanmean(losses)) if not np.isnan(losses).all() else np.nan


def _origin(data: Prepared, recipe: EnsembleRecipe, found: CrossFitResult) -> Origin:
    is_training = np.zeros((len(found.members), len(data.y)), bool)
    for one, member in zip(is_training, found.members, strict=True):
        one[data.split.train[found.folds != member.fold]] = True
    return Origin(
        fingerprint=data.fingerprint,
        is_training=is_training,
        l2=(0.0,) * len(found.members),  # weight decay is no penalty of the loss
        class_weight=recipe.class_weight,
    )
