"""The rows that a model was trained on, found again in its table."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jaxmlp.analysis import evidence
from jaxmlp.analysis.curvature import MEMORY_LIMIT, NoSolverFitsError
from jaxmlp.core import Params
from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError
from jaxmlp.data.fingerprint import fingerprint
from jaxmlp.interfaces.model import Model


class TrainingPart(NamedTuple):
    """What the networks of a model were trained on.

    Attributes:
      X: Network input of all rows that trained one of them, `(n, p)`, float64.
      y: Labels in {0, 1}, `(n,)`.
      weight: Sample weights that give both labels their weight, `(n,)`, or None.
      rows: Their numbers in the table, `(n,)`.
    """

    X: NDArray[np.float64]
    y: NDArray[np.int32]
    weight: NDArray[np.float64] | None
    rows: NDArray[np.int64]

    def used_by(
        self, uses: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64] | None]:
        """X, y and weight of some of the rows."""
        weight = None if self.weight is None else self.weight[uses]
        return self.X[uses], self.y[uses], weight


class Member(NamedTuple):
    """One network of a model, in float64.

    Attributes:
      params: Its parameters.
      uses: Which rows of the training part it was trained on, `(n,)`.
      l2: Strength of the penalty for its analysis.
      is_chosen: Whether l2 was chosen by the marginal likelihood, because it was trained
        with none.
    """

    params: Params
    uses: NDArray[np.bool_]
    l2: float
    is_chosen: bool


def find_training_part(model: Model, table: pa.Table) -> TrainingPart:
    """Takes the training rows out of the table that the model was trained on.

    Raises:
      DataError: It is another table, or the model keeps no record of its own.
    """
    origin = model.origin
    if origin is None:
        raise DataError(
            "the model keeps no record of its training rows: it was trained privately, "
            "on a stream, or by an earlier version"
        )
    columns = decode(table, model.preprocessor.kinds)
    y = model.labels(table)
    n = origin.is_training.shape[1]
    if len(y) != n:
        raise DataError(
            f"not the table that the model was trained on: it has {len(y)} rows, and that "
            f"one had {n}"
        )
    if fingerprint(columns, y) != origin.fingerprint:
        raise DataError(
            "not the table that the model was trained on: values, labels or the order of "
            "the rows differ"
        )
    rows = np.flatnonzero(origin.is_training.any(axis=0))
    labels = y[rows]
    weight = None
    if origin.class_weight == "balanced":
        weight = (len(rows) / (2 * np.bincount(labels, minlength=2)))[labels]
    X = model.preprocessor.encode(columns)[rows].astype(np.float64)
    return TrainingPart(X, labels, weight, rows)


@contextmanager
def analysed() -> Iterator[None]:
    """Turns what the analysis refuses, such as too small a penalty, into a DataError."""
    try:
        yield
    except DataError:
        raise
    except NoSolverFitsError as error:
        raise DataError(
            "the model has too many parameters, and its table too many rows, for this "
            f"analysis in {MEMORY_LIMIT / 2**30:g} GiB of memory: train it with a smaller "
            "--hidden, or on fewer rows"
        ) from error
    except ValueError as error:
        raise DataError(f"the model cannot be analysed: {error}") from error


def find_members(model: Model, part: TrainingPart, l2: float | None) -> list[Member]:
    """Prepares a model's networks for analysis.

    Args:
      model: The model, with its origin.
      part: Its training rows.
      l2: Strength to take instead of those that the networks were trained with.

    Raises:
      DataError: A network was trained without penalty, and none can be chosen for it.
    """
    assert model.origin is not None
    members = []
    uses = model.origin.is_training[:, part.rows]
    uses = np.broadcast_to(uses, (len(model.origin.l2), len(part.rows)))
    for k, trained_with in enumerate(model.origin.l2):
        params = jax.tree.map(lambda a, k=k: jnp.asarray(a[k], jnp.float64), model.networks)
        strength = trained_with if l2 is None else l2
        if is_chosen := strength == 0:
            try:
                X, y, weight = part.used_by(uses[k])
                found = evidence(params, X, y, sample_weight=weight)
            except ValueError as error:
                raise DataError(
                    "the model was trained without penalty, and none can be chosen: "
                    f"{error}; train it with --l2"
                ) from error
            strength = float(found.l2)
        members.append(Member(params, uses[k], strength, is_chosen))
    return members
