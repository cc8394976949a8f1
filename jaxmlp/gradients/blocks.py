"""Functions of rows, applied to any number of them in bounded memory."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxmlp.core.params import Params
from jaxmlp.core.validate import check_count
from jaxmlp.gradients.validate import check_examples, check_shapes


def map_blocks(
    function: Callable[..., Any],
    params: Params,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    block_size: int = 8192,
) -> Any:
    """Applies a function of rows block by block and joins what it returns.

    In memory at a time: one block's factors, and the results. X may be a NumPy memory map.

    Args:
      function: `(params, X, y) -> arrays`, or `(params, X)` without y: any pytree of
        arrays that have a leading axis, compiled once for the blocks' size and once for
        the last block's. Reuse the function in repeated calls.
      params: Network parameters.
      X: Features, `(n, p)`, finite.
      y: Labels in {0, 1}, `(n,)`, or None.
      block_size: Rows at a time.

    Returns:
      NumPy arrays, joined along their first axis: `(n,)` for one number an example. (A
      sum over examples, given a leading axis of 1, comes back as one sum a block.)

    Raises:
      ValueError: X or y is not what it should be; names the row.

    Examples:
      >>> import jax, numpy as np
      >>> from jaxmlp import init_params
      >>> from jaxmlp.gradients import loss_factors, map_blocks, norms
      >>> def f(params, X, y):
      ...     return norms(loss_factors(params, X, y))
      >>> params = init_params(jax.random.key(0), (2, 1))
      >>> map_blocks(f, params, np.ones((5, 2)), np.zeros(5), block_size=2).shape
      (5,)
    """
    X = np.asarray(X) if not isinstance(X, np.memmap) else X
    rows = (X,) if y is None else (X, np.asarray(y))
    check_shapes(*rows)
    block_size = check_count("block_size", block_size)
    compiled = jax.jit(function)
    results = []
    for start in range(0, X.shape[0], block_size):
        block = [r[start : start + block_size] for r in rows]
        check_examples(*block, first_row=start)
        results.append(jax.device_get(compiled(params, *block)))
        shapes = [np.shape(array) for array in jax.tree.leaves(results[-1])]
        if () in shapes:
            raise ValueError(
                "function must return arrays with a leading axis, such as one number an "
                f"example, not of shapes {shapes}; give a sum one with [None]"
            )
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)
