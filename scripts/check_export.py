"""Exported models beside `jaxmlp predict`, and what a model's folder takes.

Trains the default recipe on at most 30,000 rows of each table, saves the model, exports it
and runs the ONNX file (raw columns) by onnxruntime and the StableHLO file by JAX, on all
rows. Needs jaxmlp[export] and onnxruntime.

    python scripts/check_export.py adult.parquet spambase.parquet --target target
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pyarrow as pa
from arguments import add_tables, make_parser
from bench_quality import sample
from jax import export

from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import read_table
from jaxmlp.interfaces.exports.export import export_model
from jaxmlp.interfaces.exports.onnx import describe_columns
from jaxmlp.interfaces.model import Model, load_model, save_model
from jaxmlp.interfaces.recipes.pipeline import train_on_table
from jaxmlp.interfaces.recipes.recipe import EnsembleRecipe


def main() -> None:
    parser = make_parser(__doc__)
    add_tables(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        check_all(options)
    except DataError as error:
        parser.error(str(error))


def check_all(options: argparse.Namespace) -> None:
    print(f"{'table':18} {'inputs':>7} {'onnx':>9} {'stablehlo':>9}  folder / parameters")
    for path in options.tables:
        table = sample(read_table(path), 30_000, seed=0)
        outcome = train_on_table(table, EnsembleRecipe(options.target))
        with tempfile.TemporaryDirectory() as folder:
            print(check(Path(folder), path.stem, table, outcome.model), flush=True)


def check(folder: Path, name: str, table: pa.Table, trained: Model) -> str:
    save_model(trained, {}, folder / "model")
    model = load_model(folder / "model")
    files = [p for p in (folder / "model").iterdir() if not p.name.startswith("report")]
    n_bytes = sum(file.stat().st_size for file in files)
    n_parameters = sum(
        leaf.size * leaf.itemsize for leaf in jax.tree.leaves(model.networks)
    )
    probs, _ = model.predict(table)
    export_model(model, folder / "model.onnx", "onnx")
    export_model(model, folder / "model.stablehlo", "stablehlo")
    off_onnx = np.abs(run_onnx(folder / "model.onnx", model, table) - probs).max()
    program = export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    off_stablehlo = np.abs(program.call(model.features(table))[:, 1] - probs).max()
    within = "within" if n_bytes <= 1.2 * n_parameters + 200_000 else "MORE THAN"
    return (
        f"{name:18} {len(model.preprocessor.input_names):7} {off_onnx:9.1e} "
        f"{off_stablehlo:9.1e}  {n_bytes} / {n_parameters}, {within} 1.2 times + 200 kB"
    )


def run_onnx(path: Path, model: Model, table: pa.Table) -> np.ndarray:
    """Probabilities of the positive class, from the table's columns."""
    values = decode(table, model.preprocessor.kinds)
    inputs: dict[str, list[np.ndarray]] = {}
    for column in describe_columns(model.preprocessor.rules):
        value = values[column["name"]]
        if isinstance(value, pa.Array):
            value = np.array([text or "" for text in value.to_pylist()], object)
        else:  # the graph takes float64; a table may hold float32
            value = value.astype(np.float64)
        inputs.setdefault(column["input"], []).append(value)
    feeds = {name: np.column_stack(arrays) for name, arrays in inputs.items()}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], feeds)
    return probabilities[:, 1]


if __name__ == "__main__":
    main()
