"""The sections on the run itself: what is guaranteed, and how to repeat it."""

from typing import Any

from jaxmlp.interfaces.options import format_hidden
from jaxmlp.interfaces.report.elements import (
    Html,
    count,
    grid,
    paragraph,
    section,
    short,
    table,
    tag,
)

Report = dict[str, Any]


def privacy_section(report: Report) -> Html:
    """What is guaranteed, and what not."""
    p = report["privacy"]
    uncovered = [tag("li", what) for what in p["not_covered"]]
    return section(
        "privacy",
        "What privacy is guaranteed",
        paragraph(
            f"ε = {short(p['epsilon'], 4)} at δ = {p['delta']:g}, for {p['adjacency']}; by "
            f"{count(p['n_steps'], 'step')} with noise of {short(p['noise_multiplier'])} "
            f"times the norm {short(p['max_grad_norm'])}, to which each row’s gradient is "
            "clipped. This page shows nothing that was measured on training rows."
        ),
        tag("h3", "Not covered"),
        tag("ul", *uncovered, class_="notes"),
    )


def repeat_section(report: Report) -> Html:
    """The command, and where it ran with what."""
    e, seconds = report["evaluation"], report["seconds"]
    facts = {
        "seed": str(report["settings"]["seed"]),
        "device": report["device"],
        "seconds": f"{seconds['total']:.1f} in all: compiling {seconds['compile']:.1f}, "
        f"then training {seconds['run']:.1f}, this report {e['seconds']:.1f}",
        "table’s fingerprint": e["fingerprint"] or "kept secret",
        **report["versions"],
    }
    settings = [(name, _setting(value)) for name, value in report["settings"].items()]
    return section(
        "repeat",
        "How to repeat it",
        tag("pre", tag("code", report["command"]), tabindex=0),
        grid(
            table("Environment", ("what", "which"), list(facts.items()), is_text=(1,)),
            table("Settings", ("setting", "value"), settings, is_text=(1,)),
        ),
        tag(
            "p",
            "All numbers of this page stand in report.json beside it; ",
            tag("code", "jaxmlp report"),
            " draws it anew.",
            class_="small",
        ),
    )


def _setting(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(
            format_hidden(v) if isinstance(v, list | tuple) else _setting(v) for v in value
        )
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_setting(v)}" for k, v in value.items()) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
