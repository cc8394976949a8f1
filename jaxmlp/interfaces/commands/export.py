"""The command that writes a model for other programs."""

import json
from pathlib import Path
from typing import Annotated

import jax
import typer

from jaxmlp.data.errors import printable
from jaxmlp.data.tables import check_place
from jaxmlp.interfaces.commands.arguments import JsonOption, ModelArgument, QuietOption
from jaxmlp.interfaces.exports.export import Format, Source, check_format, export_model
from jaxmlp.interfaces.model import load_model


def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="onnx and stablehlo are programs; safetensors and json the numbers.",
        ),
    ] = "onnx",
    source: Annotated[
        Source | None,
        typer.Option(
            "--input",
            help="What an onnx program takes: the table's columns, by default, or the "
            "networks' input, which a stablehlo program always takes.",
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a model as one file for programs that do without jaxmlp.

    An ONNX file takes the table's columns as they are and gives label and probabilities.
    The extra jaxmlp[export] installs what ONNX and StableHLO need.

    Example: jaxmlp export churn-model --format onnx --out churn.onnx
    """
    check_place(out)
    if model.resolve() in out.resolve().parents:
        raise typer.BadParameter("it is inside MODEL", param_hint="--out")
    check_format(form, source)
    with jax.enable_x64(True):  # a model of 64 bits keeps them
        loaded = load_model(model)
    done = export_model(loaded, out, form, source)
    if as_json:
        print(json.dumps({"out": str(out), **done._asdict()}))
    elif not quiet:
        takes = {"raw": " of raw columns", "encoded": " of the networks' input", None: ""}
        print(
            f"{form}{takes[done.source]}, {done.n_bytes:,} bytes, in {printable(str(out))}"
        )
