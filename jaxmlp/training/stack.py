"""Several networks of any widths and depths as one pytree, put together on the host."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jaxmlp.core import Layer, Params


def stack_params(networks: Sequence[Params]) -> Params:
    r"""Stacks networks of any widths and depths along a new leading axis.

    Narrow layers are widened by units whose weights and biases are all zero. Such a unit
    gives 0 and has a zero gradient, in and out, because the derivative of ReLU at 0 is
    taken as 0; so it stays zero under every optimiser, and the padded network computes
    and learns what the narrow one does. Shallow networks are deepened by layers that
    change nothing: the identity on activations, which are never negative, and
    $u = \max(0, u) - \max(0, -u)$ on the logit of a network without hidden layers.
    A deepened network computes the same but does not learn the same. "The same" is up to
    rounding: a sum over more units is grouped otherwise, which in float32 changes a logit
    by about 1e-7 of the largest.

    Runs on the host, not under `jit`. `ensemble_proba` takes the stack as one classifier.

    Args:
      networks: k networks with the same input width and floating-point type.

    Returns:
      Parameters with leading axis k, weights `(k, d_in, d_out)`, biases `(k, d_out)`.

    Raises:
      ValueError: There is no network, or their inputs or types differ.

    Examples:
      >>> import jax
      >>> from jaxmlp import init_params
      >>> sizes = [(3, 1), (3, 4, 1), (3, 8, 1)]
      >>> stacked = stack_params([init_params(jax.random.key(0), s) for s in sizes])
      >>> [layer.w.shape for layer in stacked]
      [(3, 3, 8), (3, 8, 1)]
    """
    dtypes = {array.dtype for array in jax.tree.leaves(networks)}
    if len(dtypes) > 1:
        raise ValueError(f"networks must be of one floating-point type, not of {dtypes}")
    depth = max((len(params) for params in networks), default=0)
    deep = [_deepen(params, depth) for params in networks]
    widths = [[layer.b.shape[0] for layer in params[:-1]] for params in deep]
    return jax.device_put(stack_on_host(deep, [max(w) for w in zip(*widths, strict=True)]))


def stack_on_host(networks: Sequence[Params], hidden_sizes: Sequence[int]) -> Params:
    """Stacks networks of the same depth in NumPy arrays, without compiling anything.

    Args:
      networks: k networks of the same input width and number of layers.
      hidden_sizes: Widths to pad to.

    Returns:
      NumPy arrays with leading axis k, in the structure of `Params`.

    Raises:
      ValueError: There is no network, or their inputs differ.
    """
    inputs = {params[0].w.shape[0] for params in networks}
    if len(inputs) != 1:
        raise ValueError(
            f"networks must be at least one, all of the same input width, not {inputs}"
        )
    d_ins, d_outs = (*inputs, *hidden_sizes), (*hidden_sizes, 1)
    return tuple(
        Layer(
            w=_pad_and_stack([layer.w for layer in layers], (d_in, d_out)),
            b=_pad_and_stack([layer.b for layer in layers], (d_out,)),
        )
        for layers, d_in, d_out in zip(
            zip(*networks, strict=True), d_ins, d_outs, strict=True
        )
    )


def cut_params(params: Params, hidden_sizes: Sequence[int]) -> Params:
    """Takes the padding off a network.

    Args:
      params: Network whose hidden layers have at least `hidden_sizes` units.
      hidden_sizes: Widths to keep, the first units of each layer.

    Returns:
      Parameters of the narrow network.
    """
    d_ins, d_outs = (params[0].w.shape[0], *hidden_sizes), (*hidden_sizes, 1)
    return tuple(
        # Cut on the host: each shape of slice would be one more program on the device.
        _layer(np.asarray(layer.w)[:d_in, :d_out], np.asarray(layer.b)[:d_out])
        for layer, d_in, d_out in zip(params, d_ins, d_outs, strict=True)
    )


def _deepen(params: Params, n_layers: int) -> Params:
    while len(params) < n_layers:
        *hidden, output = params
        w, b = np.asarray(output.w), np.asarray(output.b)
        width = w.shape[0]
        if hidden:
            identity = _layer(np.eye(width, dtype=w.dtype), np.zeros((width,), w.dtype))
            params = (*hidden, identity, output)
        else:
            both_signs = _layer(np.concatenate([w, -w], axis=1), np.concatenate([b, -b]))
            difference = _layer(np.array([[1], [-1]], w.dtype), np.zeros((1,), w.dtype))
            params = (both_signs, difference)
    return params


def _layer(w: NDArray[Any], b: NDArray[Any]) -> Layer:
    # Unlike jnp.asarray, device_put compiles nothing.
    return Layer(*jax.device_put((w, b)))


def _pad_and_stack(arrays: Sequence[ArrayLike], shape: tuple[int, ...]) -> Any:
    host = [np.asarray(array) for array in arrays]
    stacked = np.zeros((len(host), *shape), host[0].dtype)
    for block, array in zip(stacked, host, strict=True):
        block[tuple(slice(size) for size in array.shape)] = array
    return stacked
