"""Gradients of a model's loss on each row of a table."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jaxmlp.core import Params, bce_with_logits, ensemble_logits
from jaxmlp.core.factors import augment_features, logit_factors_augmented
from jaxmlp.data.labels import as_text
from jaxmlp.gradients import map_blocks, noise_scale_of, norms, weighted_sum
from jaxmlp.interfaces.model import Model, check_finite

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class RowGradients(NamedTuple):
    """What `jaxmlp gradients` finds.

    Attributes:
      table: A row for each row of the data, in its order.
      y: Labels in {0, 1}, `(n,)`.
      summary: What is printed, as JSON values.
    """

    table: pa.Table
    y: NDArray[np.int32]
    summary: dict[str, Any]


def row_gradients(model: Model, table: pa.Table) -> RowGradients:
    """Computes norms and scores of each row, and the gradient noise scale.

    Args:
      model: A trained model.
      table: The model's columns, and the target.

    Raises:
      DataError: A needed column is missing or holds what cannot be used.
    """
    X, y = model.features(table), model.labels(table)
    found = map_blocks(_of_block, model.networks, X, y, block_size=4096)
    n = len(y)
    lengths = np.asarray(found["norm"], float)
    check_finite(lengths, "gradient")
    columns = {"row": np.arange(n)}
    columns |= {name: found[name] for name in ("norm", "loss", "el2n", "grand")}
    columns |= {f"norm_layer_{i + 1}": column for i, column in enumerate(found["layers"].T)}
    sums = [
        np.asarray(leaf, float).sum(axis=0) / n for leaf in jax.tree.leaves(found["sums"])
    ]
    moments = (float((lengths**2).mean()), float(sum((s**2).sum() for s in sums)))
    summary = {
        "rows": n,
        "norm_quantiles": {
            f"{q:g}": float(value)
            for q, value in zip(QUANTILES, np.quantile(lengths, QUANTILES), strict=True)
        },
        "median_norm_by_class": {
            as_text(label): float(np.median(lengths[y == code]))
            if (y == code).any()
            else None
            for code, label in enumerate(model.classes)
        },
        **_noise_scale(*moments, n),
    }
    return RowGradients(pa.table(columns), y, summary)


def _noise_scale(
    mean_squared_norm: float, squared_norm_of_mean: float, n: int
) -> dict[str, float | None]:
    if n < 2:
        return {"noise_scale": None}
    found = noise_scale_of(
        jnp.asarray(mean_squared_norm), jnp.asarray(squared_norm_of_mean), n
    )
    values = {name: float(value) for name, value in found._asdict().items()}
    return {name: v if np.isfinite(v) else None for name, v in values.items()}


@jax.jit
def _of_block(networks: Params, X: ArrayLike, y: ArrayLike) -> dict[str, Any]:
    r"""Rows' quantities, and the sum of their gradients with a leading axis of 1.

    The loss is that of the averaged probability, whose derivative by member k's logit is

    $$
    -\frac{\hat y_k}{\sum_j \hat y_j} (1 - \hat y_k) \text{ for } y = 1, \quad
    \frac{1 - \hat y_k}{\sum_j (1 - \hat y_j)} \hat y_k \text{ for } y = 0
    $$
    """
    y = jnp.asarray(y, networks[0].w.dtype)
    z, factors = jax.vmap(
        lambda params: logit_factors_augmented(params, augment_features(params, X))
    )(networks)
    sign = 1 - 2 * y[None, :]  # of the logits, which then count for the wrong label
    errors = jax.nn.sigmoid(sign * z)  # |probability - y| without its cancellation
    delta = sign * jax.nn.softmax(jax.nn.log_sigmoid(-sign * z), 0) * errors
    lengths = jax.vmap(lambda f: norms(f, per_layer=True))(factors)  # (k, L, n), of logits
    layers = _length(jnp.abs(delta)[:, None, :] * lengths, axis=0)
    sums = jax.vmap(weighted_sum)(factors, delta)
    return {
        "norm": _length(layers, axis=0),
        "loss": bce_with_logits(ensemble_logits(networks, X), y),
        "el2n": jnp.mean(errors, axis=0),
        "grand": jnp.mean(errors * _length(lengths, axis=1), axis=0),
        "layers": layers.T,
        "sums": jax.tree.map(lambda leaf: leaf[None], sums),
    }


def _length(parts: jax.Array, axis: int) -> jax.Array:
    """Norm of parts by an axis, whose squares may underflow."""
    greatest = jnp.max(parts, axis=axis, keepdims=True)
    unit = jnp.where(greatest > 0, greatest, 1)
    sums = jnp.sum((parts / unit) ** 2, axis=axis)
    return jnp.squeeze(unit, axis) * jnp.sqrt(sums)
