"""Binary cross-entropy and its gradient, per example."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlog1py, xlogy
from jax.typing import ArrayLike


def bce(probs: jax.Array, y: ArrayLike) -> jax.Array:
    r"""Binary cross-entropy of probabilities, as the lecture writes it.

    $$
    \ell_i = -\left[y_i \log \hat y_i + (1 - y_i) \log(1 - \hat y_i)\right]
    $$

    For reading. A probability that has rounded to 0 or 1 has lost the logit, and the
    loss on its wrong side is infinite; training uses `bce_with_logits`.

    Args:
      probs: Predicted probabilities, `(n,)`, in [0, 1].
      y: Labels, `(n,)`, in [0, 1].

    Returns:
      Losses in nats, `(n,)`. Not averaged.

    Guarantees:
      A certain and right prediction costs exactly 0, never NaN.

    Examples:
      >>> import jax.numpy as jnp
      >>> print(bce(jnp.array([0.99, 0.01]), jnp.array([1.0, 1.0])).round(3))
      [0.01  4.605]

    Source:
      Lecture, "Objective Function and Parameters - II".
    """
    y = jnp.asarray(y, probs.dtype)
    check_same_shape(probs, y, "probs", "y")
    return -(xlogy(y, probs) + xlog1py(1 - y, -probs))


def bce_with_logits(logits: jax.Array, y: ArrayLike) -> jax.Array:
    r"""Binary cross-entropy of logits.

    $$
    \ell_i = \log(1 + e^{z_i}) - y_i z_i
           = \max(z_i, 0) - y_i z_i + \log\left(1 + e^{-|z_i|}\right)
    $$

    Args:
      logits: Output scores z, `(n,)`, natural-log odds of label 1.
      y: Labels, `(n,)`, in [0, 1].

    Returns:
      Losses in nats, `(n,)`. Not averaged.

    Guarantees:
      Finite for every finite logit, and exact to rounding however small the loss. Its
      derivative by `jax.grad` is `output_delta`, at 0 too.

    Examples:
      >>> import jax.numpy as jnp
      >>> print(bce_with_logits(jnp.array([0.0, 1e9, -1e9]), jnp.array([1.0, 1.0, 1.0])))
      [6.931472e-01 0.000000e+00 1.000000e+09]

    Source:
      Lecture, "Objective Function and Parameters - I" (logistic form).
    """
    y = jnp.asarray(y, logits.dtype)
    check_same_shape(logits, y, "logits", "y")
    # At z = 0, jax.grad halves the slope at the tie of maximum and of minimum, which is
    # right there; with relu or abs it would take one side's.
    minus_abs = jnp.minimum(logits, -logits)
    return jnp.maximum(logits, 0) - y * logits + jnp.log1p(jnp.exp(minus_abs))


def output_delta(logits: jax.Array, y: ArrayLike) -> jax.Array:
    r"""Gradient of each example's cross-entropy with respect to its logit.

    $$
    \delta_i = \sigma(z_i) - y_i = (1 - y_i)\,\sigma(z_i) - y_i\,\sigma(-z_i)
    $$

    The second form is computed: the first one cancels to zero for an example that is
    predicted right with confidence. Not divided by n; `backward` takes the mean.

    Args:
      logits: Output scores, `(n,)`, natural-log odds of label 1.
      y: Labels, `(n,)`, in [0, 1].

    Returns:
      One value per example, `(n,)`, in [-1, 1].

    Guarantees:
      Finite for every finite logit.

    Examples:
      >>> import jax.numpy as jnp
      >>> delta = output_delta(jnp.array([0.0, 30.0]), jnp.array([1.0, 1.0]))
      >>> print(", ".join(f"{value:.4g}" for value in delta))
      -0.5, -9.358e-14

    Source:
      Lecture, equation (1).
    """
    y = jnp.asarray(y, logits.dtype)
    check_same_shape(logits, y, "logits", "y")
    return (1 - y) * jax.nn.sigmoid(logits) - y * jax.nn.sigmoid(-logits)


def mean_weights(
    y: jax.Array, sample_weight: ArrayLike | None, dtype: jax.typing.DTypeLike
) -> jax.Array:
    r"""Share of each example in the mean loss.

    $$
    c_i = \frac{1}{n} \quad\text{or}\quad \frac{w_i}{\sum_j w_j}
    $$

    Args:
      y: Labels, `(n,)`; only the shape counts.
      sample_weight: Non-negative weights, `(n,)`, or None for equal ones.
      dtype: Floating-point type of the result.

    Returns:
      Shares, `(n,)`, that sum to 1; all zero if no example has weight.
    """
    if sample_weight is None:
        return jnp.full(y.shape, 1 / max(y.shape[0], 1), dtype)
    weight = jnp.asarray(sample_weight, dtype)
    check_same_shape(y, weight, "y", "sample_weight")
    total = jnp.sum(weight)
    return weight / jnp.where(total > 0, total, 1)


def check_same_shape(a: jax.Array, b: jax.Array, a_name: str, b_name: str) -> None:
    """Raises ValueError unless both arrays are `(n,)` with the same n."""
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"{a_name} and {b_name} must both have shape (n,), not {a.shape} and {b.shape}"
        )
