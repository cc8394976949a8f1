"""Checks of all else that a caller gives, before anything is compiled."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxmlp.core import Params, loss_and_grads_augmented
from jaxmlp.core.dropout import Dropout
from jaxmlp.core.validate import check_count, check_layers, check_number
from jaxmlp.training.diagnostics import (
    Diagnostics,
    check_diagnostics,
    loss_grads_and_norms,
)
from jaxmlp.training.objective import GradientFn
from jaxmlp.training.orders import Plan, round_up
from jaxmlp.training.places import Place, check_mesh, whole
from jaxmlp.training.state import MetricFn, OptimizerFactory, Settings


def check_params(params: Params) -> tuple[int, np.dtype[Any]]:
    """Returns the parameters' input width and type, or raises ValueError."""
    sizes = check_layers(params)
    dtypes = {array.dtype for array in jax.tree.leaves(params)}
    dtype = np.dtype(dtypes.pop())
    if dtypes or dtype not in (np.float32, np.float64):
        found = ", ".join(sorted(str(d) for d in {dtype, *dtypes}))
        raise ValueError(
            f"params must be all float32 or all float64, not {found}: steps much smaller "
            'than a weight would be lost (compute_dtype="bfloat16" multiplies in less)'
        )
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(
            "params are float64, which JAX has switched off: set jax_enable_x64, or run in "
            "`with jax.enable_x64(True):`"
        )
    return sizes[0], dtype


def check_key(key: jax.Array) -> jax.Array:
    """Returns the key's data, `(n_words,)`, or raises ValueError unless it is one key."""
    try:
        data = jax.random.key_data(key)
    except TypeError:
        data = None
    if data is None or data.ndim != 1:
        raise ValueError(
            f"key must be one JAX random key, as jax.random.key(0) makes, not {key!r}"
        )
    return data


def check_optimizer(optimizer: object) -> None:
    """Raises ValueError unless it is an optax optimiser."""
    if not isinstance(optimizer, optax.GradientTransformation):
        raise ValueError(
            "optimizer must be an optax optimiser such as optax.sgd(0.1) (of "
            f"optax.MultiSteps, its gradient_transformation()), not {optimizer!r}"
        )


def check_opt_state(
    opt_state: optax.OptState, params: Params, optimizer: optax.GradientTransformation
) -> None:
    """Raises ValueError unless the optimiser could have this state for these params."""
    wanted = jax.eval_shape(optimizer.init, params)
    same = str(jax.tree.structure(wanted)) == str(jax.tree.structure(opt_state)) and all(
        (np.shape(a), jnp.result_type(a)) == (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(opt_state), jax.tree.leaves(wanted), strict=True)
    )
    if not same:
        raise ValueError("opt_state does not belong to this optimizer and these params")


def find_device(device: jax.Device | str | None) -> jax.Device | None:
    """Returns the device that is meant, or raises ValueError if JAX does not have it."""
    if device is None or isinstance(device, jax.Device):
        return device
    if not isinstance(device, str):
        raise ValueError(f"device must be a JAX device or its name, not {device!r}")
    platform, _, number = device.partition(":")
    try:
        return jax.devices(platform)[int(number or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        found = ", ".join(sorted({d.platform for d in jax.devices()}))
        raise ValueError(
            f"device {device!r} is not to be had; JAX sees: {found} (an accelerator needs "
            "its extra, such as jaxmlp[cuda13])"
        ) from error


def find_place(device: jax.Device | str | None, mesh: Mesh | None) -> Place:
    """Returns where training is to be, or raises ValueError naming what is wrong."""
    if mesh is None:
        return find_device(device)
    if device is not None:
        raise ValueError("device and mesh are both given: leave one of them out")
    return whole(check_mesh(mesh))


def make_settings(
    n_samples: int,
    *,
    has_validation: bool,
    optimizer: optax.GradientTransformation | OptimizerFactory,
    gradient_fn: GradientFn | None,
    n_epochs: int,
    batch_size: int,
    drop_last: bool,
    patience: int | None,
    metrics: Mapping[str, MetricFn] | None,
    penalize_bias: bool,
    diagnostics: Diagnostics | None = None,
    dropout: Dropout = Dropout(),  # noqa: B008 (a tuple, which nothing can change)
    mesh: Mesh | None = None,
) -> Settings:
    """Validates what the compiled program is specialised to.

    Raises:
      ValueError: Names the argument and says what is wrong with it.
    """
    for name, value in {"patience": patience, "metrics": metrics}.items():
        if value is not None and not has_validation:
            raise ValueError(f"{name} needs a validation part: give X_val and y_val")
    batch_size = check_count("batch_size", batch_size)
    plan = Plan(
        n_samples=n_samples,
        batch_size=_places(batch_size, n_samples, 1 if mesh is None else mesh.size),
        n_epochs=check_count("n_epochs", n_epochs),
        # Places left empty for the devices' sake make no mini-batch smaller.
        drop_last=drop_last and batch_size < n_samples,
    )
    # The data have their column of ones for the library's own gradients only.
    own = loss_and_grads_augmented if diagnostics is None else loss_grads_and_norms
    return Settings(
        optimizer=optimizer,
        gradient_fn=gradient_fn or own,
        plan=plan,
        patience=None if patience is None else check_count("patience", patience),
        metrics=_check_metrics(metrics),
        penalize_bias=penalize_bias,
        diagnostics=None if diagnostics is None else check_diagnostics(diagnostics),
        dropout=_check_dropout(dropout, gradient_fn, diagnostics),
        mesh=mesh,
    )


def _places(batch_size: int, n_samples: int, n_devices: int) -> int:
    """Places of a mini-batch, the same number on each device."""
    if batch_size >= n_samples:
        return round_up(n_samples, n_devices)
    if batch_size % n_devices:
        near = round_up(batch_size, n_devices)
        raise ValueError(
            f"batch_size must be a multiple of {n_devices}, as the {n_devices} devices of "
            f"the mesh share out each mini-batch evenly, such as {near}, not {batch_size}"
        )
    return batch_size


def _check_dropout(
    dropout: Dropout, gradient_fn: GradientFn | None, diagnostics: Diagnostics | None
) -> Dropout | None:
    most = 0.99  # the shares are rounded to 1/256
    shares = Dropout(
        *(
            check_number(name, share, f"from 0 to {most}", lambda s: 0 <= s <= most)
            for name, share in zip(("dropout", "input_dropout"), dropout, strict=True)
        )
    )
    if shares == Dropout():
        return None
    for name, other in {"gradient_fn": gradient_fn, "diagnostics": diagnostics}.items():
        if other is not None:
            raise ValueError(f"{name} does not go with dropout; leave one of them out")
    return shares


def _check_metrics(
    metrics: Mapping[str, MetricFn] | None,
) -> tuple[tuple[str, MetricFn], ...]:
    if metrics is None:
        return ()
    if not isinstance(metrics, Mapping) or not all(map(callable, metrics.values())):
        raise ValueError(
            "metrics must be functions (logits, y) -> scalar by name, such as "
            f"{{'accuracy': accuracy}}, not {metrics!r}"
        )
    if "loss" in metrics:
        raise ValueError("metrics: 'loss' is measured anyway; give yours another name")
    return tuple(metrics.items())


def check_l2(name: str, l2: Any) -> float:
    """Returns the penalty as a float, or raises ValueError unless finite and from 0."""
    most = float(np.finfo(np.float32).max)
    return check_number(name, l2, "a finite number from 0", lambda x: 0 <= x < most)
