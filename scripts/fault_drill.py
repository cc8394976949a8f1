"""Kills training runs with SIGKILL at random moments and lets them go on.

Each run is `jaxmlp train --stream --checkpoint ... --resume` in folders of its own. It is
killed once to three times: at a moment drawn from the whole of its duration, or while it
writes a checkpoint. The last start is left alone, and must end with the bits of a run that
was never disturbed, with the same numbers in its report, and with nothing left anywhere
but the model and the checkpoints. Every fourth run reads CSV, which is spooled; every fifth
has a cache of compiled programs of its own, so that writing to it is cut short as well.

Then two processes train together, and one of them is killed: the other must end with a
message within a minute, and both, started again, must end with the bits of an undisturbed
pair.

    python scripts/fault_drill.py --runs 100 --pairs 10 --seed 0

Exit code 1 if a run ended otherwise.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from arguments import make_parser, seed, share, whole

ROOT = Path(__file__).resolve().parent.parent
PHASES = ("survey", "compile", "training", "save", "report")
"""Where a kill may hit: until the columns are shown, until this start's first checkpoint,
in a save, and after the last one."""

_FLAGS = (
    "--target", "y", "--split", "94/3/3", "--hidden", "0,8", "--learning-rate", "0.003",
    "--ensemble", "2", "--out", "model",
)  # fmt: skip
_KEEPING = ("--checkpoint", "checkpoints", "--checkpoint-every", "0", "--resume")
_SAVE = 0.004  # seconds, about; a kill comes so long after a save has begun at most
_FILES = 3
_LONGEST = 60  # seconds, until a process ends whose peer was killed
_PATH = os.environ.get("PYTHONPATH")


class Settings(NamedTuple):
    """What all runs share.

    Attributes:
      data: Folder of the data set, in a folder for each format.
      cache: JAX's compiled programs.
      flags: Of the command.
      during_saves: Share of the kills that wait for a save.
    """

    data: Path
    cache: Path
    flags: tuple[str, ...]
    during_saves: float


class Reference(NamedTuple):
    """A run that nothing disturbed.

    Attributes:
      model: Bytes of its parameters.
      report: Numbers of its report.
      seconds: How long it took.
      last: Name of its last checkpoint.
    """

    model: bytes
    report: Any
    seconds: float
    last: str


class Outcome(NamedTuple):
    """How a disturbed run went.

    Attributes:
      title: What it was.
      phases: Where it was killed, kill by kill.
      faults: What is wrong with its end; empty if nothing is.
    """

    title: str
    phases: list[str]
    faults: list[str]


class Start(NamedTuple):
    """One start of the command."""

    process: subprocess.Popen[bytes]
    folder: Path
    before: frozenset[str]  # checkpoints that were there


def main() -> None:
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="jaxmlp-drill-") as name:
        _leave_nothing_behind(Path(name))
        outcomes = drill_one_process(options, Path(name))
        pairs = drill_two_processes(options, Path(name))
        if outcomes:
            print(_summary(outcomes))
        if pairs:
            print(_summary_of_pairs(pairs))
        sys.exit(1 if any(each.faults for each in outcomes + pairs) else 0)


def _leave_nothing_behind(folder: Path) -> None:
    """Lets a signal end the processes that were started, and remove the folder."""

    def end(number: int, _: object) -> None:
        with _starting:
            for process in _started:
                process.kill()
                # Not its wait: the one that the signal has interrupted holds its lock.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, 0)
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


_starting = threading.RLock()
_started: list[subprocess.Popen[bytes]] = []


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--runs",
        type=whole(0),
        default=100,
        help="of one process, 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--pairs",
        type=whole(0),
        default=10,
        help="runs of two processes, 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="of the data, the training and the kills (default: %(default)s)",
    )
    # The training part of the default takes two windows an epoch.
    parser.add_argument(
        "--rows",
        type=whole(1),
        default=300_000,
        help="of the data set (default: %(default)s)",
    )
    parser.add_argument(
        "--epochs", type=whole(1), default=4, help="of each run (default: %(default)s)"
    )
    parser.add_argument(
        "--during-saves",
        type=share,
        default=0.4,
        metavar="SHARE",
        help="of the kills that wait for a save, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs", type=whole(1), default=1, help="runs at a time (default: %(default)s)"
    )
    return parser.parse_args()


def drill_one_process(options: argparse.Namespace, folder: Path) -> list[Outcome]:
    """Disturbs runs of one process each."""
    if not options.runs:
        return []
    kinds = ("parquet", "csv") if options.runs > 3 else ("parquet",)
    for kind in kinds:
        write_data(folder / "data" / kind, options.rows, options.seed)
    settings = _settings(options, folder)
    before = sorted(settings.data.rglob("*"))
    references = {kind: run_undisturbed(settings, folder / kind, kind) for kind in kinds}

    def disturb(number: int) -> Outcome:
        kind = kinds[number % 4 == 1] if len(kinds) > 1 else kinds[0]
        outcome = run_disturbed(
            settings, references[kind], folder / f"run-{number}", kind, number, options.seed
        )
        print(_line(number, outcome), flush=True)
        return outcome

    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(disturb, range(options.runs)))
    if sorted(settings.data.rglob("*")) != before:
        outcomes.append(Outcome("all", [], ["files have appeared beside the data"]))
    return outcomes


def _settings(options: argparse.Namespace, folder: Path) -> Settings:
    flags = (*_FLAGS, "--epochs", str(options.epochs), "--seed", str(options.seed))
    return Settings(folder / "data", folder / "cache", flags, options.during_saves)


def drill_two_processes(options: argparse.Namespace, folder: Path) -> list[Outcome]:
    """Kills one of two processes that train together, and lets them go on."""
    if not options.pairs:
        return []
    settings = _settings(options, folder)
    if not (settings.data / "parquet").exists():
        write_data(settings.data / "parquet", options.rows, options.seed)
    began = time.monotonic()
    undisturbed = start_pair(settings, folder / "pair")
    assert [each.process.wait() for each in undisturbed] == [0, 0], _said(folder / "pair")
    seconds = time.monotonic() - began
    print(f"undisturbed, two processes: {seconds:.1f} s", flush=True)
    reference = Reference(*_result(folder / "pair"), seconds, "")
    outcomes = []
    for number in range(options.pairs):
        rng = np.random.default_rng([options.seed, 1, number])
        outcomes.append(
            _kill_one_of_two(settings, reference, folder / f"pair-{number}", rng)
        )
        print(_line(number, outcomes[-1]), flush=True)
    return outcomes


def start_pair(settings: Settings, folder: Path) -> list[Start]:
    """Starts two processes that train together."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    together = ("--coordinator", address, "--num-processes", "2", "--process-id")
    return [
        start(settings, folder, "parquet", (*_KEEPING, *together, str(i)), f"-{i}" * i)
        for i in range(2)
    ]


