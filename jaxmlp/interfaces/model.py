"""A trained classifier for tables, and the folder it is kept in.

The folder holds `model.safetensors` (the parameters, and which rows trained them),
`model.json` (everything else that prediction and analysis need), `report.json` (how
training went) and `report.html` (the same for people). Loading reads numbers and text; it
runs nothing.
"""

import json
import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from jaxmlp.core import Layer, Params
from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError, one_line
from jaxmlp.data.files import read_file, read_json
from jaxmlp.data.frames import as_table
from jaxmlp.data.labels import Classes, Label, as_text, encode_labels, find_column
from jaxmlp.data.preprocess import Preprocessor
from jaxmlp.data.rules import check_text
from jaxmlp.interfaces.prediction import predict_logits as predict_logits

FORMAT = 4
"""Version of the folder's layout; those before it can be read too."""

_FILES = {"model.safetensors", "model.json", "report.json", "report.html"}

_ROWS = "training.rows"
"""Name of the tensor that marks the training rows, one bit each, in a line for each network
or in one for all."""


class Origin(NamedTuple):
    """What a model was trained on.

    Attributes:
      fingerprint: Of the whole table; see `fingerprint`.
      is_training: Which of its rows trained a network, `(k, n)`, or `(1, n)` where the
        same trained all.
      l2: Strength of each network's penalty.
      class_weight: As in `fit`.
    """

    fingerprint: str
    is_training: NDArray[np.bool_]
    l2: tuple[float, ...]
    class_weight: Literal["balanced"] | None


@dataclass(frozen=True)
class Model:
    """Networks with the preprocessing and the labels that belong to them.

    Attributes:
      networks: Stacked parameters of one network or more, whose probabilities are
        averaged (see `stack_params`).
      preprocessor: Turns a table's columns into the network's input.
      target: Name of the target column.
      classes: The target's two values.
      threshold: Probability from which on the positive value is predicted.
      origin: What it was trained on; None if that is kept secret (private training), or
        if an earlier version wrote the model.

    Tables are those of pyarrow, pandas or polars.
    """

    networks: Params
    preprocessor: Preprocessor
    target: str
    classes: Classes
    threshold: float
    origin: Origin | None

    def features(self, table: Any, first_row: int = 0) -> NDArray[np.float32]:
        """Computes the networks' input X, `(n, p)`, such as `jaxmlp.gradients` takes.

        Args:
          table: The table.
          first_row: Number of its first row, for messages.

        Raises:
          DataError: A needed column is missing or holds what cannot be used.
        """
        columns = decode(as_table(table), self.preprocessor.kinds, first_row)
        return self.preprocessor.encode(columns)

    def labels(self, table: Any, first_row: int = 0) -> NDArray[np.int32]:
        """Codes the target: 1 for the positive class, else 0; `(n,)`.

        Args:
          table: The table.
          first_row: Number of its first row, for messages.

        Raises:
          DataError: The target is missing or holds another value than the two classes.
        """
        column = find_column(as_table(table), self.target, "target")
        return encode_labels(column, self.target, self.classes, first_row)

    def logits(self, table: Any) -> NDArray[np.float32]:
        """Computes the score of each row, `(n,)`, natural-log odds of the positive class.

        Raises:
          DataError: A needed column is missing or holds what cannot be used.
        """
        logits = predict_logits(self.networks, self.features(table))
        check_finite(logits, "logit")
        return logits

    def predict(self, table: Any) -> tuple[NDArray[np.float32], list[Label]]:
        """Predicts each row.

        Returns:
          Probability of the positive class, `(n,)`, and the label of each: positive from
          the threshold on.

        Raises:
          DataError: A needed column is missing or holds what cannot be used.
        """
        logits = self.logits(table)
        probs = expit(logits)
        is_positive = logits >= self.threshold_logit
        return probs, [self.classes[int(positive)] for positive in is_positive]

    @property
    def threshold_logit(self) -> float:
        """The threshold as natural-log odds."""
        return math.log(self.threshold) - math.log1p(-self.threshold)


def check_finite(values: NDArray[np.floating], what: str) -> None:
    """Raises DataError unless a model gives each row a finite number; names the first."""
    is_finite = np.isfinite(values)
    if not is_finite.all():
        row = int(is_finite.argmin())
        raise DataError(f"row {row}: the model's parameters are too large for its {what}")


