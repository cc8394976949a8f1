"""The commands that ask which rows made a model."""

import json
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

from jaxmlp.interfaces.arguments import (
    JsonOption,
    ModelArgument,
    QuietOption,
    about,
    read_for,
)
from jaxmlp.interfaces.console import print_explanation
from jaxmlp.interfaces.explain import explain_row
from jaxmlp.interfaces.model import load_model
from jaxmlp.interfaces.options import parse_positive
from jaxmlp.interfaces.origin import find_training_part

TrainOption = Annotated[
    Path, typer.Option(metavar="DATA", help="The table that MODEL was trained on.")
]


def explain(
    model: ModelArgument,
    train: TrainOption,
    row: Annotated[
        int,
        typer.Option(min=0, metavar="I", help="Row whose prediction to explain, from 0."),
    ],
    query: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Table with that row; by default DATA itself."),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, metavar="K", help="Rows to show for each direction.")
    ] = 5,
    l2: Annotated[
        Any,
        typer.Option(
            parser=parse_positive,
            metavar="LAMBDA",
            help="Strength of the penalty in the analysis; by default that of the training, "
            "or, where that was 0, the one with the highest marginal likelihood.",
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the training rows that pushed a prediction up and down.

    The push of a row is the change of the predicted logit (and probability) that its
    removal from the training part would undo, in the damped Gauss-Newton model at the
    network's parameters: one Newton step, not a retraining. Of an ensemble, logits and
    pushes are the means of its networks'.

    Example: jaxmlp explain churn-model --train churn.csv --row 12 --query new.csv
    """
    jax.config.update("jax_enable_x64", True)  # matrices are inverted
    loaded = load_model(model)
    table = read_for(loaded, train)
    queries = None if query is None else read_for(loaded, query)
    with about(train):
        part = find_training_part(loaded, table)
    with about(query or train):
        found = explain_row(loaded, part, table, queries, row, n_top=top, l2=l2)
    if as_json:
        print(json.dumps(found))
    elif not quiet:
        print_explanation(found)
