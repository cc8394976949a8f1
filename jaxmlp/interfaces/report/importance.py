"""How much a model's predictions rest on each column: permutation importance."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxmlp.core import Params, forward
from jaxmlp.interfaces.model import Model

MOST_SHOWN = 20
N_REPEATS = 3
_MOST_ROWS = 2048
_SCREENED = 60  # columns with more repeats and rows; beyond, a quick look decides which
_SCREENING_ROWS = 256


class Importance(NamedTuple):
    """Rise of the mean log loss when a column's values are shuffled among the rows.

    Attributes:
      columns: `name`, `increase` (the mean over the repeats) and `spread` (their standard
        deviation), most important first, at most 20.
      n_rows: Rows that were shuffled.
      n_repeats: How often.
      n_screened: Columns that were left out after a quick look.
    """

    columns: list[dict[str, Any]]
    n_rows: int
    n_repeats: int
    n_screened: int


def permutation_importance(
    rng: np.random.Generator,
    model: Model,
    X: NDArray[np.floating],
    y: NDArray[np.int32],
) -> Importance:
    """Measures the importance of each column of the table.

    All inputs that a column makes are shuffled together.

    Args:
      rng: Shuffles.
      model: The model.
      X: Its inputs of the shown rows, `(n, p)`.
      y: Their labels.

    Source:
      Breiman (2001), "Random forests"; Fisher, Rudin and Dominici (2019),
      arXiv 1801.01489.
    """
    rows = rng.permutation(len(y))[:_MOST_ROWS]
    blocks = _blocks(model)
    names = [rule.name for rule in model.preprocessor.rules]
    kept = np.arange(len(blocks))
    if len(blocks) > _SCREENED:
        some = rows[:_SCREENING_ROWS]
        quick = _increases(rng, model.networks, X[some], y[some], blocks, n_repeats=1)
        kept = np.argsort(-quick[:, 0], kind="stable")[:_SCREENED]
    chosen = [blocks[j] for j in kept]
    found = _increases(rng, model.networks, X[rows], y[rows], chosen, N_REPEATS)
    means = found.mean(axis=1)
    columns = [
        {
            "name": names[kept[j]],
            "increase": float(means[j]),
            "spread": float(found[j].std()),
        }
        for j in np.argsort(-means, kind="stable")[:MOST_SHOWN]
    ]
    return Importance(columns, len(rows), N_REPEATS, len(blocks) - len(kept))


def _blocks(model: Model) -> list[slice]:
    """Where each column's inputs stand."""
    sizes = [len(rule.input_names) for rule in model.preprocessor.rules]
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _increases(
    rng: np.random.Generator,
    networks: Params,
    X: NDArray[np.floating],
    y: NDArray[np.int32],
    blocks: list[slice],
    n_repeats: int,
) -> NDArray[np.float64]:
    """Rise of the loss for each column and repeat, `(len(blocks), n_repeats)`.

    The first layer is linear: what a shuffled block changes is added to its output.
    """
    w, b = np.asarray(networks[0].w), np.asarray(networks[0].b)
    k, p, q = w.shape
    beside = w.transpose(1, 0, 2).reshape(p, k * q)  # one product for all the networks
    X = X.astype(w.dtype)
    output = X @ beside + b.reshape(1, k * q)
    shape, rest = (len(X), k, q), networks[1:]
    base = _loss(rest, output.reshape(shape), y)
    found = np.empty((len(blocks), n_repeats))
    for j, block in enumerate(blocks):
        for repeat in range(n_repeats):
            part = X[:, block]
            change = rng.permutation(part) - part
            shuffled = output + change @ beside[block]
            found[j, repeat] = _loss(rest, shuffled.reshape(shape), y) - base
    return found


def _loss(rest: Params, output: NDArray[np.floating], y: NDArray[np.int32]) -> float:
    return float(np.asarray(_losses(rest, output, y), np.float64).mean())


@jax.jit
def _losses(rest: Params, output: jax.Array, y: jax.Array) -> jax.Array:
    r"""Loss of the averaged probability, given the first layer's output `(n, k, q)`.

    $$
    \log k - \log \sum_j \exp \log \sigma(\pm z_j)
    $$
    """
    z = output[:, :, 0].T
    if rest:
        z = jax.vmap(forward, (0, 1))(rest, jax.nn.relu(output))
    sign = (2 * y - 1).astype(z.dtype)[None, :]
    likely = jax.nn.logsumexp(jax.nn.log_sigmoid(sign * z), axis=0)
    return jnp.log(jnp.asarray(z.shape[0], z.dtype)) - likely
