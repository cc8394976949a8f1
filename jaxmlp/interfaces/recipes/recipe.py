"""What a training run of the command line is asked for, and its defaults."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import optax

from jaxmlp.core.params import InitMethod
from jaxmlp.data.columns import Wish
from jaxmlp.data.errors import DataError

OptimizerName = Literal["sgd", "momentum", "nesterov", "adam", "adamw", "lbfgs"]
ScheduleName = Literal["constant", "cosine"]
DtypeName = Literal["float32", "bfloat16", "float64"]

OPTIMIZERS: dict[OptimizerName, Callable[..., optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "nesterov": partial(optax.sgd, momentum=0.9, nesterov=True),
    "adam": optax.adam,
    "adamw": optax.adamw,
    "lbfgs": optax.lbfgs,
}
"""Optimisers by the command line's names; each takes a step size."""

LEARNING_RATES: dict[OptimizerName, tuple[float, ...]] = {
    "sgd": (0.01, 0.03, 0.1, 0.3),
    "momentum": (0.001, 0.003, 0.01, 0.03),
    "nesterov": (0.001, 0.003, 0.01, 0.03),
    "adam": (0.0003, 0.001, 0.003, 0.01),
    "adamw": (0.0003, 0.001, 0.003, 0.01),
    "lbfgs": (1.0,),
}
"""Step sizes tried by default."""


PRIVATE_SAMPLING_RATE = 0.03
"""Share of the training rows that a step of private training takes by default."""

PRIVATE_CLIP = 3.0
"""Norm to which private training clips by default: lower ones bias probabilities more than
the noise saved is worth, on standardised features (`scripts/bench_privacy.py`)."""

PRIVATE_DEFAULTS: dict[str, Any] = {
    "learning_rates": (0.01,),
    "hidden_sizes": ((),),
    "n_epochs": 20,
    "optimizer": "adam",
}
"""What private training does unless told otherwise: one network that few noisy steps
train well, chosen once and for all, because trying several would cost privacy."""


STREAM_DEFAULTS: dict[str, Any] = {
    "learning_rates": (0.001,),
    "hidden_sizes": ((256,),),
    "n_epochs": 5,
    "patience": None,
    "batch_size": 256,
    "optimizer": "adam",
    "schedule": "cosine",
}
"""What streamed training does unless told otherwise: one network in a few passes, because
many rows need few."""


class Privacy(NamedTuple):
    """The budget of private training.

    Attributes:
      epsilon: ε that may be spent.
      delta: δ.
      max_norm: Norm to which each row's gradient is clipped.
      bounds: JSON file of the columns' bounds, or None to learn the preprocessing from
        the training part.
    """

    epsilon: float
    delta: float
    max_norm: float
    bounds: str | None


class EnsembleRecipe(NamedTuple):
    """The default: a cross-validated ensemble.

    Attributes:
      target: Name of the target column.
      positive: The positive value as text, or None for the greater one.
      fractions: Shares of training, validation and test part; the first two are one part,
        each row of which validates the network that has not seen it.
      columns: What the user says of columns.
      hidden_sizes: Hidden layers to try, or None for the usual ones.
      n_epochs: Passes through the training part at most, or None to go by its size.
      batch_size: Examples a step, or None for 256.
      n_members: Networks in the ensemble, and folds; None for 8, or 5 where rows are many.
      class_weight: `"balanced"` to give both labels the same weight in the loss, or None.
      seed: Of the split, the folds, the starting weights, the orders and dropout.
      device: `"cpu"`, `"gpu"` or `"tpu"`, or None for JAX's default.
      dtype: Type to compute in; bfloat16 is that of matrix products alone.
      budget: Seconds after which training ends with what it has, or None.
    """

    target: str
    positive: str | None = None
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    columns: Mapping[str, Wish] = MappingProxyType({})
    hidden_sizes: tuple[tuple[int, ...], ...] | None = None
    n_epochs: int | None = None
    batch_size: int | None = None
    n_members: int | None = None
    class_weight: Literal["balanced"] | None = None
    seed: int = 0
    device: str | None = None
    dtype: DtypeName = "float32"
    budget: float | None = None


class LectureRecipe(NamedTuple):
    """The lecture's: a search on a validation part; and private training's.

    The defaults are the command's.

    Attributes:
      target: Name of the target column.
      positive: The positive value as text, or None for the greater one.
      fractions: Shares of training, validation and test part.
      columns: What the user says of columns.
      learning_rates: Step sizes to try, or None for the optimiser's `LEARNING_RATES`.
      hidden_sizes: Hidden layers to try.
      n_epochs: Passes through the training part.
      patience: Epochs without a better validation loss after which a run stops, or None.
      batch_size: Examples a step, or None for 32, all of them for L-BFGS, and
        `PRIVATE_SAMPLING_RATE` of them for private training.
      optimizer: A key of `OPTIMIZERS`.
      schedule: Whether the step size stays, or falls to 0 along a cosine.
      clip_norm: Greatest norm of a step's gradient, or None for no limit.
      l2: Strengths of the L2 penalty to try.
      class_weight: `"balanced"` to give both labels the same weight in the loss, or None.
      seeds: Starting weights to try for each combination.
      ensemble: Number of best networks whose probabilities are averaged.
      init: How starting weights are drawn.
      seed: Of the split, the starting weights and the orders.
      device: `"cpu"`, `"gpu"` or `"tpu"`, or None for JAX's default.
      dtype: Type to compute in; bfloat16 is that of matrix products alone.
      privacy: The budget of private training, or None.
    """

    target: str
    positive: str | None = None
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    columns: Mapping[str, Wish] = MappingProxyType({})
    learning_rates: tuple[float, ...] | None = None
    hidden_sizes: tuple[tuple[int, ...], ...] = ((), (8,), (32,))
    n_epochs: int = 200
    patience: int | None = 20
    batch_size: int | None = None
    optimizer: OptimizerName = "sgd"
    schedule: ScheduleName = "constant"
    clip_norm: float | None = None
    l2: tuple[float, ...] = (0.0,)
    class_weight: Literal["balanced"] | None = None
    seeds: int = 1
    ensemble: int = 1
    init: InitMethod = "he"
    seed: int = 0
    device: str | None = None
    dtype: DtypeName = "float32"
    privacy: Privacy | None = None


