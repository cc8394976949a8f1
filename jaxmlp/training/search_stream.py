"""Choice of step size, width and penalty for a stream of rows."""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike, DTypeLike

from jaxmlp.core.params import InitMethod
from jaxmlp.core.validate import check_count
from jaxmlp.training.checkpoints import Checkpoints
from jaxmlp.training.fit_stream import WINDOW_SIZE, make_stream
from jaxmlp.training.grid import draw_starts
from jaxmlp.training.objective import GradientFn
from jaxmlp.training.orders import seed_of
from jaxmlp.training.places import any_process, check_same, mesh_of, put
from jaxmlp.training.pool import Report
from jaxmlp.training.ranking import Ranking, SearchProgress, SearchResult
from jaxmlp.training.resume import keep_checkpoints
from jaxmlp.training.search import check_factory, dtype_for, make_choices
from jaxmlp.training.state import Hyper, OptimizerFactory
from jaxmlp.training.stream import Course, outcome_of, start_runs
from jaxmlp.training.validate import check_key, find_place, make_settings
from jaxmlp.training.windows import Rows


def search_stream(
    key: jax.Array,
    stream: Rows,
    X_val: ArrayLike,
    y_val: ArrayLike,
    *,
    learning_rates: Sequence[float],
    hidden_sizes: Sequence[int | Sequence[int]],
    n_epochs: int,
    batch_size: int,
    window_size: int = WINDOW_SIZE,
    l2: Sequence[float] = (0.0,),
    n_seeds: int = 1,
    n_best: int = 1,
    optimizer: OptimizerFactory = optax.sgd,
    init: InitMethod = "he",
    class_weight: Mapping[int, float] | None = None,
    penalize_bias: bool = False,
    patience: int | None = None,
    gradient_fn: GradientFn | None = None,
    compute_dtype: DTypeLike | None = None,
    device: jax.Device | str | None = None,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    stop: Callable[[], object] | None = None,
    callback: Callable[[SearchProgress], object] | None = None,
) -> SearchResult:
    """Trains every combination on one reading of a stream; validation chooses.

    As `search`, for rows that need not fit into memory: each window is read once for all
    networks, which train on it one after the other.

    Args:
      key: As of `search`.
      stream: As of `fit_stream`.
      X_val: As of `search`; float64 features (where JAX has them enabled) make all
        computation float64.
      y_val: As of `search`.
      learning_rates: As of `search`.
      hidden_sizes: As of `search`.
      n_epochs: Passes through the stream.
      batch_size: As of `fit_stream`.
      window_size: As of `fit_stream`.
      l2: As of `search`.
      n_seeds: As of `search`.
      n_best: As of `search`.
      optimizer: As of `search`.
      init: As of `search`.
      class_weight: As of `fit_stream`.
      penalize_bias: As of `search`.
      patience: As of `search`.
      gradient_fn: As of `search`.
      compute_dtype: As of `search`.
      device: As of `search`.
      mesh: Devices that share out each mini-batch, as of `fit`.
      checkpoints: As of `fit_stream`.
      stop: As of `fit_stream`.
      callback: Called with a `SearchProgress` after each epoch; whatever it returns that
        is true ends the search.

    Returns:
      A `SearchResult`.

    Raises:
      ValueError: As of `search` and `fit_stream`.
      FloatingPointError: As of `search`.
      CheckpointError: As of `fit_stream`.
      Stopped: As of `fit_stream`.

    Guarantees:
      Each run equals `fit_stream` from the same parameters, with the shuffle_key that
      `search` names.

    Examples:
      >>> import jax, numpy as np
      >>> from jaxmlp.training import search_stream
      >>> X = np.random.default_rng(0).normal(size=(500, 2))
      >>> y = X[:, 0] * X[:, 1] > 0
      >>> result = search_stream(
      ...     jax.random.key(0), [(X[:200], y[:200]), (X[200:400], y[200:400])], X[400:],
      ...     y[400:], learning_rates=[0.001, 0.3], hidden_sizes=[16], n_epochs=20,
      ...     batch_size=10,
      ... )
      >>> result.best.configuration.learning_rate
      0.3
    """
    check_key(key)
    check_factory(optimizer)
    choices = make_choices(hidden_sizes, learning_rates, l2, n_seeds)
    if check_count("n_best", n_best) > len(choices):
        raise ValueError(f"n_best is {n_best}, but there are only {len(choices)} networks")
    dtype, place = dtype_for(X_val), find_place(device, mesh)
    check_same(
        place,
        key=key,
        X_val=X_val,
        y_val=y_val,
        choices=choices,
        n_epochs=n_epochs,
        batch_size=batch_size,
        window_size=window_size,
        n_best=n_best,
        class_weight=class_weight,
        patience=patience,
        callback=callback is not None,
        stop=stop is not None,
    )
    n_features = np.shape(X_val)[1]
    draws, shuffle_data = draw_starts(key, choices, n_features, init, dtype.name)
    source = make_stream(
        stream,
        seed_of(shuffle_data),
        n_features=n_features,
        dtype=dtype,
        n_epochs=n_epochs,
        batch_size=batch_size,
        window_size=window_size,
        class_weight=class_weight,
        X_val=X_val,
        y_val=y_val,
        augmented=gradient_fn is None,
        compute_dtype=compute_dtype,
        place=place,
    )
    settings = make_settings(
        source.layout.n_rows,
        has_validation=True,
        optimizer=optimizer,
        gradient_fn=gradient_fn,
        n_epochs=n_epochs,
        batch_size=batch_size,
        drop_last=False,
        patience=patience,
        metrics=None,
        penalize_bias=penalize_bias,
        mesh=mesh_of(place),
    )
    courses = []
    for choice in choices:
        rate = np.asarray(choice.learning_rate, dtype)
        penalty = np.asarray(choice.l2, dtype) if choice.l2 else None
        courses.append(Course(Hyper(*put((rate, penalty), place)), settings))
    params = [put(draws.params(choice), place) for choice in choices]
    start = start_runs(courses, params, [None] * len(choices), source)
    ranking, has_ended = Ranking(choices, n_best, settings), set[int]()
    for state in keep_checkpoints(courses, start, source, checkpoints, stop):
        for i, run in enumerate(state.runs):
            n_done = state.ended[i] or state.epoch
            is_over = state.ended[i] is not None or state.epoch == source.layout.n_epochs
            if i not in has_ended:
                outcome = outcome_of(run, n_done) if is_over else None
                ranking.add(Report([i], n_done, outcome))
            if is_over:
                has_ended.add(i)
        if callback and state.window == 0 and state.step:
            has_enough = callback(ranking.progress())
            if any_process(has_enough, settings.mesh):
                break
    return ranking.result()
