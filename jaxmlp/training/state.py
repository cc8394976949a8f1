"""What a run is made of: data, settings, and the state it carries."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jaxmlp.core import Params
from jaxmlp.core.dropout import Dropout
from jaxmlp.training.diagnostics import Diagnostics
from jaxmlp.training.objective import GradientFn
from jaxmlp.training.orders import Plan, PoissonPlan

MetricFn = Callable[[jax.Array, jax.Array], jax.Array]
"""`(logits (n,), y (n,)) -> scalar`."""

OptimizerFactory = Callable[..., optax.GradientTransformation]
"""`learning_rate -> optimiser`, such as `optax.sgd` or `optax.adam`."""

History = dict[str, np.ndarray]
"""Curves by epoch: `"train_loss"` and, with a validation part, `"val_loss"` in nats, and
the metrics asked for as `"val_" + name`; and the curves of `Diagnostics`."""


class Data(NamedTuple):
    """Training part, and validation part if there is one.

    Attributes:
      X: Features, `(n, p)`, or `(n, p + 1)` with a last column of ones for the
        library's own gradient; in the type to multiply in.
      y: Labels in {0, 1}, `(n,)`, in the parameters' type.
      sample_weight: `(n,)` or None.
      X_val: `(n_val, p)` or None.
      y_val: `(n_val,)` or None.
      val_weight: Weights of the validation part by label, `(n_val,)` or None.
    """

    X: jax.Array
    y: jax.Array
    sample_weight: jax.Array | None
    X_val: jax.Array | None
    y_val: jax.Array | None
    val_weight: jax.Array | None


class Settings(NamedTuple):
    """What the compiled program is specialised to.

    Attributes:
      optimizer: An optimiser, or what makes one from `Hyper.learning_rate`.
      gradient_fn: Loss and gradient of a mini-batch.
      plan: How epochs are cut into mini-batches.
      patience: Epochs without a better validation loss after which a run stops, or None.
      metrics: Names and functions of what is measured on the validation part.
      penalize_bias: Whether the L2 penalty is on the biases too.
      diagnostics: What to record of the examples' gradients, or None; needs a gradient
        function that returns norms.
      dropout: Shares of units that a step leaves out, or None; needs the library's own
        gradient.
      penalize_once: Whether the L2 penalty counts once a mini-batch (see `penalized`).
        The loss of an epoch is then scikit-learn's: with the penalty, and the mean over
        mini-batches by their numbers of examples, whatever the weights of these.
      grows_patient: Whether a run goes on for half as many epochs as the best took, where
        that is more than `patience`.
      mesh: Devices that share out the rows of each mini-batch, or None.
    """

    optimizer: optax.GradientTransformation | OptimizerFactory
    gradient_fn: GradientFn
    plan: Plan | PoissonPlan
    patience: int | None
    metrics: tuple[tuple[str, MetricFn], ...]
    penalize_bias: bool
    diagnostics: Diagnostics | None = None
    dropout: Dropout | None = None
    penalize_once: bool = False
    grows_patient: bool = False
    mesh: Mesh | None = None


class Hyper(NamedTuple):
    """Numbers that one compiled program takes many values of.

    Attributes:
      learning_rate: Step size for an optimiser factory, `()`, or None.
      l2: Strength of the L2 penalty, `()`, or None for no penalty.
      dropout_key: JAX random key of the units left out, or None without dropout.
    """

    learning_rate: jax.Array | None
    l2: jax.Array | None
    dropout_key: jax.Array | None = None


class BestEpoch(NamedTuple):
    """Epoch with the lowest validation loss so far.

    Attributes:
      params: Parameters at its end.
      epoch: Its number, counted from 1; 0 as long as no epoch had a finite loss.
      val_loss: Its validation loss in nats, `()`.
    """

    params: Params
    epoch: jax.Array
    val_loss: jax.Array


class RunState(NamedTuple):
    """Everything that a run carries from epoch to epoch.

    Attributes:
      params: Parameters after the last epoch.
      opt_state: State of the optimiser.
      history: Curves, each `(n_epochs,)`; NaN where not yet run. `"train_loss"` is the
        mean loss of the epoch's steps, each taken before its update and without penalty.
      best: None without a validation part.
    """

    params: Params
    opt_state: optax.OptState
    history: dict[str, jax.Array]
    best: BestEpoch | None


def make_optimizer(settings: Settings, hyper: Hyper) -> optax.GradientTransformation:
    """The optimiser itself, made from the step size where settings hold a factory."""
    if isinstance(settings.optimizer, optax.GradientTransformation):
        return settings.optimizer
    return settings.optimizer(hyper.learning_rate)


def dropout_key(key_data: ArrayLike, settings: Settings) -> jax.Array | None:
    """The key of the units left out, from that of a run, whose orders NumPy draws."""
    if settings.dropout is None:
        return None
    words = np.ravel(key_data).astype(np.uint32)  # their number depends on the kind of key
    start = jax.random.key(0, impl="threefry2x32")
    return functools.reduce(jax.random.fold_in, words, start)


def start_run(
    params: Params,
    opt_state: optax.OptState,
    settings: Settings,
    *,
    has_validation: bool,
) -> RunState:
    """State before the first epoch.

    Traced: what `jax.jit` returns are new arrays, which the program may take over.
    """
    dtype = params[0].w.dtype
    names = ["train_loss"]
    if settings.diagnostics is not None:
        names += settings.diagnostics.names
    best = None
    if has_validation:
        names += ["val_loss", *(f"val_{name}" for name, _ in settings.metrics)]
        best = BestEpoch(params, jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, dtype))
    history = {name: jnp.full((settings.plan.n_epochs,), jnp.nan, dtype) for name in names}
    return RunState(params, opt_state, history, best)


def history_of(state: RunState, n_done: int) -> History:
    """Copies the curves of the first `n_done` epochs to the host."""
    return {
        name: np.asarray(curve)[..., :n_done].copy()
        for name, curve in state.history.items()
    }
