"""Choice among candidates by cross-validation, whose networks then are the ensemble."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike, DTypeLike
from numpy.typing import NDArray

from jaxmlp.core import Params
from jaxmlp.core.dropout import Dropout
from jaxmlp.core.params import InitMethod, n_weights
from jaxmlp.core.validate import check_count
from jaxmlp.training.arrays import ClassWeight, check_data
from jaxmlp.training.grid import Draws, HiddenSizes, draw_values
from jaxmlp.training.members import Course, Member, judge_member
from jaxmlp.training.orders import Plan, make_orders, seed_of
from jaxmlp.training.race import CrossFitProgress, Race, plan_rounds, run_race
from jaxmlp.training.stack import stack_params
from jaxmlp.training.state import Data, OptimizerFactory
from jaxmlp.training.validate import check_key, find_device, make_settings


class Candidate(NamedTuple):
    """One way to make the classifier.

    Attributes:
      X: Its features of all rows, `(n, p)`, finite; candidates may encode them otherwise.
      hidden_sizes: Widths of the hidden layers; `()` is logistic regression.
      learning_rate: Step size η.
      dropout: As in `fit`.
      input_dropout: As in `fit`.
    """

    X: ArrayLike
    hidden_sizes: HiddenSizes
    learning_rate: float
    dropout: float = 0.0
    input_dropout: float = 0.0


class CrossFitResult(NamedTuple):
    """Outcome of `cross_fit`.

    Attributes:
      best: Position of the candidate that was chosen.
      members: Its networks, by fold; only those trained before it was stopped.
      val_losses: Validation losses of all candidates by fold, `(n_candidates, n_folds)`;
        NaN where the race did not come to it.
      folds: Fold of each row, `(n,)`.
      logits: Each row's logit by the member that has not seen it, `(n,)`; NaN where there
        is none.
    """

    best: int
    members: list[Member]
    val_losses: NDArray[np.float64]
    folds: NDArray[np.int64]
    logits: NDArray[np.floating]

    @property
    def ensemble(self) -> Params:
        """All members, stacked for `ensemble_proba`; see `stack_params`."""
        return stack_params([member.params for member in self.members])


def cross_fit(
    key: jax.Array,
    candidates: Sequence[Candidate],
    y: ArrayLike,
    *,
    n_epochs: int,
    batch_size: int,
    n_folds: int = 8,
    race: bool = True,
    optimizer: OptimizerFactory = optax.adamw,
    init: InitMethod = "he",
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    patience: int | None = None,
    compute_dtype: DTypeLike | None = None,
    device: jax.Device | str | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    callback: Callable[[CrossFitProgress], object] | None = None,
) -> CrossFitResult:
    """Trains a network for each fold left out; the best candidate's are an ensemble.

    The folds hold each label's share alike. A network takes its best epoch by the fold
    that it did not see, so every row trains all members but one and validates that one;
    the averaged probabilities of `ensemble_proba` are better than a single network's. In
    a race, all candidates train for a quarter of the folds, the better two for half of
    them, the best for all; a candidate's score is the mean of its folds' losses.

    On a CPU, networks train on as many threads as there are processors.

    Args:
      key: JAX random key of folds, starting parameters, orders and dropout.
      candidates: What to choose from, one at least.
      y: Labels in {0, 1}, `(n,)`, at least `n_folds` of each.
      n_epochs: Passes through a member's rows, at most.
      batch_size: Examples a step, as in `fit`.
      n_folds: Number of folds, and of members, from 2.
      race: Whether to drop candidates early.
      optimizer: Makes the optimiser from a step size.
      init: `"he"` or `"xavier"`.
      sample_weight: Non-negative weights, `(n,)`, as in `fit`; they weight validation too.
      class_weight: Weights by label, as in `fit`.
      patience: Stop a network after this many epochs without a lower validation loss, or
        after half as many as its best one took, if they are more.
      compute_dtype: As in `fit`.
      device: As in `fit`.
      is_stopped: Asked between blocks of epochs, by several threads; when true, the run
        ends with the networks trained so far, one at least. For a limit of time.
      callback: Called with a `CrossFitProgress` after each network.

    Returns:
      A `CrossFitResult`.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
      FloatingPointError: No network had a finite validation loss at any epoch.

    Guarantees:
      The same key, data and machine give the same bits, whatever the number of threads,
      with or without a callback, unless it is stopped.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> from jaxmlp import ensemble_proba
      >>> from jaxmlp.training import Candidate, cross_fit
      >>> X = jax.random.normal(jax.random.key(0), (300, 2))
      >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
      >>> found = cross_fit(
      ...     jax.random.key(1), [Candidate(X, (), 0.3), Candidate(X, (16,), 0.3)], y,
      ...     n_epochs=30, batch_size=16, n_folds=4, optimizer=optax.sgd,
      ... )
      >>> found.best, len(found.members), ensemble_proba(found.ensemble, X).shape
      (1, 4, (300,))

    Source:
      Lecture, "Data Splits", with every part once the validation part; Krogh and Vedelsby
      (1995), Advances in Neural Information Processing Systems 7.
    """
    key_data = check_key(key)
    if not candidates:
        raise ValueError("candidates is empty")
    n_folds = check_count("n_folds", n_folds, least=2)
    labels = np.asarray(y)
    init_key, fold_key = jax.random.split(key)
    folds = _assign_folds(seed_of(jax.random.key_data(fold_key)), labels, n_folds)
    courses = _prepare(
        init_key,
        candidates,
        labels,
        [np.flatnonzero(folds == fold).astype(np.int32) for fold in range(n_folds)],
        seed=seed_of(key_data),
        n_epochs=n_epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        init=init,
        sample_weight=sample_weight,
        class_weight=class_weight,
        patience=patience,
        compute_dtype=compute_dtype,
        device=find_device(device),
    )
    rounds = plan_rounds(len(courses), n_folds, race=race)
    return _result(run_race(courses, rounds, is_stopped, callback), courses, folds)


def _assign_folds(
    seed: tuple[int, ...], labels: NDArray[Any], n_folds: int
) -> NDArray[np.int64]:
    """Fold of each row, `(n,)`, each label's share alike in all."""
    values, counts = np.unique(labels, return_counts=True)
    if labels.ndim != 1 or len(values) != 2 or counts.min() < n_folds:
        found = ", ".join(
            f"{count} of {value}" for value, count in zip(values, counts, strict=True)
        )
        raise ValueError(
            f"y must have shape (n,) and hold each of two labels at least n_folds = "
            f"{n_folds} times, not {found} in shape {labels.shape}"
        )
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds


