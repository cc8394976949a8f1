"""Sentences of the page: what a run did and how good it is, in plain words."""

from typing import Any

from jaxmlp.data.labels import as_text
from jaxmlp.interfaces.options import format_hidden
from jaxmlp.interfaces.report.elements import count, decimal, percent, short

Report = dict[str, Any]

TITLES = {
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "brier": "Brier score",
}
LOWER_IS_BETTER = {"log_loss", "brier"}

_LONGEST_NAME = 32


def class_names(report: Report) -> tuple[str, str]:
    """What the negative and the positive class are called, such as `churned = yes`."""
    negative, positive = (
        cut(f"{report['settings']['target']} = {as_text(report[key])}")
        for key in ("negative", "positive")
    )
    return negative, positive


def cut(name: str) -> str:
    """A name short enough for a legend."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def shown_rows(report: Report) -> str:
    """Which rows the page is about."""
    e = report["evaluation"]
    if e["part"] == "test":
        return count(e["rows"], "test row")
    return count(e["rows"], "left-out row")


def recipe_words(report: Report) -> str:
    """Which recipe made the model."""
    n = len(report["ensemble"])
    if report["privacy"] is not None:
        budget = f"ε = {short(report['privacy']['epsilon'])}"
        return f"Made by private training (DP-SGD, {budget}) of one network."
    if report["settings"]["recipe"] == "ensemble":
        layers = format_hidden(report["best"]["hidden_sizes"])
        width = "without hidden layer" if layers == "0" else f"with hidden layers {layers}"
        return (
            f"Made by the default recipe, ensemble: {count(n, 'network')} {width}, each "
            "trained without its own part of the rows, whose probabilities are averaged."
        )
    tried = count(len(report["search"]), "network")
    if len(report["search"]) == 1:
        return "Made by the lecture’s recipe, as the only network tried."
    kept = (
        "the one with the lowest validation loss"
        if n == 1
        else f"the {n} with the lowest validation losses, averaged"
    )
    return f"Made by the lecture’s recipe: of {tried} tried, {kept}."


def reading(report: Report) -> str:
    """How good the model is, in one sentence or two."""
    e, (_, positive) = report["evaluation"], class_names(report)
    share = e["positives"] / e["rows"]
    commoner = max(share, 1 - share)
    right = e["metrics"]["accuracy"]["value"]
    threshold = report["threshold"]
    at = "It" if threshold == 0.5 else f"At its threshold of {short(threshold)}, it"
    sentence = (
        f"{at} is right on {percent(right)} of the {shown_rows(report)}, where always "
        f"naming the commoner label would be right on {percent(commoner)}"
    )
    area = e["metrics"]["roc_auc"]["value"]
    if area is not None:
        sentence += (
            f"; of a row with {positive} and one without, it gives the first the higher "
            f"probability in {percent(area)} of all pairs"
        )
    return f"{sentence}. {against_baselines(report)}"


def against_baselines(report: Report) -> str:
    """Whether the model's log loss is lower than the baselines', beyond chance."""
    words: dict[int, list[str]] = {-1: [], 0: [], 1: []}
    for baseline in report["evaluation"]["baselines"]:
        words[verdict(baseline["difference"]["log_loss"])].append(
            f"that of {baseline['name']}"
        )
    texts = {
        -1: "lower than {}",
        1: "higher than {}",
        0: "not clearly different from {}",
    }
    parts = [texts[k].format(" and ".join(words[k])) for k in (-1, 1, 0) if words[k]]
    return f"Its log loss is {', and '.join(parts)}." if parts else ""


def verdict(difference: dict[str, float | None]) -> int:
    """-1 where the model's value is lower beyond chance, 1 where higher, else 0."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None or low <= 0 <= high:
        return 0
    return -1 if high < 0 else 1


def threshold_words(report: Report) -> str:
    """Where the threshold is, and why there."""
    e, (_, positive) = report["evaluation"], class_names(report)
    rule = e["threshold_rule"]
    where = f"{positive} is predicted from probability {short(report['threshold'], 4)} on"
    unseen = (
        "left-out rows"
        if report["settings"]["recipe"] == "ensemble"
        else "rows of the validation part"
    )
    if isinstance(rule, dict):
        costs = (
            f"{rule['false_positive']:g} for a false positive and "
            f"{rule['false_negative']:g} for a false negative"
        )
        return f"{where}, the cheapest threshold on the {unseen} at costs of {costs}."
    if isinstance(rule, str):
        return f"{where}, which is best for {rule} on the {unseen}."
    usual = "the usual threshold" if rule == 0.5 else "the threshold that was given"
    return f"{where}, {usual}."


def interval_words(metric: dict[str, float | None]) -> str:
    """A metric's 95% interval."""
    if metric["low"] is None:
        return "–"
    return f"{decimal(metric['low'])} to {decimal(metric['high'])}"


def with_interval(metric: dict[str, float | None]) -> str:
    """A metric with its interval, short."""
    if metric["low"] is None:
        return short(metric["value"], 4)
    return (
        f"{short(metric['value'], 4)} ({short(metric['low'])} to {short(metric['high'])})"
    )
