"""The estimator's parameters, checked when `fit` begins, as scikit-learn's are."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxmlp.core.validate import check_count, check_number
from jaxmlp.interfaces.estimators.epochs import LBFGS, Rules
from jaxmlp.interfaces.estimators.updates import Adam, Momentum

_CHOICES = {
    "solver": ("adam", "sgd", "lbfgs"),
    "learning_rate": ("constant", "invscaling", "adaptive"),
    "init": ("sklearn", "he", "xavier"),
}
_COUNTS = ("max_iter", "max_fun", "n_ensemble")
_FLAGS = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping")
_NUMBERS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "alpha": ("a finite number from 0", lambda x: 0 <= x < math.inf),
    "learning_rate_init": ("a positive number", lambda x: 0 < x < math.inf),
    "power_t": ("a finite number from 0", lambda x: 0 <= x < math.inf),
    "tol": ("a number from 0", lambda x: x >= 0),
    "momentum": ("a number from 0 to 1", lambda x: 0 <= x <= 1),
    "validation_fraction": ("a number from 0 and below 1", lambda x: 0 <= x < 1),
    "beta_1": ("a number from 0 and below 1", lambda x: 0 <= x < 1),
    "beta_2": ("a number from 0 and below 1", lambda x: 0 <= x < 1),
    "epsilon": ("a positive number", lambda x: 0 < x < math.inf),
}


def check_options(estimator: Any) -> None:
    """Refuses parameters that mean nothing.

    Raises:
      ValueError: Names the parameter and says what it must be.
    """
    if estimator.activation != "relu":
        raise ValueError(
            "activation must be 'relu', the one that the backward pass is written for, "
            f"not {estimator.activation!r}"
        )
    for name, choices in _CHOICES.items():
        check_choice(name, getattr(estimator, name), choices)
    for name in _COUNTS:
        check_count(name, getattr(estimator, name))
    for name, (wanted, is_right) in _NUMBERS.items():
        check_number(name, getattr(estimator, name), wanted, is_right)
    for name in _FLAGS:
        if not isinstance(getattr(estimator, name), bool | np.bool_):
            raise ValueError(
                f"{name} must be True or False, not {getattr(estimator, name)!r}"
            )
    if estimator.n_iter_no_change != math.inf:
        check_count("n_iter_no_change", estimator.n_iter_no_change)
    if not (isinstance(estimator.batch_size, str) and estimator.batch_size == "auto"):
        check_count("batch_size", estimator.batch_size)
    hidden_sizes(estimator.hidden_layer_sizes)
    check_device(estimator.device)


def check_device(device: object) -> None:
    """Refuses JAX's devices themselves, which cannot be copied and pickled."""
    if device is not None and not isinstance(device, str):
        raise ValueError(f"device must be a name, such as 'cpu' or 'gpu:1', not {device!r}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises ValueError unless the value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}, not {value!r}")


def hidden_sizes(value: Any) -> tuple[int, ...]:
    """Widths of the hidden layers, of a number or a sequence of numbers.

    Raises:
      ValueError: A width is not a positive whole number.
    """
    widths = (
        value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    )
    return tuple(check_count("hidden_layer_sizes", width) for width in widths)


def rules_of(estimator: Any, *, max_iter: int) -> Rules:
    """The rules that the parameters stand for."""
    is_sgd = estimator.solver == "sgd"
    return Rules(
        max_iter=max_iter,
        tol=float(estimator.tol),
        n_iter_no_change=float(estimator.n_iter_no_change),
        max_fun=int(estimator.max_fun),
        schedule=estimator.learning_rate if is_sgd else "constant",
        learning_rate_init=float(estimator.learning_rate_init),
        power_t=float(estimator.power_t),
        shuffle=bool(estimator.shuffle),
        verbose=bool(estimator.verbose),
    )


def optimizer_of(estimator: Any) -> Any:
    """The optimiser, or what makes one from a step size; equal for equal parameters."""
    if estimator.solver == "lbfgs":
        return LBFGS
    if estimator.solver == "sgd":
        return Momentum(float(estimator.momentum), bool(estimator.nesterovs_momentum))
    return Adam(float(estimator.beta_1), float(estimator.beta_2), float(estimator.epsilon))
