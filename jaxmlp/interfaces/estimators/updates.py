"""scikit-learn's update rules as optax optimisers.

They are written out because optax's differ where it can be seen: scikit-learn's velocity
contains the step size, so that a new step size does not rescale the steps remembered, and
its Adam adds epsilon before the bias of the second moment is corrected.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmlp.core import Params


class Momentum(NamedTuple):
    r"""Makes gradient descent with momentum from a step size.

    $$
    v \leftarrow \mu v - \eta g, \qquad
    \theta \leftarrow \theta + v \quad\text{or, Nesterov's,}\quad
    \theta + \mu v - \eta g
    $$

    Attributes:
      momentum: Share μ of the last step, in [0, 1].
      nesterov: Whether the step looks ahead along the new velocity.
    """

    momentum: float
    nesterov: bool

    def __call__(self, learning_rate: Any) -> optax.GradientTransformation:
        """The optimiser; its state is the velocity."""

        def advance(velocity: Params, grads: Params) -> Params:
            return jax.tree.map(
                lambda v, g: self.momentum * v - learning_rate * g, velocity, grads
            )

        def update(
            grads: Params, velocity: Params, params: Params | None = None
        ) -> tuple[Params, Params]:
            velocity = advance(velocity, grads)
            return advance(velocity, grads) if self.nesterov else velocity, velocity

        return optax.GradientTransformation(_zeros, update)


class AdamState(NamedTuple):
    """What Adam remembers.

    Attributes:
      n_steps: Steps done, `()`.
      mean: Running mean of the gradients.
      square: Running mean of their squares.
    """

    n_steps: jax.Array
    mean: Params
    square: Params


class Adam(NamedTuple):
    r"""Makes Adam from a step size.

    $$
    m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
    v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
    \theta \leftarrow \theta - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
    \frac{m}{\sqrt v + \epsilon}
    $$

    Attributes:
      beta_1: Decay of the mean gradient, in [0, 1).
      beta_2: Decay of the mean square, in [0, 1).
      epsilon: Added to the root of the mean square.
    """

    beta_1: float
    beta_2: float
    epsilon: float

    def __call__(self, learning_rate: Any) -> optax.GradientTransformation:
        """The optimiser."""
        beta_1, beta_2, epsilon = self

        def init(params: Params) -> AdamState:
            n_steps: Any = np.zeros((), np.int32)
            return AdamState(n_steps, _zeros(params), _zeros(params))

        def update(
            grads: Params, state: AdamState, params: Params | None = None
        ) -> tuple[Params, AdamState]:
            n_steps = state.n_steps + 1
            t = n_steps.astype(grads[0].w.dtype)
            rate = learning_rate * jnp.sqrt(1 - beta_2**t) / (1 - beta_1**t)
            mean = jax.tree.map(
                lambda m, g: beta_1 * m + (1 - beta_1) * g, state.mean, grads
            )
            square = jax.tree.map(
                lambda v, g: beta_2 * v + (1 - beta_2) * g * g, state.square, grads
            )
            updates = jax.tree.map(
                lambda m, v: -rate * m / (jnp.sqrt(v) + epsilon), mean, square
            )
            return updates, AdamState(n_steps, mean, square)

        return optax.GradientTransformation(init, update)


def _zeros(params: Params) -> Params:
    # NumPy's, which take no compiling.
    return jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), params)
