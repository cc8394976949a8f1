"""The lecture's recipe on a table that no memory holds."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
from jax.sharding import Mesh

from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import encode_labels
from jaxmlp.data.split import Split
from jaxmlp.data.stream.findings import Team
from jaxmlp.data.stream.parts import TEST, TRAIN
from jaxmlp.data.stream.rows import Elsewhere as ReadElsewhere
from jaxmlp.data.stream.rows import PartRows
from jaxmlp.data.stream.source import Source
from jaxmlp.data.stream.store import RowStore, row_store
from jaxmlp.data.stream.survey import Survey, survey
from jaxmlp.interfaces.metrics import Metrics, MetricSums
from jaxmlp.interfaces.model import Model, predict_logits
from jaxmlp.interfaces.recipes.lecture import account_of, notes_of
from jaxmlp.interfaces.recipes.pipeline import Outcome, Watch, conclude
from jaxmlp.interfaces.recipes.prepare import Prepared
from jaxmlp.interfaces.recipes.recipe import (
    LectureRecipe,
    batch_size_of,
    learning_rates_of,
    optimizer_of,
    with_flags,
)
from jaxmlp.interfaces.recipes.threshold import Rule
from jaxmlp.interfaces.recipes.timing import Stopwatch
from jaxmlp.interfaces.recipes.trained import Trained
from jaxmlp.training import (
    CheckpointError,
    Checkpoints,
    Elsewhere,
    SearchResult,
    search_stream,
)
from jaxmlp.training.places import gather_bytes


class SurveyProgress(NamedTuple):
    """What a caller's `progress` gets while the files are surveyed.

    Attributes:
      n_done: Rows that this process has read.
      n_rows: Rows that it has to read, nearly.
    """

    n_done: int
    n_rows: int


class Streamed(NamedTuple):
    """A model trained on a stream.

    Attributes:
      outcome: The training; its `data` are those of the sample.
      sample: Random rows of each part, which the report's page is drawn from.
    """

    outcome: Outcome
    sample: pa.Table


def train_on_stream(
    source: Source,
    recipe: LectureRecipe,
    rule: Rule = 0.5,
    watch: Watch | None = None,
    *,
    scratch: Path,
    n_threads: int = 2,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    listen: Callable[[], AbstractContextManager[Callable[[], bool] | None]] = nullcontext,
) -> Streamed:
    """Trains, tunes and tests on files read slice by slice.

    One pass surveys the columns, then each epoch is a pass: the first through the files,
    the others through the rows that it has prepared, where there is room for them. The
    validation part that chooses is a sample of it, all of it up to `SAMPLE_ROWS` rows; the
    test part is measured whole, in a last pass.

    Args:
      source: The files.
      recipe: What is asked for.
      rule: How the threshold is chosen.
      watch: Whom to tell.
      scratch: Folder in which prepared rows may be kept during the run.
      n_threads: Threads to read on.
      mesh: Devices that share out each mini-batch, or None; of several processes, each
        reads its share of the row groups, and all get the same.
      checkpoints: As of `search_stream`; the recipe and the data make the run's identity.
      listen: Makes what the epochs run in: it gives `stop`, as of `search_stream`.

    Raises:
      DataError: The files cannot be used, or every network diverged.
      CheckpointError: As of `search_stream`.
      Stopped: As of `search_stream`.
    """
    watch, team = watch or Watch(), None
    if mesh is not None and jax.process_count() > 1:
        team = Team(jax.process_index(), jax.process_count(), gather_bytes)
    found = survey(
        source,
        recipe.target,
        positive=recipe.positive,
        fractions=recipe.fractions,
        seed=recipe.seed,
        wishes=recipe.columns,
        n_threads=n_threads,
        team=team,
        watch=_surveying(watch, source.n_rows // (team.n_processes if team else 1)),
    )
    _check_parts(found)
    sample, data = _prepare(found)
    watch.prepared(data)
    process = (team.process, team.n_processes) if team else (0, 1)
    rows = PartRows(found, found.preprocessor, TRAIN, n_threads, process)
    with Stopwatch() as stopwatch, listen() as stop, _store(scratch, recipe, team) as store:
        how: dict[str, Any] = {"mesh": mesh, "stop": stop, "callback": watch.progress}
        if checkpoints is not None:
            how["checkpoints"] = checkpoints._replace(identity=_identity(recipe, found))
        result = _search(_TableBlocks(rows, recipe.seed, store), data, recipe, how)
    trained = _trained(data, found, recipe, result)
    test = partial(_test, rows._replace(part=TEST))
    outcome = conclude(data, recipe, trained, rule, stopwatch, test)
    report = outcome.report
    report["rows"] = source.n_rows
    report["split"] = dict(zip(report["split"], found.sizes, strict=True))
    report["stream"] = {
        "files": len(source.files),
        "bytes": sum(file.size for file in source.files),
        "sample": {name: len(rows) for name, rows in data.split._asdict().items()},
        "positives": found.positives.tolist(),
    }
    return Streamed(outcome, sample)


def _surveying(watch: Watch, n_rows: int) -> Callable[[int], object]:
    tell = watch.progress
    if tell is None:
        return lambda _: None
    return lambda n_done: tell(SurveyProgress(min(n_done, n_rows), n_rows))


def _check_parts(found: Survey) -> None:
    """Refuses parts that cannot do what they are for."""
    sizes, positives = found.sizes, found.positives.tolist()
    for name, share, n, n_positive in zip(
        Split._fields, found.reading.fractions, sizes, positives, strict=True
    ):
        if share > 0 and not 0 < n_positive < n:
            raise DataError(
                f"--split leaves the {name} part with {n} rows, {n_positive} of them "
                "positive: it needs both labels; give it a greater share"
            )


def _prepare(found: Survey) -> tuple[pa.Table, Prepared]:
    """The samples as one table, prepared like a table in memory."""
    sample = pa.concat_tables(found.samples)
    bounds = np.cumsum([0, *(part.num_rows for part in found.samples)])
    rows = [np.arange(a, b) for a, b in itertools.pairwise(bounds.tolist())]
    notes = [f"column {name!r} is not used: {why}" for name, why in found.dropped.items()]
    columns = decode(sample, found.preprocessor.kinds)
    target = found.reading.target
    data = Prepared(
        X=found.preprocessor.encode(columns),
        y=encode_labels(sample[target], target, found.classes),
        split=Split(*rows),
        preprocessor=found.preprocessor,
        classes=found.classes,
        notes=notes,
        fingerprint=found.fingerprint,
    )
    return sample, data


class _TableBlocks(NamedTuple):
    """An epoch's rows as `search_stream` takes them."""

    rows: PartRows
    seed: int
    store: RowStore | None

    def blocks(self, epoch: int, skip: int) -> Iterator[Any]:
        for block in self.rows.shuffled((self.seed, epoch), skip, self.store):
            yield Elsewhere(*block) if isinstance(block, ReadElsewhere) else block


