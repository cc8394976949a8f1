"""From the flags of `jaxmlp train` to a recipe, or a line that says what does not go."""

from pathlib import Path
from typing import Any

import jax
import typer

from jaxmlp.data.bounds import read_bounds
from jaxmlp.interfaces.commands.console import print_notes
from jaxmlp.interfaces.recipes.recipe import (
    PRIVATE_CLIP,
    PRIVATE_DEFAULTS,
    STREAM_DEFAULTS,
    EnsembleRecipe,
    LectureRecipe,
    Privacy,
    check_recipe,
)
from jaxmlp.interfaces.recipes.threshold import Costs, Rule
from jaxmlp.training import CheckpointError, Checkpoints
from jaxmlp.training.checkpoints import check_folder
from jaxmlp.training.fit_stream import WINDOW_SIZE


def columns_of(pairs: list[tuple[str, Any]] | None) -> dict[str, Any]:
    """What the user says of columns, by name."""
    wishes = dict(pairs or [])
    if len(wishes) < len(pairs or []):
        raise typer.BadParameter("one column is given twice", param_hint="--column")
    return wishes


def rule_of(threshold: Rule | None, cost_fp: float | None, cost_fn: float | None) -> Rule:
    """How the threshold is chosen."""
    if cost_fp is None and cost_fn is None:
        return 0.5 if threshold is None else threshold
    if cost_fp is None or cost_fn is None:
        raise typer.BadParameter(
            "--cost-fp and --cost-fn go together",
            param_hint="--cost-fn" if cost_fp is None else "--cost-fp",
        )
    if threshold is not None:
        raise typer.BadParameter("the costs choose it", param_hint="--threshold")
    return Costs(cost_fp, cost_fn)


def lecture_recipe(
    name: str | None,
    given: dict[str, Any],
    ensemble: int | None,
    budget: float | None,
    privacy: Privacy | None,
    *,
    is_stream: bool,
) -> LectureRecipe:
    """The lecture's recipe, on a table in memory or on a stream, or private training's."""
    if name == "ensemble":
        what = "streamed" if is_stream else "private"
        raise typer.BadParameter(
            f"{what} training goes by the lecture's recipe", param_hint="--recipe"
        )
    if is_stream:
        _check_stream(given, privacy)
    if budget is not None:
        raise typer.BadParameter(
            "the lecture's recipe has no limit of time; give fewer --epochs",
            param_hint="--budget",
        )
    given = {**given, "ensemble": ensemble}
    asked = {name: value for name, value in given.items() if value is not None}
    defaults = PRIVATE_DEFAULTS if privacy else STREAM_DEFAULTS if is_stream else {}
    recipe = LectureRecipe(**(defaults | asked))
    recipe = recipe._replace(patience=recipe.patience or None, privacy=privacy)
    check_recipe(recipe)
    return recipe


def _check_stream(given: dict[str, Any], privacy: Privacy | None) -> None:
    if privacy is not None:
        raise typer.BadParameter(
            "private training needs its rows in memory, to draw samples of all of them; "
            "leave it out",
            param_hint="--stream",
        )
    if given["optimizer"] == "lbfgs":
        raise typer.BadParameter(
            "L-BFGS takes the whole training part at each step, which --stream has not in "
            "memory",
            param_hint="--optimizer",
        )
    if given["batch_size"] is not None and given["batch_size"] > WINDOW_SIZE:
        raise typer.BadParameter(
            f"with --stream at most {WINDOW_SIZE}, the rows in memory at a time",
            param_hint="--batch-size",
        )


def ensemble_recipe(
    given: dict[str, Any],
    of_lecture: dict[str, Any],
    ensemble: int | None,
    budget: float | None,
) -> EnsembleRecipe:
    """The default recipe."""
    flags = {"learning_rates": "learning_rate"}
    for name, value in of_lecture.items():
        if value is not None:
            raise typer.BadParameter(
                "it is for the lecture's recipe: add --recipe lecture, or leave it out",
                param_hint=f"--{flags.get(name, name).replace('_', '-')}",
            )
    if ensemble == 1:
        raise typer.BadParameter(
            "a cross-validation has 2 networks at least; --recipe lecture makes one",
            param_hint="--ensemble",
        )
    recipe = EnsembleRecipe(**given, budget=budget)
    return recipe if ensemble is None else recipe._replace(n_members=ensemble)


def privacy_of(
    epsilon: float | None, delta: float | None, clip: float | None, bounds: Path | None
) -> Privacy | None:
    """The budget of private training."""
    if epsilon is None:
        for flag, value in {"delta": delta, "clip": clip, "bounds": bounds}.items():
            if value is not None:
                raise typer.BadParameter(
                    "needs --dp-epsilon, the budget", param_hint=f"--dp-{flag}"
                )
        return None
    if bounds is not None:
        read_bounds(bounds)  # what is wrong with it is told before the table is read
    return Privacy(
        epsilon=epsilon,
        delta=1e-5 if delta is None else delta,
        max_norm=PRIVATE_CLIP if clip is None else clip,
        bounds=None if bounds is None else str(bounds),
    )


def checkpoints_of(
    folder: Path | None,
    every: float | None,
    resume: bool,
    out: Path,
    *,
    is_stream: bool,
    quiet: bool,
) -> Checkpoints | None:
    """Where checkpoints are kept, or None."""
    if folder is None:
        for flag, is_given in {
            "--checkpoint-every": every is not None,
            "--resume": resume,
        }.items():
            if is_given:
                raise typer.BadParameter("needs --checkpoint", param_hint=flag)
        return None
    if not is_stream:
        raise typer.BadParameter("needs --stream", param_hint="--checkpoint")
    place = folder.resolve()
    if place == out.resolve() or out.resolve() in place.parents:
        raise typer.BadParameter(
            f"{folder}: is in --out, which is replaced as a whole; give another folder",
            param_hint="--checkpoint",
        )
    checkpoints = Checkpoints(
        folder,
        600.0 if every is None else every,
        resume,
        tell=lambda text: None if quiet or jax.process_index() else print_notes([text]),
    )
    try:
        check_folder(checkpoints)  # before the table is read
    except CheckpointError as error:
        text = str(error).replace("resume=True", "--resume")
        raise typer.BadParameter(text, param_hint="--checkpoint") from error
    return checkpoints