def check_out(path: str | Path) -> None:
    """Refuses a place for a model before any work is done.

    Raises:
      DataError: The path is a file, a folder with other things in it, or not writable.
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_dir():
        raise DataError(f"{path}: is a file, not a folder for a model")
    if path == Path.cwd() or path in Path.cwd().parents:
        raise DataError(f"{path}: is the working folder; name a folder inside it")
    # Replacing a model removes its folder, so nothing but a model may be in it.
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if names and not (names <= _FILES and {"model.json", "model.safetensors"} <= names):
        raise DataError(
            f"{path}: the folder holds other things than a model; give another --out"
        )
    existing = next(p for p in path.absolute().parents if p.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".jaxmlp-", dir=existing):
            pass
    except OSError as error:
        why = one_line(error)
        raise DataError(f"{path}: cannot be written in {existing}: {why}") from error


def save_model(
    model: Model, report: dict[str, Any], path: str | Path, *, page: str | None = None
) -> None:
    """Writes the model's folder, whole or not at all; an older model is replaced.

    Args:
      model: The model.
      report: How training went, as JSON values.
      path: The folder.
      page: The report as an HTML page, or None for none.

    Raises:
      DataError: The folder cannot be written.
    """
    from safetensors.numpy import save

    path = Path(path).resolve()
    tensors = to_tensors(model.networks)
    description = {
        "format": FORMAT,
        "target": model.target,
        "classes": model.classes._asdict(),
        "threshold": model.threshold,
        "columns": model.preprocessor.to_json(),
        "training": None,
    }
    if model.origin is not None:
        tensors[_ROWS] = np.packbits(model.origin.is_training, axis=1)
        description["training"] = {
            "fingerprint": model.origin.fingerprint,
            "rows": model.origin.is_training.shape[1],
            "l2": model.origin.l2,
            "class_weight": model.origin.class_weight,
        }
    files = {
        "model.safetensors": save(tensors),
        "model.json": _dump(description),
        "report.json": _dump(report),
    }
    if page is not None:
        files["report.html"] = page.encode()
    unfinished = path.with_name(f".{path.name}.unfinished")
    replaced = path.with_name(f".{path.name}.replaced")
    try:
        if replaced.exists() and not path.exists():
            replaced.rename(path)  # a run was killed just before its new model's rename
        for leftover in (unfinished, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, content in files.items():
            _write_through(unfinished / name, content)
        if path.exists():
            path.rename(replaced)
        unfinished.rename(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {one_line(error)}") from error
    finally:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def load_model(path: str | Path) -> Model:
    """Reads a model's folder.

    Raises:
      DataError: The folder is not one that `save_model` wrote.

    Guarantees:
      Nothing in the folder runs, and no link in it is followed out of it. No more memory is
      asked for than there is.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    if not (path / "model.json").is_file():
        found = "no such folder" if not path.exists() else "it has no model.json"
        raise DataError(f"{path}: not a model written by jaxmlp train: {found}")
    try:
        description = read_json(path / "model.json", folder=path)
        if description["format"] not in (1, 2, 3, FORMAT):
            raise ValueError(f"its format is {description['format']}, not {FORMAT}")
        content = read_file(path / "model.safetensors", folder=path, growth=_COPIES)
        tensors = load(bytes(content))
        origin = _to_origin(description.get("training"), tensors.pop(_ROWS, None))
        preprocessor = Preprocessor.from_json(description["columns"])
        networks = _to_networks(tensors, preprocessor.n_inputs)
        _check_origin(origin, len(networks[0].b))
        model = Model(
            networks=networks,
            preprocessor=preprocessor,
            target=check_text(description["target"]),
            classes=_to_classes(description["classes"]),
            threshold=_to_threshold(description.get("threshold", 0.5)),
            origin=origin,
        )
    except (*_UNREADABLE, SafetensorError) as error:
        kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
        reason = f"{kind}{one_line(error)}"
        raise DataError(f"{path}: the model cannot be read ({reason})") from error
    return model


_COPIES = 4  # of the parameters, while they are read and checked

