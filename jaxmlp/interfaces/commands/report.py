"""The command that draws a training run's report anew."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxmlp.data.errors import DataError, one_line, printable
from jaxmlp.data.files import read_json
from jaxmlp.data.tables import check_place, whole_file
from jaxmlp.interfaces.commands.arguments import JsonOption, ModelArgument, QuietOption
from jaxmlp.interfaces.report import render_report


def report(
    model: ModelArgument,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="HTML page; by default report.html in MODEL."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the page of a training run anew, from its report.json alone.

    jaxmlp train writes it too. It is one file that asks for nothing from elsewhere.

    Example: jaxmlp report churn-model --out churn.html
    """
    place = model / "report.html" if out is None else out
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"{out}: the name must end in .html", param_hint="--out")
    values = read_report(model)
    check_place(place)
    try:
        page = render_report(values)
    except _UNFIT as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(
            f"{model / 'report.json'}: not what jaxmlp train writes ({reason})"
        ) from error
    with whole_file(place) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    if as_json:
        print(json.dumps({"out": str(place), "bytes": len(page.encode())}))
    elif not quiet:
        print(f"report in {printable(str(place))}")


# Of values that are missing, of another kind, or that no figure can show.
_UNFIT = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)


def read_report(model: Path) -> dict[str, Any]:
    """Reads a model's report.json.

    Raises:
      DataError: There is none, it cannot be read, or an earlier version wrote it.
    """
    path = model / "report.json"
    if not path.is_file():
        raise DataError(f"{model}: not a model written by jaxmlp train: no report.json")
    values = read_json(path, folder=model)
    if not isinstance(values, dict) or "evaluation" not in values:
        raise DataError(
            f"{path}: an earlier version wrote it, without what the page shows; train the "
            "model anew"
        )
    return values
