"""Training on Parquet files beside training in memory, and beside pyarrow alone.

Writes 20,000,000 rows of 28 float32 features (about 2.3 GB; kept if FOLDER is given), then

- reads and prepares them without training, lets pyarrow decode and NumPy stack them, and
  reads prepared rows that were kept, in turn, medians of the rounds;
- trains (28, 300, 1) and (28, 64, 1) by SGD at batch 1024 on the files, and on the same
  rows in memory, in turn, all compiled before. An epoch's rate is shown where nothing is
  kept, of the first epoch where prepared rows are kept, and of one after it, which reads
  those;
- starts processes of their own that train two epochs on a tenth of the files and on all,
  and prints the most memory each has held.

    python scripts/bench_stream.py --folder FOLDER --rounds 3

Training on all rows in memory takes 8 GB.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import optax
import pyarrow as pa
import pyarrow.parquet as pq
from arguments import add_rounds, make_parser, whole

from jaxmlp import fit, fit_stream, init_params
from jaxmlp.core import Params
from jaxmlp.data.stream.rows import PartRows
from jaxmlp.data.stream.source import Source, find_files, open_source
from jaxmlp.data.stream.store import Rows, RowStore, row_store
from jaxmlp.data.stream.survey import survey

N_FEATURES, BATCH_SIZE = 28, 1024
PER_FILE, PER_GROUP = 2_000_000, 131_072
SGD = optax.sgd(0.1)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--rows",
        type=whole(1),
        default=20_000_000,
        help="to write, in files of 2,000,000 (default: %(default)s)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="keeps the files, and has them from an earlier run (default: a temporary one)",
    )
    add_rounds(parser, 3)
    parser.add_argument(
        "--readers",
        type=whole(1),
        default=2,
        help="threads that read (default: %(default)s)",
    )
    parser.add_argument("--measure", metavar="HIDDEN", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure_memory(options)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        write_files(folder, options.rows)
        source = open_source(find_files(folder))
        rows = rows_of(source, options.readers)
        compare_reading(rows, options.rounds, folder)
        table = read_all(rows)
        for hidden in (300, 64):
            compare_training(rows, table, hidden, options.rounds, folder)
        del table
        compare_memory(folder, options)


def write_files(folder: Path, n_rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(0).normal(size=N_FEATURES).astype(np.float32) * 0.3
    for i, first in enumerate(range(0, n_rows, PER_FILE)):
        path = folder / f"part-{i:03d}.parquet"
        if path.exists():
            continue
        rng = np.random.default_rng([1, i])
        n = min(PER_FILE, n_rows - first)
        X = rng.standard_normal((N_FEATURES, n), dtype=np.float32)
        chances = 1 / (1 + np.exp(-(weights @ X)))
        columns = {f"x{j}": X[j] for j in range(N_FEATURES)}
        y = (rng.random(n) < chances).astype(np.int8)
        # Random numbers do not compress.
        pq.write_table(
            pa.table({**columns, "target": y}),
            path,
            row_group_size=PER_GROUP,
            compression="none",
            use_dictionary=False,
        )


def rows_of(source: Source, n_threads: int) -> PartRows:
    found = survey(source, "target", fractions=(1.0, 0.0, 0.0), n_threads=n_threads)
    return PartRows(found, found.preprocessor, n_threads=n_threads)


def compare_reading(rows: PartRows, n_rounds: int, folder: Path) -> None:
    source = rows.survey.reading.source

    def ours() -> None:
        for _ in rows.shuffled((1,)):
            pass

    def theirs() -> None:
        for group in source.groups:
            with pq.ParquetFile(group.file.path) as file:
                table = file.read_row_group(group.number)
            np.column_stack([column.to_numpy() for column in table.columns[:N_FEATURES]])

    with row_store(folder) as store:
        for _ in rows.shuffled((1,), 0, store):
            pass

        def kept() -> None:
            for _ in rows.shuffled((1,), 0, store):
                pass

        times = in_turn(n_rounds, ours, theirs, kept)
    mine, pyarrows, again = (source.n_rows / seconds / 1e6 for seconds in times)
    print("million rows/s: read and prepared, decoded and stacked by pyarrow, ratio")
    print(f"{mine:8.2f} {pyarrows:8.2f} {mine / pyarrows:8.2f}")
    print(f"{again:8.2f} read where prepared rows are kept", flush=True)


def compare_training(
    rows: PartRows, table: Rows, hidden: int, n_rounds: int, folder: Path
) -> None:
    params = init_params(jax.random.key(0), (N_FEATURES, hidden, 1))

    def in_memory() -> float:
        _, seconds = time_epochs(
            lambda callback: fit(
                jax.random.key(1),
                params,
                *table,
                optimizer=SGD,
                n_epochs=2,
                batch_size=BATCH_SIZE,
                callback=callback,
            )
        )
        return seconds  # of the second; the first compiles

    def streamed(store: RowStore | None) -> list[float]:
        return time_epochs(lambda callback: train(params, rows, 3, store, callback))

    found = []
    for _ in range(n_rounds):
        from_files = streamed(None)[-1]  # the first compiles
        with row_store(folder) as store:
            first, _, later = streamed(store)
        found.append((in_memory(), from_files, first, later))
    memory, *streams = (statistics.median(each) for each in zip(*found, strict=True))
    rate = rows.n_rows / memory / 1e6
    print(f"million rows/s of ({N_FEATURES}, {hidden}, 1), ratio to memory")
    print(f"{rate:8.2f}          in memory")
    for seconds, name in zip(
        streams, ("nothing kept", "first epoch, keeps rows", "later epochs"), strict=True
    ):
        print(
            f"{rows.n_rows / seconds / 1e6:8.2f} {memory / seconds:8.2f} {name}", flush=True
        )


def train(
    params: Params,
    rows: PartRows,
    n_epochs: int,
    store: RowStore | None,
    callback: Callable[[object], None] | None = None,
) -> None:
    fit_stream(
        jax.random.key(1),
        params,
        lambda epoch: rows.shuffled((1, epoch), 0, store),
        optimizer=SGD,
        n_epochs=n_epochs,
        batch_size=BATCH_SIZE,
        callback=callback,
    )


def read_all(rows: PartRows) -> Rows:
    X = np.empty((rows.n_rows, N_FEATURES), np.float32)
    y = np.empty(rows.n_rows, np.float32)
    end = 0
    for part in rows.in_order():
        start, end = end, end + len(part[1])
        X[start:end], y[start:end] = part
    return X, y


def time_epochs(train: Callable[[Callable[[object], None]], object]) -> list[float]:
    """Seconds of each epoch."""
    times = [time.perf_counter()]
    train(lambda _: times.append(time.perf_counter()))
    return [end - start for start, end in itertools.pairwise(times)]


def in_turn(n_rounds: int, *functions: Callable[[], None]) -> list[float]:
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(n_rounds):
        for function, own in zip(functions, times, strict=True):
            began = time.perf_counter()
            function()
            own.append(time.perf_counter() - began)
    return [statistics.median(own) for own in times]


def compare_memory(folder: Path, options: argparse.Namespace) -> None:
    print("peak resident memory in MB, survey included: rows, two epochs of (28, 300, 1)")
    for n_rows in sorted({options.rows // 10, options.rows}):
        command = [sys.executable, __file__, "--rows", str(n_rows), "--measure", "300"]
        command += ["--folder", str(folder), "--readers", str(options.readers)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        print(f"{found['rows']:10,} {found['megabytes']:8.0f}", flush=True)


def measure_memory(options: argparse.Namespace) -> dict[str, float]:
    """Trains two epochs in this process, and looks at the most memory it has held."""
    n_files = max(1, options.rows // PER_FILE)
    rows = rows_of(open_source(find_files(options.folder)[:n_files]), options.readers)
    params = init_params(jax.random.key(0), (N_FEATURES, options.measure, 1))
    with row_store(options.folder) as store:
        train(params, rows, 2, store)
    # Not of getrusage, which starts with what the parent process held.
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return {"rows": rows.n_rows, "megabytes": int(peak.split()[1]) / 1024}


if __name__ == "__main__":
    main()