def _kill_one_of_two(
    settings: Settings, reference: Reference, folder: Path, rng: np.random.Generator
) -> Outcome:
    code: int | None = 0
    while code == 0:  # a pair that ended before its kill counts for nothing
        folder = folder.with_name(f"{folder.name}-again") if folder.exists() else folder
        pair, killed = start_pair(settings, folder), int(rng.integers(2))
        while not _has_shown_columns(folder) and pair[0].process.poll() is None:
            time.sleep(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            pair[0].process.wait(rng.uniform(0, reference.seconds / 3))
        pair[killed].process.kill()
        began = time.monotonic()
        code = _wait_for(pair[1 - killed].process)
    seconds = time.monotonic() - began
    faults = []
    said = _said(folder, f"-{1 - killed}" * (1 - killed))
    if code != 1 or f"process {killed} of 2 is gone" not in said:
        faults.append(f"exit code {code}: {said}")
    limit = 20 * reference.seconds
    again = [_wait_for(each.process, limit) for each in start_pair(settings, folder)]
    if again == [0, 0]:
        faults += _faults(folder, reference)
    else:
        faults.append(f"then exit codes {again}: {_said(folder)}")
    title = f"process {killed} of two, the other ended after {seconds:.1f} s"
    return Outcome(title, ["training"], faults)


def _wait_for(process: subprocess.Popen[bytes], limit: float = _LONGEST) -> int | None:
    """Exit code of a process; None if it takes longer than so many seconds."""
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        process.kill()
        return None


def write_data(folder: Path, n_rows: int, seed: int) -> None:
    """Writes numbers, categories and missing values in files of the folder's name."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n_rows))
    job = rng.choice(["clerk", "cook", "pilot"], n_rows)
    is_missing = rng.random(n_rows) < 0.05
    y = a * b + (job == "cook") + 0.3 * rng.normal(size=n_rows) > 0.3
    columns = {"a": pa.array(a, mask=is_missing), "b": b, "job": job, "y": y.astype(int)}
    table, n_each = pa.table(columns), -(-n_rows // _FILES)
    folder.mkdir(parents=True)
    for i in range(_FILES):
        part, path = table.slice(i * n_each, n_each), folder / f"part-{i}.{folder.name}"
        if folder.name == "csv":
            pyarrow.csv.write_csv(part, path)
        else:
            pyarrow.parquet.write_table(part, path, row_group_size=max(1, n_each // 5))


def run_undisturbed(settings: Settings, folder: Path, kind: str) -> Reference:
    """Trains with checkpoints and without, which must agree."""
    plain = start(settings, folder / "plain", kind, ())
    assert plain.process.wait() == 0, _said(folder / "plain")
    began = time.monotonic()
    kept = start(settings, folder / "kept", kind)
    assert kept.process.wait() == 0, _said(folder / "kept")
    seconds = time.monotonic() - began
    names = sorted(_checkpoints(kept.folder))
    reference = Reference(*_result(kept.folder), seconds, names[-1])
    if (reference.model, reference.report) != _result(plain.folder):
        sys.exit("undisturbed runs with checkpoints and without differ")
    print(f"undisturbed, {kind}: {seconds:.1f} s", flush=True)
    return reference


def run_disturbed(
    settings: Settings,
    reference: Reference,
    folder: Path,
    kind: str,
    number: int,
    seed: int,
) -> Outcome:
    """Kills a run once to three times, and looks at what it ends with."""
    rng, phases, attempt = np.random.default_rng([seed, number]), list[str](), 0
    if number % 5 == 4:
        settings = settings._replace(cache=folder / "cache")
    n_kills = int(rng.integers(1, 4))
    while not phases:  # a start that ended before its kill counts for nothing
        place, attempt = folder / f"attempt-{attempt}", attempt + 1
        for _ in range(n_kills):
            running = start(settings, place, kind)
            if not _kill(running, rng, reference.seconds, settings.during_saves):
                break
            phases.append(_phase(running, reference))
    last = start(settings, place, kind)
    code = last.process.wait()
    faults = [f"exit code {code}: {_said(place)}"] if code else _faults(place, reference)
    return Outcome(kind, phases, faults)


def start(
    settings: Settings,
    folder: Path,
    kind: str,
    flags: Sequence[str] = _KEEPING,
    suffix: str = "",
) -> Start:
    """Starts the command in a folder of its own: its files, temporary ones, its home."""
    command = [sys.executable, "-m", "jaxmlp", "train"]
    command += [str(settings.data / kind / f"part-*.{kind}"), "--stream", *settings.flags]
    environment = os.environ | {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "temporary"),
        "JAX_COMPILATION_CACHE_DIR": str(settings.cache),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [_PATH])]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    out, err = (folder / f"{name}{suffix}.txt" for name in ("out", "err"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_starting)  # also before a folder is made: a signal removes all
        for name in ("work", "temporary", "home"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        before = frozenset(_checkpoints(folder))
        process = subprocess.Popen(
            [*command, *flags],
            cwd=folder / "work",
            env=environment,
            stdout=stack.enter_context(out.open("wb")),
            stderr=stack.enter_context(err.open("wb")),
        )
        _started.append(process)
    return Start(process, folder, before)


def _kill(
    running: Start, rng: np.random.Generator, seconds: float, during_saves: float
) -> bool:
    """Kills a start; False if it ended before."""
    if rng.random() < during_saves:
        n_saves, pause = int(rng.integers(1, 7)), max(0, rng.uniform(-_SAVE, _SAVE))
        if _wait_for_save(running, n_saves):
            time.sleep(pause)
            running.process.kill()
    else:
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(rng.uniform(0, seconds))
        running.process.kill()
    return running.process.wait() == -signal.SIGKILL


def _wait_for_save(running: Start, n_saves: int) -> bool:
    """Waits until a start has begun so many saves, or has ended."""
    seen = set[str]()
    while running.process.poll() is None:
        seen |= _unfinished(running.folder)
        if len(seen) >= n_saves:
            return True
        time.sleep(0.0002)
    return False


def _phase(killed: Start, reference: Reference) -> str:
    found = _checkpoints(killed.folder)
    if _unfinished(killed.folder):
        return "save"
    if reference.last in found:
        # A start that finds the run over still surveys the table anew.
        return "report" if _has_shown_columns(killed.folder) else "survey"
    if not _has_shown_columns(killed.folder):
        return "survey"
    return "training" if found - killed.before else "compile"


def _has_shown_columns(folder: Path) -> bool:
    return "read as" in (folder / "out.txt").read_text(errors="replace")


def _names(folder: Path, pattern: str) -> Iterator[str]:
    try:
        yield from (n for n in os.listdir(folder) if re.fullmatch(pattern, n))
    except FileNotFoundError:
        return


def _checkpoints(folder: Path) -> set[str]:
    return set(_names(folder / "work" / "checkpoints", r"[0-9]{12}"))


def _unfinished(folder: Path) -> set[str]:
    return set(_names(folder / "work" / "checkpoints", r"\.[0-9]{12}\.unfinished"))


def _result(folder: Path) -> tuple[bytes, Any]:
    model = folder / "work" / "model"
    report = json.loads((model / "report.json").read_text())
    return (model / "model.safetensors").read_bytes(), _without_times(report)


def _without_times(value: Any) -> Any:
    """A report without what two runs may differ in."""
    if isinstance(value, dict):
        left_out = ("seconds", "command")
        return {k: _without_times(v) for k, v in value.items() if k not in left_out}
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def _faults(folder: Path, reference: Reference) -> list[str]:
    model, report = _result(folder)
    faults = []
    if model != reference.model:
        faults.append("other bits of the model")
    if report != reference.report:
        odd = [name for name in report if report[name] != reference.report.get(name)]
        faults.append(f"other numbers in the report: {', '.join(odd)}")
    expected = re.compile(
        r"(out|err)(-1)?\.txt|work/model/(model\.(safetensors|json)|report\.(json|html))"
        r"|work/checkpoints/[0-9]{12}/.*"
    )
    left = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    left += [str(p.relative_to(folder)) for p in folder.glob("*/.*")]
    strange = sorted(name for name in left if not expected.fullmatch(name))
    return [*faults, *(f"left behind: {name}" for name in strange)]


def _said(folder: Path, suffix: str = "") -> str:
    text = (folder / f"err{suffix}.txt").read_text(errors="replace")
    return " ".join(text.split())[-300:]


def _line(number: int, outcome: Outcome) -> str:
    end = "; ".join(outcome.faults) or "same bits"
    return f"run {number:3d}, {outcome.title}: killed in {', '.join(outcome.phases)}: {end}"


def _summary(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(phase for each in outcomes for phase in each.phases)
    n_same = sum(not each.faults for each in outcomes)
    rows = [f"{phase:>9} {counts[phase]:5d}" for phase in PHASES]
    return "\n".join(
        [
            "kills by phase",
            *rows,
            f"{'all':>9} {counts.total():5d}",
            f"{n_same} of {len(outcomes)} runs ended with the bits of the undisturbed run, "
            "and left nothing else behind",
        ]
    )


def _summary_of_pairs(outcomes: Sequence[Outcome]) -> str:
    n_same = sum(not each.faults for each in outcomes)
    return (
        f"{n_same} of {len(outcomes)} pairs: the other process ended with a message, and "
        "both, started again, with the bits of the undisturbed pair"
    )


if __name__ == "__main__":
    main()
