"""Pictures, by matplotlib."""

import importlib.util
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jaxmlp.data.errors import DataError, printable
from jaxmlp.data.tables import check_place, whole_file

_KINDS = (".svg", ".png", ".pdf")
_COLOURS = ("#3b6ea5", "#d1662f")


def check_picture_name(path: Path) -> None:
    """Raises DataError unless a picture can be made and written there."""
    if path.suffix.lower() not in _KINDS:
        raise DataError(f"{path}: the name must end in .svg, .png or .pdf")
    check_place(path)
    if importlib.util.find_spec("matplotlib") is None:
        raise DataError("pictures need matplotlib: install jaxmlp[plots]")


def draw_norms(
    norms: NDArray[np.floating], y: NDArray[np.int32], names: tuple[str, str], path: Path
) -> None:
    """Draws the distribution of gradient norms by class; a file whole or not at all.

    Args:
      norms: `(n,)`.
      y: Labels in {0, 1}, `(n,)`.
      names: What the classes are called.
      path: The picture, by its ending.

    Raises:
      DataError: The file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    # A norm of 0 has no place on a logarithmic axis; it is drawn at the left end.
    least = norms[norms > 0].min(initial=1.0)
    shown = np.maximum(norms, max(least, 1e-12 * norms.max()))
    bins = np.geomspace(shown.min() * (1 - 1e-6), shown.max() * (1 + 1e-6), 61)
    for code, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
        rows = shown[y == code]
        # Dollars would enclose a formula.
        label = f"{printable(name)} ({len(rows)} rows)".replace("$", r"\$")
        axes.hist(rows, bins=bins.tolist(), alpha=0.55, color=colour, label=label)
    axes.set(xscale="log", xlabel="norm of the row's loss gradient", ylabel="rows")
    # Not where it covers least: to find that out may take long, and then warns.
    figure.legend(title="class", frameon=False, loc="outside upper left")
    axes.spines[["top", "right"]].set_visible(False)
    kind = path.suffix.lower()[1:]
    content = io.BytesIO()
    # Without the date, the same picture gives the same bytes.
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    with matplotlib.rc_context({"svg.hashsalt": "jaxmlp"}):
        figure.savefig(content, format=kind, dpi=150, metadata=dates[kind])
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content.getvalue())
