"""DP-SGD: Poisson samples, clipped gradients, Gaussian noise, and what it guarantees."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jaxmlp.core import Params
from jaxmlp.core.factors import loss_factors_augmented
from jaxmlp.core.losses import mean_weights
from jaxmlp.core.validate import check_count, check_number
from jaxmlp.gradients import clipped_sum
from jaxmlp.privacy.ledger import Accountant, check_delta, check_noise, epsilon
from jaxmlp.training.arrays import check_data
from jaxmlp.training.diagnostics import Diagnostics, check_quantiles
from jaxmlp.training.fit import FitProgress, FitResult, run_fit
from jaxmlp.training.orders import PoissonPlan, draw_samples, plan_poisson, seed_of
from jaxmlp.training.state import History, MetricFn
from jaxmlp.training.validate import (
    check_key,
    check_optimizer,
    check_params,
    find_device,
    make_settings,
)

ADJACENCY = "data sets that differ by one training row, added or removed"
SAMPLING = (
    "each step takes every training row with the same probability, independently of the "
    "others (Poisson sampling); the random key of samples and noise stays secret"
)
PREPROCESSING = (
    "statistics of the rows used to prepare the features (centring, scaling, categories)"
)
MEASURED = (
    "the training loss, norms and clipped fraction in the history: measured on the rows, "
    "without noise; do not publish them"
)
WEAK_DELTA = (
    "the publishing of a whole row, drawn at random: delta is not below one by the number "
    "of training rows, so it allows that; choose one far below"
)
NOT_COVERED = (
    "choices made by looking at other runs on the same rows (hyper-parameter search): "
    "their epsilons add up",
    PREPROCESSING,
    "validation and test rows, which choose the epoch and give the figures",
    MEASURED,
    "the number of training rows and the labels' names, which are taken as known",
    "attacks on pseudo-random numbers or on the rounding of the noise",
)


class Guarantee(NamedTuple):
    """What a private run promises, and what not.

    Attributes:
      epsilon: Upper bound of ε for all planned steps; infinite without noise.
      delta: The δ that it holds for.
      noise_multiplier: Standard deviation of the noise by `max_grad_norm`.
      max_grad_norm: Norm to which each row's gradient is clipped.
      sampling_rate: Probability of a row to be in a step.
      n_steps: Steps accounted for: all that were planned, also if the run ended early.
      accountant: `"pld"` or `"rdp"`.
      adjacency: Which data sets the promise compares.
      sampling: What it assumes of sampling.
      not_covered: What it says nothing about.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    max_grad_norm: float
    sampling_rate: float
    n_steps: int
    accountant: Accountant
    adjacency: str = ADJACENCY
    sampling: str = SAMPLING
    not_covered: tuple[str, ...] = NOT_COVERED


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
    callback: Callable[[DpFitProgress], object] | None = None,
    callback_every: int = 1,
) -> DpFitResult:
    r"""Trains a network by DP-SGD; as `fit`, with a bound on what it tells of any row.

    .. math::
      \tilde g = \frac{1}{s} \left(\sum_{i \in B} g_i
      \min\left(1, \frac{C}{\lVert g_i \rVert}\right) + \sigma C\, \xi\right), \qquad
      \xi \sim \mathcal{N}(0, I)

    Each step takes every row with probability q = s / n (Poisson sampling), adds noise to
    the *sum* of the clipped gradients, and divides by the *expected* batch size s,
    whatever the size of the sample. The optimiser sees nothing else of the rows. An epoch
    is ⌈n / s⌉ steps. The sizes of all samples are drawn before the first step, and the
    places for a sample hold the largest of them: none is cut, so the analysis of Poisson
    sampling holds as it is.

    Args:
      key: JAX random key of samples and noise: secret, and another one for each run.
        Whoever can guess it, such as `jax.random.key(0)`, can take the noise off again;
        `jax.random.key(secrets.randbits(63))` where JAX has 64 bits switched on, or
        `jax.random.wrap_key_data` of random bytes, is hard to guess.
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
      gradient overflows is left out, and moves no other.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from jaxmlp import init_params
      >>> from jaxmlp.privacy import calibrate, dp_fit
      >>> X = jnp.linspace(-1, 1, 1000)[:, None]
      >>> y = (X[:, 0] > 0).astype(int)
      >>> noise = calibrate(3.0, 1e-5, sampling_rate=0.1, n_steps=100)
      >>> init_key, key = jax.random.split(jax.random.key(0))
      >>> result = dp_fit(
      ...     key, init_params(init_key, (1, 8, 1)), X, y, optimizer=optax.sgd(0.5),
      ...     n_epochs=10, batch_size=100, noise_multiplier=noise, max_grad_norm=1.0,
      ...     delta=1e-5,
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
    device = find_device(device)
    data = check_data(
        X,
        y,
        dtype=dtype,
        n_features=n_features,
        X_val=X_val,
        y_val=y_val,
        augmented=True,
        device=device,
    )
    n_samples = data.X.shape[0]
    size = _check_size(batch_size, n_samples)
    noise, max_norm = _check_noise(noise_multiplier, max_grad_norm)
    sample_data = jax.random.key_data(sample_key)
    plan = plan_poisson(
        seed_of(sample_data), n_samples, size, check_count("n_epochs", n_epochs)
    )
    guarantee = _guarantee(
        noise, max_norm, size / n_samples, plan, check_delta(delta), accountant
    )
    private = _private(
        optimizer,
        noise and noise * max_norm / size,  # of 0 times infinity: no noise
        str(jax.random.key_impl(key)),
    )
    _check_needs_gradient_only(optimizer, params)
    settings = make_settings(
        data,
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
        device=device,
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


@dataclass(frozen=True)
class ClippedMean:
    """Sum of clipped gradients by the expected batch size, as a `GradientFn`.

    Attributes:
      max_norm: Norm to which each example's gradient is clipped.
      expected_size: What the sum is divided by.
    """

    max_norm: float
    expected_size: float

    def __call__(
        self, params: Params, X: jax.Array, y: jax.Array, weight: jax.Array | None
    ) -> tuple[jax.Array, Params, jax.Array]:
        """Takes features that end in ones, and weights 1 or, where there is no row, 0."""
        losses, factors = loss_factors_augmented(params, X, y)
        if weight is not None:
            factors = factors._replace(scale=factors.scale * weight)
        clipped = clipped_sum(factors, self.max_norm)
        grads = jax.tree.map(lambda total: total / self.expected_size, clipped.sum)
        shares = mean_weights(losses, weight, losses.dtype)
        loss = jnp.sum(jnp.where(shares > 0, losses * shares, 0))
        return loss, grads, clipped.norms


class PrivateState(NamedTuple):
    """State of a private optimiser.

    Attributes:
      key: Key of the noise of the steps to come.
      inner: State of the optimiser that sees the noisy gradients.
    """

    key: jax.Array
    inner: optax.OptState


@functools.lru_cache(maxsize=32)
def _private(
    optimizer: optax.GradientTransformation, stddev: float, key_impl: str
) -> optax.GradientTransformation:
    """Adds noise before an optimiser; kept, because a new object is compiled anew."""

    def init(params: Params) -> PrivateState:
        return PrivateState(jax.random.key(0, impl=key_impl), optimizer.init(params))

    # The other arguments that training passes, such as the loss, are not private.
    def update(
        grads: Params, state: PrivateState, params: Params, **_: Any
    ) -> tuple[Params, PrivateState]:
        leaves, structure = jax.tree.flatten(grads)
        key, *keys = jax.random.split(state.key, 1 + len(leaves))
        if stddev:
            # One draw for each array: cut from one for all, it would be written and read
            # once more, which takes twice as long in a large network.
            leaves = [
                leaf + stddev * jax.random.normal(k, leaf.shape, leaf.dtype)
                for leaf, k in zip(leaves, keys, strict=True)
            ]
            grads = jax.tree.unflatten(structure, leaves)
        updates, inner = optimizer.update(grads, state.inner, params)
        return updates, PrivateState(key, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def _guarantee(
    noise_multiplier: float,
    max_grad_norm: float,
    sampling_rate: float,
    plan: PoissonPlan,
    delta: float,
    accountant: Accountant,
) -> Guarantee:
    n_steps = plan.n_epochs * plan.n_batches
    spent = epsilon(
        sampling_rate=sampling_rate,
        noise_multiplier=noise_multiplier,
        n_steps=n_steps,
        delta=delta,
        accountant=accountant,
    )
    is_weak = delta * plan.n_samples >= 1
    return Guarantee(
        epsilon=spent,
        delta=delta,
        noise_multiplier=noise_multiplier,
        max_grad_norm=max_grad_norm,
        sampling_rate=sampling_rate,
        n_steps=n_steps,
        accountant=accountant,
        not_covered=((WEAK_DELTA,) if is_weak else ()) + NOT_COVERED,
    )


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
