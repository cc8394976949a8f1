"""A model for programs that do without jaxmlp: ONNX, StableHLO, safetensors, JSON.

docs/export.md says what each file holds, and shows a reader for each.
"""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxmlp
from jaxmlp.core import ensemble_proba
from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import whole_file
from jaxmlp.interfaces.model import Model, to_tensors

Format = Literal["onnx", "stablehlo", "safetensors", "json"]
Source = Literal["raw", "encoded"]
"""What a program takes: the table's columns, or the networks' input."""

SCHEMA = 1
"""Version of `describe`; fields may join it, none changes its meaning."""

PLATFORMS = ("cpu", "cuda", "tpu")
"""Where an exported StableHLO program can run."""


class Exported(NamedTuple):
    """What `export_model` wrote.

    Attributes:
      format: The file's format.
      source: What its program takes; None for a format that holds numbers alone.
      n_bytes: Its size.
    """

    format: Format
    source: Source | None
    n_bytes: int


def export_model(
    model: Model, path: str | Path, form: Format, source: Source | None = None
) -> Exported:
    """Writes a model for other programs, whole or not at all.

    Args:
      model: The model.
      path: The file; one that exists is replaced.
      form: Its format.
      source: What the program takes; by default raw columns for ONNX and the networks'
        input for StableHLO, which knows no raw columns.

    Raises:
      DataError: The format has no such input, a package is missing, the model does not fit
        the format, or the file cannot be written.
    """
    source = check_format(form, source)
    if form == "onnx":
        from jaxmlp.interfaces.exports.onnx import to_onnx

        content = to_onnx(model, is_raw=source == "raw")
    elif form == "stablehlo":
        content = to_stablehlo(model)
    else:
        content = to_safetensors(model) if form == "safetensors" else to_json(model)
    path = Path(path)
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)
    return Exported(form, source, len(content))


def check_format(form: Format, source: Source | None) -> Source | None:
    """Finds what the format's program takes, None for a format without a program.

    Raises:
      DataError: It does not take `source`, or a package that it needs is missing.
    """
    takes: dict[Format, tuple[Source, ...]] = {
        "onnx": ("raw", "encoded"),
        "stablehlo": ("encoded",),
        "safetensors": (),
        "json": (),
    }
    if source is not None and source not in takes[form]:
        hint = f"it takes {takes[form][0]}" if takes[form] else "it holds no program"
        raise DataError(f"--input {source} does not go with {form}: {hint}")
    package = {"onnx": "onnx", "stablehlo": "flatbuffers"}.get(form)
    if package is not None and importlib.util.find_spec(package) is None:
        raise DataError(f"{form} needs {package}: install jaxmlp[export]")
    return source or next(iter(takes[form]), None)


def to_stablehlo(model: Model) -> bytes:
    """Makes a program that `jax.export.deserialize` reads.

    It takes `Model.features`, float32 `(n, p)`, of any n from 1, and gives probabilities,
    float32 `(n, 2)`, of the negative and the positive class. Matrix products are done in
    full precision on every platform.

    Guarantees:
      The same model gives the same bytes, without a path of this machine in them.
    """
    from jax import export

    networks = jax.tree.map(np.asarray, model.networks)
    dtype = networks[0].w.dtype

    def probabilities(X: jax.Array) -> jax.Array:
        positive = ensemble_proba(networks, X)
        return jnp.stack([1 - positive, positive], axis=1).astype(jnp.float32)

    (n,) = export.symbolic_shape("n")
    X = jax.ShapeDtypeStruct((n, networks[0].w.shape[1]), jnp.float32)
    with (
        jax.enable_x64(dtype == np.float64),
        jax.default_matmul_precision("highest"),
        _without_locations(),
    ):
        exported = export.export(jax.jit(probabilities), platforms=PLATFORMS)(X)
        return bytes(exported.serialize())


@contextmanager
def _without_locations() -> Iterator[None]:
    """Keeps the paths of source files out of programs; has no effect on their results."""
    limit = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)


def to_safetensors(model: Model) -> bytes:
    """Makes a safetensors file: `0.w`, `0.b`, …, and all else as JSON in its metadata."""
    from safetensors.numpy import save

    # One entry: safetensors writes several in an order that changes from run to run.
    return save(
        to_tensors(model.networks), {"jaxmlp": json.dumps(describe(model), allow_nan=False)}
    )


def to_json(model: Model) -> bytes:
    """Makes a JSON document of `describe`, `dtype` and the `layers`' nested lists.

    Guarantees:
      The numbers, read as the `dtype`, are the model's own, to the bit.
    """
    layers = [
        # By way of text: 0.1 of float32 is then written so, not as 0.10000000149011612.
        {
            name: np.asarray(array).astype(str).astype(np.float64).tolist()
            for name, array in layer._asdict().items()
        }
        for layer in model.networks
    ]
    dtype = str(model.networks[0].w.dtype)
    document = {**describe(model), "dtype": dtype, "layers": layers}
    return (json.dumps(document, allow_nan=False) + "\n").encode()


def describe(model: Model) -> dict[str, Any]:
    """What a reader needs beside the parameters, as JSON values."""
    return {
        "schema": SCHEMA,
        "jaxmlp": jaxmlp.__version__,
        "target": model.target,
        "classes": model.classes._asdict(),
        "threshold": model.threshold,
        "columns": model.preprocessor.to_json(),
        "input_names": model.preprocessor.input_names,
    }
