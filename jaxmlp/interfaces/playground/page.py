"""The page: one file, which asks for nothing from elsewhere."""

import base64
import hashlib
import html
import json
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxmlp.interfaces.playground.runs import CHECKS, Choice, Grid, Replay

_SCRIPTS = ("network.js", "state.js", "plane.js", "tables.js", "page.js")

L2 = 0.01
"""Damping of the influence that the page computes."""


def render_playground(
    replays: list[Replay], grid: Grid, start: Choice, command: str
) -> str:
    """Makes the page.

    Args:
      replays: The runs on each set of points.
      grid: What they combine.
      start: The run that is shown first.
      command: The command that made the page.

    Returns:
      An HTML document. Its one script is allowed by its hash; nothing else runs, and
      nothing is loaded or sent.

    Guarantees:
      No text of a table is markup. The page can be written as UTF-8.
    """
    script = "".join(map(_part, _SCRIPTS))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    style = files("jaxmlp.interfaces.report").joinpath("style.css").read_text("utf-8")
    page = Template(_part("page.html")).substitute(
        policy=policy,
        style=style + _part("page.css"),
        script=script,
        data=_json(_payload(replays, grid, start)),
        l2=L2,
        command=html.escape(command),
    )
    # A name of a file may hold bytes that are no text.
    return page.encode(errors="backslashreplace").decode()


def _part(name: str) -> str:
    return files("jaxmlp.interfaces.playground").joinpath(name).read_text("utf-8")


def _json(values: dict[str, Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _payload(replays: list[Replay], grid: Grid, start: Choice) -> dict[str, Any]:
    return {
        "l2": L2,
        "checks": CHECKS,
        "grid": grid._asdict(),
        "start": start._asdict(),
        "sets": [_set(replay) for replay in replays],
    }


def _set(replay: Replay) -> dict[str, Any]:
    points = replay.points
    y = np.concatenate([points.y_train, points.y_val])
    return {
        "name": points.name,
        "axes": points.axes,
        "classes": points.classes,
        "mean": points.mean.tolist(),
        "sd": points.sd.tolist(),
        "note": points.note,
        "n_train": len(points.y_train),
        "raw": _packed(points.raw, "<f8"),
        "X": _packed(np.concatenate([points.X_train, points.X_val]), "<f4"),
        "y": "".join(map(str, y.tolist())),
        "epochs": replay.epochs.tolist(),
        "checked": replay.checked.tolist(),
        "orders": _packed(replay.orders, "<u4"),
        "runs": [
            {"params": _packed(run.params, "<f4"), "checks": _packed(run.checks, "<f8")}
            for run in replay.runs
        ],
    }


def _packed(values: ArrayLike, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
