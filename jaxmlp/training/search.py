"""Choice of step size, width and penalty on the validation part."""

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike, DTypeLike

from jaxmlp.core.params import InitMethod
from jaxmlp.core.validate import check_count
from jaxmlp.training.arrays import ClassWeight, check_data
from jaxmlp.training.grid import Choice, HiddenSizes, draw_starts
from jaxmlp.training.objective import GradientFn
from jaxmlp.training.orders import make_orders
from jaxmlp.training.places import any_process, check_same, mesh_of
from jaxmlp.training.pool import Work, plan_groups, run_groups
from jaxmlp.training.ranking import Ranking, SearchProgress, SearchResult
from jaxmlp.training.state import OptimizerFactory
from jaxmlp.training.validate import (
    check_key,
    check_l2,
    find_place,
    make_settings,
)


def search(
    key: jax.Array,
    X_train: ArrayLike,
    y_train: ArrayLike,
    X_val: ArrayLike,
    y_val: ArrayLike,
    *,
    learning_rates: Sequence[float],
    hidden_sizes: Sequence[int | Sequence[int]],
    n_epochs: int,
    batch_size: int,
    l2: Sequence[float] = (0.0,),
    n_seeds: int = 1,
    n_best: int = 1,
    optimizer: OptimizerFactory = optax.sgd,
    init: InitMethod = "he",
    sample_weight: ArrayLike | None = None,
    sample_weight_val: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    penalize_bias: bool = False,
    patience: int | None = None,
    drop_last: bool = False,
    gradient_fn: GradientFn | None = None,
    compute_dtype: DTypeLike | None = None,
    device: jax.Device | str | None = None,
    mesh: Mesh | None = None,
    callback: Callable[[SearchProgress], object] | None = None,
    callback_every: int | None = None,
    n_parallel: int | None = None,
    memory_limit: int = 2**30,
) -> SearchResult:
    """Trains every combination of step size, width, penalty and seed; validation chooses.

    All networks of the same depth train with one compiled program: narrow ones are padded
    with units that stay zero (see `stack_params`). All see the same orders of the
    examples, and networks with the same seed and widths start from the same parameters.
    Of each run, the epoch with the lowest validation loss counts. A run whose loss becomes
    NaN or infinite is kept in the table and never chosen.

    On an accelerator, networks train side by side in chunks (`vmap`). On a CPU, where that
    is not faster, each trains by itself, on as many threads as there are processors. The
    devices of a mesh share out the networks of a chunk, and train them without a word to
    each other.

    Args:
      key: JAX random key of starting parameters and orders.
      X_train: Training features, `(n, p)`, finite; float64 features (where JAX has them
        enabled) make all computation float64, all others float32.
      y_train: Labels in {0, 1}, `(n,)`.
      X_val: Validation features, `(n_val, p)`.
      y_val: Validation labels, `(n_val,)`.
      learning_rates: Step sizes η to try.
      hidden_sizes: Hidden layers to try: a width, or a sequence of widths for deeper
        networks; `()` or 0 is logistic regression.
      n_epochs: Passes through the training part.
      batch_size: Examples a step, as in `fit`.
      l2: Strengths of the L2 penalty to try, as in `fit`.
      n_seeds: Starting parameters to try for each combination.
      n_best: Networks to keep, for an ensemble; fewer are kept if fewer had a finite
        validation loss.
      optimizer: Makes the optimiser from a step size, such as `optax.adam`.
      init: `"he"` or `"xavier"`.
      sample_weight: Non-negative weights, `(n,)`, as in `fit`.
      sample_weight_val: Those of the validation part, `(n_val,)`.
      class_weight: Weights by label, as in `fit`.
      penalize_bias: Whether the penalty is on the biases too.
      patience: Stop a run after this many epochs without a lower validation loss.
      drop_last: As in `fit`.
      gradient_fn: Replaces the gradient, as in `fit`.
      compute_dtype: As in `fit`.
      device: As in `fit`.
      mesh: Devices, in a mesh of one axis, that share out the networks; instead of
        `device`. Each has all rows, and `batch_size` may be any. A mesh may reach over
        several processes, which all make the same call then.
      callback: Called with a `SearchProgress` after every `callback_every` epochs of a
        chunk and at its end; whatever it returns that is true ends the search, in all
        processes, which then ranks the networks as far as they have come.
      callback_every: Epochs between two calls; None calls at the end of chunks only.
      n_parallel: Networks in a chunk; None is 1 on a CPU and as many as memory allows on
        an accelerator; on a mesh, a multiple of the number of devices, to which it is
        rounded up.
      memory_limit: Bytes that the networks in training may take on a device, beside
        the data: parameters, optimiser states, mini-batches, activations of them and
        of the validation part. Chunks and threads are made so few that they keep it.

    Returns:
      A `SearchResult`.

    Raises:
      ValueError: Names the argument and says what is wrong with it; also where one
        network alone exceeds memory_limit.
      FloatingPointError: No run had a finite validation loss at any epoch.

    Guarantees:
      Each run equals, up to rounding, `fit` with the unpadded network that starts from
      `init_params(jax.random.fold_in(init_key, seed), sizes)` and with shuffle_key, where
      `init_key, shuffle_key = jax.random.split(key)` (with JAX's default kind of keys).
      The same key, data and machine give the same bits, whatever the number of threads.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import search
      >>> X = jax.random.normal(jax.random.key(0), (300, 2))
      >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
      >>> result = search(
      ...     jax.random.key(1), X[:200], y[:200], X[200:], y[200:],
      ...     learning_rates=[0.01, 0.3], hidden_sizes=[4, 16], n_epochs=50, batch_size=8,
      ... )
      >>> len(result.table), result.best.configuration.learning_rate
      (4, 0.3)

    Source:
      Lecture, "Data Splits".
    """
    check_key(key)
    check_factory(optimizer)
    if X_val is None or y_val is None:
        raise ValueError("search chooses on a validation part: give X_val and y_val")
    dtype = dtype_for(X_train)
    choices = make_choices(hidden_sizes, learning_rates, l2, n_seeds)
    place = find_place(device, mesh)
    check_same(
        place,
        key=key,
        X_train=X_train,
        y_train=y_train,
        X_val=X_val,
        y_val=y_val,
        learning_rates=learning_rates,
        hidden_sizes=hidden_sizes,
        n_epochs=n_epochs,
        batch_size=batch_size,
        l2=l2,
        n_seeds=n_seeds,
        n_best=n_best,
        sample_weight=sample_weight,
        sample_weight_val=sample_weight_val,
        class_weight=class_weight,
        patience=patience,
        n_parallel=n_parallel,
        memory_limit=memory_limit,
        callback_every=callback is not None and callback_every,
    )
    data = check_data(
        X_train,
        y_train,
        dtype=dtype,
        compute_dtype=compute_dtype,
        X_val=X_val,
        y_val=y_val,
        sample_weight=sample_weight,
        sample_weight_val=sample_weight_val,
        class_weight=class_weight,
        augmented=gradient_fn is None,
        device=place,
        names=("X_train", "y_train"),
    )
    settings = make_settings(
        data.X.shape[0],
        has_validation=data.X_val is not None,
        optimizer=optimizer,
        gradient_fn=gradient_fn,
        n_epochs=n_epochs,
        batch_size=batch_size,
        drop_last=drop_last,
        patience=patience,
        metrics=None,
        penalize_bias=penalize_bias,
    )
    if check_count("n_best", n_best) > len(choices):
        raise ValueError(f"n_best is {n_best}, but there are only {len(choices)} networks")
    if callback_every is not None:
        callback_every = check_count("callback_every", callback_every)
    if n_parallel is not None:
        n_parallel = check_count("n_parallel", n_parallel)
    place = place or next(iter(data.X.devices()))
    n_features = np.shape(X_train)[1]
    draws, shuffle_data = draw_starts(key, choices, n_features, init, dtype.name)
    work = Work(
        data=data,
        settings=settings,
        draws=draws,
        orders=make_orders(shuffle_data, settings.plan, place),
        device=place,
        has_penalty=any(choice.l2 for choice in choices),
        every=callback_every,
    )
    memory_limit = check_count("memory_limit", memory_limit, most=2**63)
    groups, n_threads = plan_groups(work, choices, n_parallel, memory_limit)
    stop = threading.Event()
    ranking = Ranking(choices, n_best, settings)
    for report in run_groups(work, choices, groups, n_threads, stop):
        ranking.add(report)
        if callback is not None and any_process(
            callback(ranking.progress()), mesh_of(place)
        ):
            stop.set()
    return ranking.result()


