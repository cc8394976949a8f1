"""What a run records of its examples' gradients, from the pass that training makes."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmlp.core import Params
from jaxmlp.core.factors import loss_factors_augmented, weighted_sum
from jaxmlp.core.losses import mean_weights
from jaxmlp.core.validate import check_number
from jaxmlp.gradients import norms
from jaxmlp.gradients.moments import squared_norm


class Diagnostics(NamedTuple):
    """Curves of the examples' gradients, by epoch, at no extra backward pass.

    Each example's gradient is taken at the step that uses it; its norm is that of its own
    loss, without weights and penalty. The curves are added to `FitResult.history`.

    Attributes:
      quantiles: Of the norms, recorded as `"norm_q5"`, `"norm_q50"`, … for 0.05, 0.5, ….
      max_norm: Norm above which an example counts into `"clipped_fraction"`; None leaves
        that out.
      noise_scale: Whether to record `"noise_scale"`, the simple gradient noise scale of
        `jaxmlp.gradients.noise_scale`, from the unbiased estimates of all steps' two
        moments; with sample weights, of the weighted gradients. NaN where no mini-batch
        has two examples, infinite where their noise hides the gradient.
    """

    quantiles: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    max_norm: float | None = None
    noise_scale: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the curves."""
        names = [f"norm_q{100 * q:g}" for q in self.quantiles]
        names += ["clipped_fraction"] if self.max_norm is not None else []
        names += ["noise_scale"] if self.noise_scale else []
        return tuple(names)


class StepRecord(NamedTuple):
    r"""What a step leaves for the epoch's end; None where nobody asks.

    With the batch's m examples, shares $c_i$ and gradients $g_i$, the mean of
    the squared norms is $S = m \sum_i c_i^2 \lVert g_i \rVert^2$, and the squared
    norm of the mean is M.

    Attributes:
      n_examples: m, `()`.
      norms: $\lVert g_i \rVert$, `(batch,)`; NaN where there is no example.
      n_longer: Number of norms above the greatest wanted.
      noise: $m (S - M)$, m - 1 times the unbiased trace of the covariance.
      signal: $m M - S$, m - 1 times the unbiased squared norm of the mean.
    """

    n_examples: jax.Array
    norms: jax.Array | None
    n_longer: jax.Array | None
    noise: jax.Array | None
    signal: jax.Array | None


def check_diagnostics(diagnostics: Diagnostics) -> Diagnostics:
    """Returns them hashable, or raises ValueError naming what is wrong."""
    if not isinstance(diagnostics, Diagnostics):
        raise ValueError(f"diagnostics must be Diagnostics(...), not {diagnostics!r}")
    quantiles = check_quantiles("diagnostics: quantiles", diagnostics.quantiles)
    max_norm = diagnostics.max_norm
    if max_norm is not None:
        max_norm = check_number(
            "diagnostics: max_norm", max_norm, "above 0", lambda norm: norm > 0
        )
    return diagnostics._replace(quantiles=quantiles, max_norm=max_norm)


def check_quantiles(name: str, quantiles: Iterable[float]) -> tuple[float, ...]:
    """Returns them without repetitions, or raises ValueError unless from 0 to 1."""
    if not isinstance(quantiles, Iterable):
        raise ValueError(f"{name} must be a sequence of numbers, not {quantiles!r}")
    right = [check_number(name, q, "from 0 to 1", lambda q: 0 <= q <= 1) for q in quantiles]
    return tuple(dict.fromkeys(right))


def loss_grads_and_norms(
    params: Params, X: jax.Array, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> tuple[jax.Array, Params, jax.Array]:
    """`loss_and_grads_augmented`, and each example's norm, `(n,)`, from the same pass."""
    losses, factors = loss_factors_augmented(params, X, y)
    shares = mean_weights(losses, sample_weight, losses.dtype)
    return jnp.sum(losses * shares), weighted_sum(factors, shares), norms(factors)


def record_step(
    diagnostics: Diagnostics,
    norms: jax.Array,
    grads: Params,
    sample_weight: jax.Array | None,
) -> StepRecord:
    """Keeps what `summarize` needs of one mini-batch's norms and mean gradient."""
    shares = mean_weights(norms, sample_weight, norms.dtype)
    is_real = shares > 0
    count = jnp.sum(is_real, dtype=norms.dtype)
    record = StepRecord(count, None, None, None, None)
    if diagnostics.quantiles:
        record = record._replace(norms=jnp.where(is_real, norms, jnp.nan))
    if diagnostics.max_norm is not None:
        is_longer = is_real & (norms > diagnostics.max_norm)
        record = record._replace(n_longer=jnp.sum(is_longer, dtype=norms.dtype))
    if diagnostics.noise_scale:
        of_squares = count * jnp.sum((shares * norms) ** 2)
        of_mean = squared_norm(grads)
        # One example says nothing of noise, and the rounding of these would.
        record = record._replace(
            noise=jnp.where(count > 1, count * (of_squares - of_mean), 0),
            signal=jnp.where(count > 1, count * of_mean - of_squares, 0),
        )
    return record


def summarize(diagnostics: Diagnostics, steps: StepRecord) -> dict[str, jax.Array]:
    """Curves' values of one epoch, by name, from the records of its steps, stacked."""
    values = []
    if steps.norms is not None:
        lengths = steps.norms.ravel()
        values += [jnp.nanquantile(lengths, q) for q in diagnostics.quantiles]
    if steps.n_longer is not None:
        values.append(jnp.sum(steps.n_longer) / jnp.maximum(jnp.sum(steps.n_examples), 1))
    if steps.noise is not None and steps.signal is not None:
        noise, signal = jnp.sum(steps.noise), jnp.sum(steps.signal)
        hidden = jnp.where(signal < 0, jnp.inf, jnp.nan)
        values.append(jnp.where(signal > 0, noise / signal, hidden))
    return dict(zip(diagnostics.names, values, strict=True))
