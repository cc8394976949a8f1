"""DP-SGD: training by private steps on Poisson samples, and what it guarantees."""

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jaxmlp.core import Params
from jaxmlp.core.validate import check_count, check_number
from jaxmlp.privacy.guarantee import Guarantee, make_guarantee
from jaxmlp.privacy.ledger import Accountant, check_delta, check_noise
from jaxmlp.privacy.mechanism import ClippedMean, PrivateState, add_noise_before
from jaxmlp.training.arrays import check_data
from jaxmlp.training.diagnostics import Diagnostics, check_quantiles
from jaxmlp.training.fit import FitProgress, FitResult, run_fit
from jaxmlp.training.orders import draw_samples, plan_poisson, seed_of
from jaxmlp.training.places import check_same, mesh_of
from jaxmlp.training.state import History, MetricFn
from jaxmlp.training.validate import (
    check_key,
    check_optimizer,
    check_params,
    find_place,
    make_settings,
)


class DpFitResult(NamedTuple):
    """A network trained with differential privacy.

    Attributes:
      params: As of `FitResult`.
      opt_state: State of the optimiser after the last epoch.
      history: As of `FitResult`, and `"clipped_fraction"`, the share of the sampled rows
        whose gradient was clipped. What is measured on the training rows is not private.
      best_epoch: As of `FitResult`.
      guarantee: The `Guarantee`.
    """

    params: Params
    opt_state: optax.OptState
    history: History
    best_epoch: int | None
    guarantee: Guarantee


class DpFitProgress(NamedTuple):
    """What a callback of `dp_fit` gets; as `FitProgress`, and like its history not private.

    Attributes:
      n_done: Epochs done.
      n_epochs: Epochs asked for.
      history: Curves up to here.
      result: Makes the `DpFitResult` of a run that ended here, to be called before the
        callback returns.
    """

    n_done: int
    n_epochs: int
    history: History
    result: Callable[[], DpFitResult]