def _prepare(
    key: jax.Array,
    candidates: Sequence[Candidate],
    labels: NDArray[Any],
    fold_rows: list[NDArray[np.int32]],
    *,
    seed: tuple[int, ...],
    n_epochs: int,
    batch_size: int,
    optimizer: OptimizerFactory,
    init: InitMethod,
    sample_weight: ArrayLike | None,
    class_weight: ClassWeight,
    patience: int | None,
    compute_dtype: DTypeLike | None,
    device: jax.Device | None,
) -> list[Course]:
    is_wide = np.asarray(candidates[0].X).dtype == jnp.result_type(float) == np.float64
    dtype = np.dtype(np.float64 if is_wide else np.float32)
    n_folds, n = len(fold_rows), len(labels)
    n_train = n - max(map(len, fold_rows))
    plan = Plan(
        n_samples=n_train,
        batch_size=min(check_count("batch_size", batch_size), n_train),
        n_epochs=check_count("n_epochs", n_epochs),
        drop_last=False,
        of_subset=True,
    )
    sizes = [_sizes(candidate) for candidate in candidates]
    most = max(map(n_weights, sizes))
    values, _ = jax.device_get(draw_values(key, n_folds, most, init, dtype.name))
    orders = [
        make_orders(
            np.array([*seed, fold]),
            plan,
            device,
            np.concatenate(fold_rows[:fold] + fold_rows[fold + 1 :]),
        )
        for fold in range(n_folds)
    ]
    data_of: dict[int, Data] = {}  # candidates may share their features
    courses: list[Course] = []
    for candidate in candidates:
        if id(candidate.X) not in data_of:
            data_of[id(candidate.X)] = check_data(
                candidate.X,
                labels,
                dtype=dtype,
                compute_dtype=compute_dtype,
                sample_weight=sample_weight,
                class_weight=class_weight,
                augmented=True,
                device=device,
            )
        data = data_of[id(candidate.X)]
        settings = make_settings(
            data.X.shape[0],
            has_validation=data.X_val is not None,
            optimizer=optimizer,
            gradient_fn=None,
            n_epochs=n_epochs,
            batch_size=batch_size,
            drop_last=False,
            patience=None,
            metrics=None,
            penalize_bias=False,
            dropout=Dropout(candidate.dropout, candidate.input_dropout),
        )
        courses.append(
            Course(
                data=data,
                X=np.asarray(candidate.X),
                hidden_sizes=tuple(candidate.hidden_sizes),
                learning_rate=candidate.learning_rate,
                settings=settings._replace(
                    plan=plan, patience=patience, grows_patient=True
                ),
                draws=Draws(values, sizes[len(courses)][0], init),
                fold_rows=fold_rows,
                orders=orders,
                seed=seed,
                device=device,
            )
        )
    return courses


def _sizes(candidate: Candidate) -> tuple[int, ...]:
    X, rate = np.asarray(candidate.X), candidate.learning_rate
    if X.ndim != 2:
        raise ValueError(f"candidates: X must have shape (n, p), not {X.shape}")
    if not 0 < rate < float(np.finfo(np.float32).max):
        raise ValueError(f"candidates: learning_rate must be positive, not {rate}")
    hidden = [check_count("candidates: hidden_sizes", q) for q in candidate.hidden_sizes]
    return (X.shape[1], *hidden, 1)


def _result(race: Race, courses: list[Course], folds: NDArray[np.int64]) -> CrossFitResult:
    chosen = sorted(fold for i, fold in race.members if i == race.best)
    members = [race.members[race.best, fold] for fold in chosen]
    finite = [member for member in members if math.isfinite(member.val_loss)]
    course = courses[race.best]
    logits = np.full(len(folds), np.nan, course.data.y.dtype)
    for member in finite:
        logits[course.fold_rows[member.fold]] = judge_member(course, member)
    return CrossFitResult(race.best, finite, race.val_losses, folds, logits)
