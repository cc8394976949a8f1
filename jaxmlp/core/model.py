"""The network: ReLU hidden layers and one logit."""

from typing import NamedTuple

import jax
from jax.typing import ArrayLike

from jaxmlp.core.params import Params
from jaxmlp.core.validate import as_features


class Cache(NamedTuple):
    """What the backward pass needs from the forward pass.

    Attributes:
      inputs: Input of each layer, `(n, d_in)`: X, then the hidden activations h.
      logits: Output scores z, `(n,)`.
    """

    inputs: tuple[jax.Array, ...]
    logits: jax.Array


def forward_with_cache(params: Params, X: ArrayLike) -> tuple[jax.Array, Cache]:
    r"""Computes the logits and keeps every layer's input.

    $$
    h_0 = X, \quad h_l = \max(0,\, h_{l-1} W_l + \mathbf{1} b_l^\top), \quad
    z = h_{L-1} W_L + b_L
    $$

    Args:
      params: Network parameters.
      X: Features, `(n, p)`; cast to the parameters' floating-point type.

    Returns:
      Logits `(n,)` and the `Cache` that `backward` takes.

    Raises:
      ValueError: X is not `(n, p)` for the p of the first layer.

    Guarantees:
      `jax.grad` takes 0 as ReLU's derivative at 0, as `backward` does.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (3, 4, 1))
      >>> logits, cache = forward_with_cache(params, jnp.ones((2, 3)))
      >>> logits.shape, [h.shape for h in cache.inputs]
      ((2,), [(2, 3), (2, 4)])

    Source:
      Lecture, "Forward and Backward Pass in Matrix Notation - III".
    """
    h = as_features(params, X)
    inputs = [h]
    for layer in params[:-1]:
        # jax.nn.relu, not jnp.maximum: jax.grad of the latter is 1/2 at 0, and rows whose
        # units are all inactive have exact zeros in the next layer.
        h = jax.nn.relu(h @ layer.w + layer.b[None, :])
        inputs.append(h)
    output = params[-1]
    logits = (h @ output.w)[:, 0] + output.b[0]
    return logits, Cache(tuple(inputs), logits)


def forward(params: Params, X: ArrayLike) -> jax.Array:
    """Computes the logits.

    Args:
      params: Network parameters.
      X: Features, `(n, p)`; cast to the parameters' floating-point type.

    Returns:
      Logits `(n,)`, natural-log odds of label 1.

    Raises:
      ValueError: X is not `(n, p)` for the p of the first layer.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (3, 1))
      >>> forward(params, jnp.zeros((2, 3)))
      Array([0., 0.], dtype=float32)

    Source:
      Lecture, "Forward Pass for a single layer MLP".
    """
    logits, _ = forward_with_cache(params, X)
    return logits


def predict_proba(params: Params, X: ArrayLike) -> jax.Array:
    r"""Computes the probability of label 1, $\hat y = \sigma(z)$.

    Args:
      params: Network parameters.
      X: Features, `(n, p)`; cast to the parameters' floating-point type.

    Returns:
      Probabilities `(n,)`. One column, not scikit-learn's two.

    Raises:
      ValueError: X is not `(n, p)` for the p of the first layer.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmlp import init_params
      >>> params = init_params(jax.random.key(0), (3, 1))
      >>> predict_proba(params, jnp.zeros((2, 3)))
      Array([0.5, 0.5], dtype=float32)

    Source:
      Lecture, "Forward Pass for a single layer MLP".
    """
    return jax.nn.sigmoid(forward(params, X))
