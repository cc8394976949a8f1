"""What a reader's functions are tried on, and how their results are judged."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmlp.core.params import Layer, Params


class Trial(NamedTuple):
    """What a reader's function is called with.

    Attributes:
      params: A network with one hidden layer, `(p, q, 1)`.
      X: Features, `(s, p)`.
      y: Labels, `(s,)`, both of them where s allows it.
    """

    params: Params
    X: jax.Array
    y: jax.Array


def draw_trial(p: int, q: int, s: int) -> Trial:
    """Draws a trial; of these sizes always the same, in float32.

    Where q > 1, the last hidden unit has a = 0 in every example, at which ReLU's derivative
    is taken to be 0.
    """
    keys = jax.random.split(jax.random.key(1000 * p + 100 * q + s), 5)
    shapes = ((p, q), (q,), (q, 1), (1,), (s, p))
    W1, b1, W2, b2, X = (
        jax.random.normal(key, shape, jnp.float32)
        for key, shape in zip(keys, shapes, strict=True)
    )
    # Of both signs, so that none is lost unseen.
    W2 = jnp.abs(W2) * (-1) ** jnp.arange(q, dtype=jnp.float32)[:, None]
    if q > 1:
        W1, b1 = W1.at[:, -1].set(0), b1.at[-1].set(0)
    # Not as many ones as zeros: turned labels would leave the mean of ŷ - y as it is.
    y = (jnp.arange(s) % 3 == 1).astype(jnp.float32)
    return Trial((Layer(W1, b1), Layer(W2, b2)), X, y)


def same(a: jax.Array, b: jax.Array) -> bool:
    """Whether two arrays agree in shape, and to what float32 gives."""
    return a.shape == b.shape and bool(jnp.allclose(a, b, rtol=1e-4, atol=1e-6))


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a reader's function; what it raises becomes an AssertionError.

    Raises:
      AssertionError: It raises, or returns None.
    """
    try:
        returned = function(*arguments)
    except Exception as error:
        raise AssertionError(f"your function stops{_where(error)}") from error
    if returned is None:
        raise AssertionError("your function returns None; it is still to be written")
    return returned


def _where(error: Exception) -> str:
    """The reader's line that raised, and what."""
    _, *frames = traceback.extract_tb(error.__traceback__)
    line = frames[0].line if frames else None
    first_line = str(error).strip().partition("\n")[0]
    return f"{f' at `{line}`' if line else ''}: {type(error).__name__}: {first_line}"


def take_arrays(returned: Any, names: Sequence[str]) -> list[jax.Array]:
    """What a function returned, by position or by name, as float32 arrays."""
    if isinstance(returned, Mapping):
        missing = [name for name in names if name not in returned]
        if missing:
            raise AssertionError(f"your function returns no {', '.join(missing)}")
        returned = [returned[name] for name in names]
    try:
        arrays = [_real(value) for value in returned]
    except (TypeError, ValueError) as error:
        raise AssertionError(
            f"your function must return the arrays {', '.join(names)} ({error})"
        ) from error
    if len(arrays) != len(names):
        raise AssertionError(
            f"your function must return the {len(names)} arrays {', '.join(names)}, not "
            f"{len(arrays)}"
        )
    return arrays


def take_params(returned: Any) -> dict[str, jax.Array]:
    """What a function returned in the structure of `params`, by the lecture's names."""
    try:
        (W1, b1), (W2, b2) = returned
        arrays = {"W2": W2, "b2": b2, "W1": W1, "b1": b1}
        return {name: _real(array) for name, array in arrays.items()}
    except (TypeError, ValueError) as error:
        raise AssertionError(
            "your function must return ((W1, b1), (W2, b2)), the structure of params, not "
            f"{type(returned).__name__} ({error})"
        ) from error


def _real(value: Any) -> jax.Array:
    array = jnp.asarray(value)
    if jnp.iscomplexobj(array):
        raise TypeError("complex numbers")
    return array.astype(jnp.float32)


def judge(title: str, actual: jax.Array, expected: jax.Array) -> None:
    """Raises AssertionError unless the two agree; says how they differ."""
    if same(actual, expected):
        return
    if actual.shape != expected.shape:
        hint = "; a transpose is missing" if actual.shape == expected.shape[::-1] else ""
        words = f"the shape is {actual.shape}, not {expected.shape}{hint}"
    elif not bool(jnp.isfinite(actual).all()):
        words = NOT_FINITE
    elif same(actual, -expected):
        words = "the sign is turned"
    else:
        words = f"yours is {_shown(actual)}, it should be {_shown(expected)}"
    raise AssertionError(f"{title}: {words}")


NOT_FINITE = "there are numbers that are not finite"


def _shown(array: jax.Array) -> str:
    return ", ".join(f"{value:.4g}" for value in array.ravel().tolist())
