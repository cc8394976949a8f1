"""Whole processes, in turn, in one run.

Each but the last trains one network (32 hidden units, SGD, 200 epochs, mini-batches of 32)
on the breast-cancer table from the same CSV file: a scikit-learn script, a script that
calls `jaxmlp.fit` with JAX's cache of compiled programs empty and filled, and the
`jaxmlp train` command, cached, which also draws the parts, preprocesses, tests and writes
the model. The last, `jaxmlp predict`, cached, predicts 1,000 rows by an ensemble of the
default recipe.

    python scripts/bench_cold.py --rounds 7 --json cold.json
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from arguments import add_json, add_quick, add_rounds, make_parser
from sklearn.datasets import load_breast_cancer

READ = """
import sys
import numpy as np
n_epochs = int(sys.argv[1])
table = np.loadtxt("table.csv", delimiter=",", skiprows=1, dtype=np.float32)
X, y = table[:, :-1], table[:, -1].astype(int)
order = np.random.default_rng(0).permutation(len(y))
train, test = order[:398], order[398:]
X = (X - X[train].mean(0)) / X[train].std(0)
"""

SCIKIT_LEARN = (
    READ
    + """
import warnings
from sklearn.neural_network import MLPClassifier
warnings.simplefilter("ignore")
model = MLPClassifier((32,), solver="sgd", momentum=0.0, alpha=0.0, learning_rate_init=0.1,
                      batch_size=32, max_iter=n_epochs, tol=0.0, n_iter_no_change=n_epochs)
model.fit(X[train], y[train])
print(model.score(X[test], y[test]))
"""
)

OURS = (
    READ
    + """
import jax, optax
from jaxmlp import fit, init_params
jax.config.update("jax_compilation_cache_dir", "cache")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
from jaxmlp import predict_proba
params = init_params(jax.random.key(0), (30, 32, 1))
result = fit(jax.random.key(1), params, X[train], y[train], optimizer=optax.sgd(0.1),
             n_epochs=n_epochs, batch_size=32)
probs = np.asarray(jax.jit(predict_proba)(result.params, X[test]))
print(np.mean((probs >= 0.5) == y[test]))
"""
)

COMMAND = ["-m", "jaxmlp", "train", "table.csv", "--target", "target", "--out", "model",
           "--recipe", "lecture",
           "--hidden", "32", "--learning-rate", "0.1", "--patience", "0",
           "--quiet"]  # fmt: skip
ENSEMBLE = ["-m", "jaxmlp", "train", "table.csv", "--target", "target", "--out", "ensemble",
            "--quiet"]  # fmt: skip
N_PREDICTED = 1000


def seconds_of(arguments: list[str], folder: Path) -> float:
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def main() -> None:
    parser = make_parser(__doc__)
    add_rounds(parser, 7)
    add_quick(parser)
    add_json(parser)
    options = parser.parse_args()
    n_epochs = "2" if options.quick else "200"
    scikit_learn, ours = ["-c", SCIKIT_LEARN, n_epochs], ["-c", OURS, n_epochs]
    command = [*COMMAND, "--epochs", n_epochs]
    # Predicting with what the command has trained saves a training.
    model = "model" if options.quick else "ensemble"
    predict = ["-m", "jaxmlp", "predict", model, "rows.csv", "--out", "predicted.csv",
               "--quiet"]  # fmt: skip
    contestants = {
        "scikit-learn": scikit_learn,
        "ours, first": ours,
        "ours, cached": ours,
        "command, cached": command,
        "predict, cached": predict,
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        X, y = load_breast_cancer(return_X_y=True)
        lines = [",".join(map(repr, [*row, label])) for row, label in
                 zip(X.tolist(), y.tolist(), strict=True)]  # fmt: skip
        header = ",".join([*(f"x{i}" for i in range(X.shape[1])), "target"])
        (folder / "table.csv").write_text("\n".join([header, *lines]) + "\n")
        rows = [lines[i % len(lines)] for i in range(N_PREDICTED)]
        (folder / "rows.csv").write_text("\n".join([header, *rows]) + "\n")
        if not options.quick:
            seconds_of(scikit_learn, folder)  # so that all files have been read once
            seconds_of(ENSEMBLE, folder)
        for _ in range(options.rounds):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            for name, arguments in contestants.items():
                if arguments in (command, predict) and not options.quick:
                    seconds_of(arguments, folder)  # fills the cache
                times[name].append(seconds_of(arguments, folder))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {
            name: version(name) for name in ("jax", "jaxlib", "numpy", "scikit-learn")
        },
        "python": platform.python_version(),
        "threads": len(os.sched_getaffinity(0)),
        "seconds": medians,
        "rounds": times,
        "of_scikit_learn": {
            name: seconds / medians["scikit-learn"] for name, seconds in medians.items()
        },
    }
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