def dp_fit(
    key: jax.Array,
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: optax.GradientTransformation,
    n_epochs: int,
    batch_size: float,
    noise_multiplier: float,
    max_grad_norm: float,
    delta: float,
    accountant: Accountant = "pld",
    X_val: ArrayLike | None = None,
    y_val: ArrayLike | None = None,
    l2: float = 0.0,
    penalize_bias: bool = False,
    patience: int | None = None,
    metrics: Mapping[str, MetricFn] | None = None,
    norm_quantiles: Sequence[float] = (),
    device: jax.Device | str | None = None,
    mesh: Mesh | None = None,
    callback: Callable[[DpFitProgress], object] | None = None,
    callback_every: int = 1,
) -> DpFitResult:
    r"""Trains a network by DP-SGD; as `fit`, with a bound on what it tells of any row.

    $$
    \tilde g = \frac{1}{s} \left(\sum_{i \in B} g_i
    \min\left(1, \frac{C}{\lVert g_i \rVert}\right) + \sigma C\, \xi\right), \qquad
    \xi \sim \mathcal{N}(0, I)
    $$

    Each step takes every row with probability q = s / n (Poisson sampling), adds noise to
    the *sum* of the clipped gradients, and divides by the *expected* batch size s,
    whatever the size of the sample. The optimiser sees nothing else of the rows. An epoch
    is ⌈n / s⌉ steps. The sizes of all samples are drawn before the first step, and the
    places for a sample hold the largest of them: none is cut, so the analysis of Poisson
    sampling holds as it is.

    Args:
      key: JAX random key of samples and noise: secret, and another one for each run.
        `secret_key()`. Whoever can guess it, such as `jax.random.key(0)`, can take the
        noise off again.
      params: Starting parameters, drawn without a look at the rows; not changed.
      X: Training features, `(n, p)`, finite.
      y: Labels in {0, 1}, `(n,)`.
      optimizer: Any optax optimiser that needs the gradient alone.
      n_epochs: Expected number of times that a row is taken.
      batch_size: Expected number s of rows a step, 1 to n; need not be whole.
      noise_multiplier: σ, from `calibrate`; 0 for no noise and no privacy.
      max_grad_norm: C, above 0. `math.inf` for no clipping wants no noise either.
      delta: The δ of the `Guarantee`, in (0, 1).
      accountant: As of `epsilon`.
      X_val: As of `fit`; other rows, which the guarantee does not cover.
      y_val: As of `fit`.
      l2: As of `fit`; the penalty is neither clipped nor noised, as it tells of no row.
      penalize_bias: As of `fit`.
      patience: As of `fit`. The guarantee is for all epochs asked for all the same.
      metrics: As of `fit`.
      norm_quantiles: Quantiles of the norms before clipping to record by epoch, as
        `"norm_q50"` for 0.5: what a good `max_grad_norm` is read from (not privately).
      device: As of `fit`.
      mesh: As of `fit`, but for `batch_size`, which may be any. The noise is drawn once,
        as on one device.
      callback: As of `fit`, with a `DpFitProgress`.
      callback_every: As of `fit`.

    Returns:
      A `DpFitResult`.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
      ImportError: dp-accounting is not installed (and there is noise to account for).

    Guarantees:
      Without noise and clipping, equals `fit` on the same batches, but for the division
      by the expected size. The same key, data and machine give the same bits. A row whose
      squared gradient norm overflows is left out, and moves no other.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> from jaxmlp import init_params
      >>> from jaxmlp.privacy import calibrate, dp_fit, secret_key
      >>> X = jnp.linspace(-1, 1, 1000)[:, None]
      >>> y = (X[:, 0] > 0).astype(int)
      >>> noise = calibrate(3.0, 1e-5, sampling_rate=0.1, n_steps=100)
      >>> params = init_params(jax.random.key(0), (1, 8, 1))
      >>> result = dp_fit(
      ...     secret_key(), params, X, y, optimizer=optax.sgd(0.5), n_epochs=10,
      ...     batch_size=100, noise_multiplier=noise, max_grad_norm=1.0, delta=1e-5,
      ... )
      >>> print(f"{result.guarantee.epsilon:.2f}")
      3.00

    Source:
      Abadi and others (2016), arXiv 1607.00133; clipping by factored norms as Goodfellow
      (2015), Lee and Kifer (2021), arXiv 2009.03106.
    """
    key = _checked(key)
    sample_key, noise_key = jax.random.split(key)
    n_features, dtype = check_params(params)
    check_optimizer(optimizer)
    place = find_place(device, mesh)
    check_same(
        place,
        key=key,
        params=params,
        X=X,
        y=y,
        n_epochs=n_epochs,
        batch_size=batch_size,
        noise_multiplier=noise_multiplier,
        max_grad_norm=max_grad_norm,
        X_val=X_val,
        y_val=y_val,
        l2=l2,
        patience=patience,
        norm_quantiles=norm_quantiles,
        callback_every=callback is not None and callback_every,
    )
    data = check_data(
        X,
        y,
        dtype=dtype,
        n_features=n_features,
        X_val=X_val,
        y_val=y_val,
        augmented=True,
        device=place,
    )
    n_samples = data.X.shape[0]
    size = _check_size(batch_size, n_samples)
    noise, max_norm = _check_noise(noise_multiplier, max_grad_norm)
    stddev = noise and noise * max_norm / size  # of 0 times infinity: no noise
    _check_fits(stddev, max_norm, dtype)
    sample_data = jax.random.key_data(sample_key)
    plan = plan_poisson(
        seed_of(sample_data),
        n_samples,
        size,
        check_count("n_epochs", n_epochs),
        1 if mesh is None else mesh.size,
    )
    guarantee = make_guarantee(
        noise,
        max_norm,
        batch_size=size,
        n_samples=n_samples,
        n_steps=plan.n_epochs * plan.n_batches,
        delta=check_delta(delta),
        accountant=accountant,
    )
    private = add_noise_before(
        optimizer,
        stddev,
        str(jax.random.key_impl(key)),
    )
    _check_needs_gradient_only(optimizer, params)
    settings = make_settings(
        data.X.shape[0],
        has_validation=data.X_val is not None,
        optimizer=private,
        gradient_fn=ClippedMean(max_norm, size),
        n_epochs=n_epochs,
        batch_size=plan.batch_size,
        drop_last=False,
        patience=patience,
        metrics=metrics,
        penalize_bias=penalize_bias,
        diagnostics=Diagnostics(
            check_quantiles("norm_quantiles", norm_quantiles), max_norm, noise_scale=False
        ),
        mesh=mesh_of(place),
    )

    def look(now: FitProgress) -> object:
        assert callback is not None
        return callback(_without_key(now, guarantee))

    result = run_fit(
        sample_data,
        params,
        data,
        settings._replace(plan=plan),
        l2=l2,
        opt_state=PrivateState(noise_key, jax.jit(optimizer.init)(params)),
        device=place,
        callback=None if callback is None else look,
        callback_every=callback_every,
    )
    return _private_result(result, guarantee)