def _store(
    scratch: Path, recipe: LectureRecipe, team: Team | None
) -> AbstractContextManager[RowStore | None]:
    """Where rows are kept that are prepared once and used again.

    Of several processes each reads other rows in each epoch.
    """
    is_used = recipe.n_epochs > 1 and team is None
    return row_store(scratch) if is_used else nullcontext()


def _search(
    blocks: _TableBlocks, data: Prepared, recipe: LectureRecipe, how: dict[str, Any]
) -> SearchResult:
    rows = blocks.rows
    key = jax.random.split(jax.random.key(recipe.seed))[1]
    batch_size = batch_size_of(recipe, rows.n_rows)
    n_steps = recipe.n_epochs * -(-rows.n_rows // batch_size)
    val = data.split.val
    X_val = data.X[val].astype(np.float64 if recipe.dtype == "float64" else np.float32)
    n_positive = int(rows.survey.positives[TRAIN])
    counts = {0: rows.n_rows - n_positive, 1: n_positive}
    balanced = {label: rows.n_rows / (2 * count) for label, count in counts.items()}
    try:
        return search_stream(
            key,
            blocks,
            X_val,
            data.y[val],
            learning_rates=learning_rates_of(recipe),
            hidden_sizes=recipe.hidden_sizes,
            n_epochs=recipe.n_epochs,
            batch_size=batch_size,
            l2=recipe.l2,
            n_seeds=recipe.seeds,
            n_best=recipe.ensemble,
            optimizer=optimizer_of(recipe, n_steps),
            init=recipe.init,
            class_weight=balanced if recipe.class_weight else None,
            compute_dtype="bfloat16" if recipe.dtype == "bfloat16" else None,
            patience=recipe.patience,
            device=recipe.device if how["mesh"] is None else None,
            **how,
        )
    except FloatingPointError as error:
        raise DataError(f"{error}; give a smaller --learning-rate or --l2") from error
    except (DataError, CheckpointError):
        raise
    except ValueError as error:
        raise DataError(with_flags(str(error))) from error


def _identity(recipe: LectureRecipe, found: Survey) -> dict[str, Any]:
    """What must be the same for a run to go on; where it runs may change."""
    settings = {**recipe._asdict(), "columns": dict(recipe.columns)}
    del settings["device"]
    n_rows = found.reading.source.n_rows
    data = f"{n_rows} rows with the fingerprint {found.fingerprint}"
    return {**settings, "data": data}  # settings first: a seed changes the fingerprint too


def _trained(
    data: Prepared, found: Survey, recipe: LectureRecipe, result: SearchResult
) -> Trained:
    networks, rows = result.ensemble, data.split.val
    notes = notes_of(result, recipe.ensemble)
    kept = tuple(len(part) for part in data.split)
    _, n_val, n_test = kept
    if (n_val, n_test) != found.sizes[1:]:
        notes.append(
            "the curves and intervals of the report, and the choice of the network, are "
            f"those of random rows: {n_val} of the validation part, {n_test} of the test "
            "part"
        )
    return Trained(
        networks=networks,
        preprocessor=data.preprocessor,
        origin=None,
        val_rows=rows,
        val_logits=predict_logits(networks, data.X[rows]),
        account=account_of(result),
        privacy=None,
        notes=notes,
    )


def _test(rows: PartRows, model: Model) -> Metrics | None:
    if not rows.n_rows:
        return None
    sums = MetricSums(model.threshold_logit)
    for X, y in rows.in_order():
        sums.add(predict_logits(model.networks, X), y.astype(np.int32))
    if rows.process[1] > 1:
        own, *others = gather_bytes(sums.to_bytes())
        sums = MetricSums.from_bytes(model.threshold_logit, own)
        for other in others:
            sums.merge(MetricSums.from_bytes(model.threshold_logit, other))
    return sums.result()