def dtype_for(X: ArrayLike) -> np.dtype[Any]:
    """Type to compute in: float64 for float64 features, where JAX has them, or float32."""
    # A Python float is float64 where JAX has 64 bits switched on.
    is_wide = np.asarray(X).dtype == jnp.result_type(float) == np.float64
    return np.dtype(np.float64 if is_wide else np.float32)


def check_factory(optimizer: OptimizerFactory) -> None:
    """Raises ValueError unless it makes optimisers."""
    if isinstance(optimizer, optax.GradientTransformation) or not callable(optimizer):
        raise ValueError(
            "optimizer must make an optimiser from a step size, such as optax.sgd or "
            f"functools.partial(optax.sgd, momentum=0.9), not be one: {optimizer!r}"
        )


_GREATEST = float(np.finfo(np.float32).max)


def make_choices(
    hidden_sizes: Sequence[int | Sequence[int]],
    learning_rates: Sequence[float],
    l2: Sequence[float],
    n_seeds: int,
) -> list[Choice]:
    """All combinations, the last argument's values within those before it.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
    """
    return [
        Choice(*choice)
        for choice in itertools.product(
            _check_hidden_sizes(hidden_sizes),
            _check_learning_rates(learning_rates),
            _check_penalties(l2),
            range(check_count("n_seeds", n_seeds)),
        )
    ]


def _check_penalties(l2: Sequence[float]) -> tuple[float, ...]:
    penalties = tuple(
        dict.fromkeys(check_l2("l2", value) for value in np.atleast_1d(l2).tolist())
    )
    if not penalties:
        raise ValueError("l2 is empty")
    return penalties


def _check_learning_rates(learning_rates: Sequence[float]) -> tuple[float, ...]:
    rates = tuple(dict.fromkeys(map(float, np.atleast_1d(learning_rates).tolist())))
    if not rates:
        raise ValueError("learning_rates is empty")
    for rate in rates:
        if not 0 < rate < _GREATEST:
            raise ValueError(f"learning_rates must be positive and finite, not {rate}")
    return rates


def _check_hidden_sizes(
    hidden_sizes: Sequence[int | Sequence[int]],
) -> tuple[HiddenSizes, ...]:
    if not isinstance(hidden_sizes, Sequence):
        raise ValueError(
            f"hidden_sizes must be a sequence such as [{hidden_sizes}], not {hidden_sizes}"
        )
    widths = []
    for sizes in hidden_sizes:
        if isinstance(sizes, Sequence):
            widths.append(tuple(check_count("hidden_sizes", size) for size in sizes))
        else:
            width = check_count("hidden_sizes", sizes, least=0)
            widths.append((width,) if width else ())
    if not widths:
        raise ValueError("hidden_sizes is empty")
    return tuple(dict.fromkeys(widths))