Recipe = EnsembleRecipe | LectureRecipe


def check_recipe(recipe: LectureRecipe) -> None:
    """Refuses what does not go together before any work is done.

    Raises:
      DataError: Names the flag and says what to do.
    """
    n_networks = _count_networks(recipe)
    if recipe.privacy is not None:
        _check_private(recipe, recipe.privacy, n_networks)
    if recipe.ensemble > n_networks:
        raise DataError(
            f"--ensemble {recipe.ensemble}: the search has {n_networks} networks; give "
            "more --seeds, --hidden or --learning-rate"
        )
    if recipe.optimizer == "lbfgs" and recipe.batch_size is not None:
        raise DataError(
            "--batch-size: L-BFGS takes the whole training part at each step; leave it out"
        )


def with_flags(message: str) -> str:
    """What the library says of an argument, with the name of its flag.

    Examples:
      >>> with_flags("batch_size must be a multiple of 3")
      '--batch-size must be a multiple of 3'
      >>> with_flags("key, n_epochs: not the same in all processes")
      '--seed, --epochs: not the same in all processes'
    """
    names = re.match(r"[a-z_]+(, [a-z_]+)*", message)
    if names is None:
        return message
    flags = ", ".join(_FLAGS.get(name, name) for name in names[0].split(", "))
    return flags + message[names.end() :]


_FLAGS = {
    "key": "--seed",
    "choices": "--learning-rate, --hidden, --l2 or --seeds",
    "learning_rates": "--learning-rate",
    "hidden_sizes": "--hidden",
    "n_epochs": "--epochs",
    "batch_size": "--batch-size",
    "n_best": "--ensemble",
    "n_seeds": "--seeds",
    "class_weight": "--class-weight",
    "patience": "--patience",
}


def _count_networks(recipe: LectureRecipe) -> int:
    n_rates = len(learning_rates_of(recipe))
    return n_rates * len(recipe.hidden_sizes) * len(recipe.l2) * recipe.seeds


def _check_private(recipe: LectureRecipe, privacy: Privacy, n_networks: int) -> None:
    if not 0 < privacy.delta < 1:
        raise DataError(f"--dp-delta must be between 0 and 1, not {privacy.delta:g}")
    if n_networks > 1:
        raise DataError(
            f"--dp-epsilon is the budget of one network, not of a search among "
            f"{n_networks}: give one --learning-rate, --hidden and --l2, and no --seeds"
        )
    refused = {
        "--ensemble": recipe.ensemble > 1,
        "--class-weight balanced": recipe.class_weight is not None,
        "--clip-norm (--dp-clip clips each row)": recipe.clip_norm is not None,
        "--optimizer lbfgs": recipe.optimizer == "lbfgs",
        "--dtype bfloat16": recipe.dtype == "bfloat16",
    }
    for flag, is_given in refused.items():
        if is_given:
            raise DataError(f"{flag} does not go with --dp-epsilon; leave it out")


def learning_rates_of(recipe: LectureRecipe) -> tuple[float, ...]:
    """Step sizes to try."""
    return recipe.learning_rates or LEARNING_RATES[recipe.optimizer]


def batch_size_of(recipe: LectureRecipe, n_train: int) -> int:
    """Examples a step, with a training part of n_train rows."""
    if recipe.batch_size is not None:
        return recipe.batch_size
    if recipe.privacy is not None:
        return max(1, round(PRIVATE_SAMPLING_RATE * n_train))
    return n_train if recipe.optimizer == "lbfgs" else 32


@dataclass(frozen=True)
class OptimizerFactory:
    """Makes a recipe's optimiser from a step size, which may be traced.

    It is known by its values, so that a second run finds the program of the first.

    Attributes:
      name: A key of `OPTIMIZERS`.
      schedule: Whether the step size stays, or falls to 0 along a cosine.
      clip_norm: Greatest norm of a step's gradient, or None for no limit.
      n_steps: Steps of the whole run, the length of a schedule.
    """

    name: OptimizerName
    schedule: ScheduleName
    clip_norm: float | None
    n_steps: int

    def __call__(self, learning_rate: Any) -> optax.GradientTransformation:
        """The optimiser, whose schedule, if it has one, starts at the step size."""
        if self.schedule == "cosine":
            learning_rate = optax.cosine_decay_schedule(learning_rate, self.n_steps)
        optimizer = OPTIMIZERS[self.name](learning_rate)
        if self.clip_norm is None:
            return optimizer
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)


def optimizer_of(recipe: LectureRecipe, n_steps: int) -> OptimizerFactory:
    """What makes the recipe's optimiser for a run of n_steps steps."""
    return OptimizerFactory(recipe.optimizer, recipe.schedule, recipe.clip_norm, n_steps)