# Of JSON that holds other things than a model.
_UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


def _to_classes(fields: dict[str, Any]) -> Classes:
    classes = Classes(**fields)
    if type(classes.negative) is not type(classes.positive):
        raise ValueError(f"its labels are {classes.negative!r} and {classes.positive!r}")
    for label in classes:
        if not isinstance(label, int | float):
            check_text(label)
        elif not abs(label) < (2**63 if isinstance(label, int) else math.inf):  # nor NaN
            raise ValueError(f"one of its labels is {label!r}")
    if as_text(classes.negative) == as_text(classes.positive):
        raise ValueError(f"both of its labels are {classes.positive!r}")
    return classes


def _to_threshold(value: Any) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise ValueError(f"its threshold is {value!r}")
    return value


def to_tensors(networks: Params) -> dict[str, NDArray[Any]]:
    """Names the parameters as files do: `0.w`, `0.b`, `1.w`, and so on."""
    return {
        f"{i}.{name}": np.asarray(array)
        for i, layer in enumerate(networks)
        for name, array in layer._asdict().items()
    }


def _to_networks(tensors: dict[str, NDArray[Any]], n_inputs: int) -> Params:
    n_layers = len(tensors) // 2
    names = {f"{i}.{name}" for i in range(n_layers) for name in Layer._fields}
    if not names or tensors.keys() != names:
        raise ValueError(f"its tensors are {sorted(tensors)}")
    if tensors["0.w"].ndim == 2:  # format 1 held one network, not a stack
        tensors = {name: array[None] for name, array in tensors.items()}
    pairs = [(tensors[f"{i}.w"], tensors[f"{i}.b"]) for i in range(n_layers)]
    _check_shapes(pairs, n_inputs)
    # Numbers of float64 may be too large for the float32 that they are read as.
    with np.errstate(over="ignore"):
        networks = tuple(Layer(w=jnp.asarray(w), b=jnp.asarray(b)) for w, b in pairs)
    for name, array in to_tensors(networks).items():
        is_float = tensors[name].dtype in (np.float32, np.float64)
        if not is_float or not np.isfinite(array).all():
            raise ValueError(f"the numbers of {name!r} are not finite floats")
    return networks


def _check_shapes(pairs: list[tuple[NDArray[Any], NDArray[Any]]], n_inputs: int) -> None:
    n_networks = pairs[0][1].shape[0]
    sizes = [n_inputs, *(b.shape[-1] for _, b in pairs)]
    for (w, b), d_in, d_out in zip(pairs, sizes[:-1], sizes[1:], strict=True):
        wanted = (n_networks, d_in, d_out)
        if w.shape != wanted or b.shape != (n_networks, d_out):
            raise ValueError(f"weights of shape {w.shape} where {wanted} is needed")
    if n_networks < 1:
        raise ValueError("it holds no network")
    if sizes[-1] != 1 or min(sizes) < 1:
        raise ValueError("the parameters do not end in one logit")


def _to_origin(
    description: dict[str, Any] | None, packed: NDArray[Any] | None
) -> Origin | None:
    if description is None:
        return None
    n, l2 = description["rows"], tuple(map(float, description["l2"]))
    if packed is not None and packed.ndim == 1:  # before format 4, one line
        packed = packed[None]
    if packed is None or packed.dtype != np.uint8 or packed.shape[1:] != (-(-n // 8),):
        raise ValueError(f"{_ROWS!r} does not mark {n} rows")
    if not all(0 <= penalty < np.inf for penalty in l2):
        raise ValueError(f"its penalties are {l2}")
    is_training = np.unpackbits(packed, axis=1, count=n).astype(bool)
    weight = description["class_weight"]
    if weight not in ("balanced", None):
        raise ValueError(f"its class weight is {weight!r}")
    return Origin(str(description["fingerprint"]), is_training, l2, weight)


def _check_origin(origin: Origin | None, n_networks: int) -> None:
    if origin is None:
        return
    if len(origin.l2) != n_networks:
        raise ValueError(f"{len(origin.l2)} penalties of {n_networks} networks")
    if len(origin.is_training) not in (1, n_networks):
        raise ValueError(f"{_ROWS!r} has not one line, or one for each network")


def _dump(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