def _without_key(now: FitProgress, guarantee: Guarantee) -> DpFitProgress:
    return DpFitProgress(
        now.n_done,
        now.n_epochs,
        now.history,
        lambda: _private_result(now.result(), guarantee),
    )


def _private_result(result: FitResult, guarantee: Guarantee) -> DpFitResult:
    """Leaves out the key of the noise to come, which must stay secret."""
    return DpFitResult(
        params=result.params,
        opt_state=result.opt_state.inner,
        history=result.history,
        best_epoch=result.best_epoch,
        guarantee=guarantee,
    )


def secret_key() -> jax.Array:
    """Draws a JAX random key for `dp_fit` from the system's source of secrets.

    Another one at each call: keep it where nobody reads it, or nowhere.
    """
    words = np.frombuffer(secrets.token_bytes(8), np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")


def sampled_rows(
    key: jax.Array, n_samples: int, batch_size: float, n_epochs: int
) -> list[NDArray[np.int32]]:
    """Draws the rows that `dp_fit` takes at each step, to repeat by hand what it does.

    The guarantee holds as long as they stay secret.

    Args:
      key: The key that `dp_fit` is given.
      n_samples: Number of training rows.
      batch_size: Expected number of rows a step.
      n_epochs: Epochs.

    Returns:
      Row numbers of each step, in no particular order.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
    """
    sample_key, _ = jax.random.split(_checked(key))
    seed = seed_of(jax.random.key_data(sample_key))
    n_samples = check_count("n_samples", n_samples)
    n_epochs = check_count("n_epochs", n_epochs)
    plan = plan_poisson(seed, n_samples, _check_size(batch_size, n_samples), n_epochs)
    if plan.is_full_batch:
        return [np.arange(n_samples, dtype=np.int32)] * n_epochs
    blocks = [draw_samples(seed, plan, i) for i in range(-(-n_epochs // plan.block))]
    steps = np.concatenate(blocks)[:n_epochs].reshape(-1, plan.batch_size)
    return [rows[rows >= 0] for rows in steps]


def _checked(key: jax.Array) -> jax.Array:
    """The key, typed: JAX's older keys are bare numbers."""
    data = check_key(key)
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    return jax.random.wrap_key_data(data)


def _check_size(batch_size: float, n_samples: int) -> float:
    size = check_number("batch_size", batch_size, "from 1", lambda x: x >= 1)
    if size > n_samples:
        raise ValueError(
            f"batch_size, the expected number of rows a step, is {batch_size}, but there "
            f"are only {n_samples} rows: the sampling rate would be above 1"
        )
    return size


def _check_noise(noise_multiplier: float, max_grad_norm: float) -> tuple[float, float]:
    noise = check_noise(noise_multiplier)
    max_norm = check_number("max_grad_norm", max_grad_norm, "above 0", lambda x: x > 0)
    if noise and max_norm == math.inf:
        raise ValueError(
            "max_grad_norm is infinite, so no noise hides a row: give a finite one, or "
            "noise_multiplier=0"
        )
    return noise, max_norm


def _check_fits(stddev: float, max_norm: float, dtype: np.dtype[Any]) -> None:
    """Refuses noise that rounds to 0 or infinity, and would not be what is claimed."""
    limits = np.finfo(dtype)
    # With all digits of the normal number that it multiplies.
    least, most = float(limits.tiny / limits.eps), float(limits.max * limits.eps)
    if stddev and not (least <= stddev <= most and least <= max_norm <= most):
        raise ValueError(
            f"max_grad_norm of {max_norm:g} makes noise of {stddev:g}, which {dtype} "
            "cannot hold with all its digits: choose one nearer 1"
        )


def _check_needs_gradient_only(
    optimizer: optax.GradientTransformation, params: Params
) -> None:
    try:
        jax.eval_shape(lambda p: optimizer.update(p, optimizer.init(p), p), params)
    except TypeError as error:
        raise ValueError(
            "optimizer needs more than the gradient, such as the loss for a line search "
            f"({error}), and that is not private: take another, such as optax.adam"
        ) from error
