"""Whole processes, in turn, in one run.

Each but the last trains one network (32 hidden units, SGD, 200 epochs, mini-batches of 32)
on the breast-cancer table from the same CSV file: a scikit-learn script, a script that
calls `jaxmlp.fit` with JAX's cache of compiled programs empty and filled, and the
`jaxmlp train` command, cached, which also draws the parts, preprocesses, tests and writes
the model. The last, `jaxmlp predict`, cached, predicts 1,000 rows by an ensemble of the
default recipe.

    python scripts/bench_cold.py [--rounds 7] [--json FILE]
"""

import argparse
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

from sklearn.datasets import load_breast_cancer

READ = """
import numpy as np
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
                      batch_size=32, max_iter=200, tol=0.0, n_iter_no_change=200)
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
             n_epochs=200, batch_size=32)
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
PREDICT = ["-m", "jaxmlp", "predict", "ensemble", "rows.csv", "--out", "predicted.csv",
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
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    times: dict[str, list[float]] = {
        name: []
        for name in (
            "scikit-learn",
            "ours, first",
            "ours, cached",
            "command, cached",
            "predict, cached",
        )
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        X, y = load_breast_cancer(return_X_y=True)
        lines = [",".join(map(repr, [*row, label])) for row, label in
                 zip(X.tolist(), y.tolist(), strict=True)]  # fmt: skip
        header = ",".join([*(f"x{i}" for i in range(X.shape[1])), "target"])
        (folder / "table.csv").write_text("\n".join([header, *lines]) + "\n")
        rows = [lines[i % len(lines)] for i in range(N_PREDICTED)]
        (folder / "rows.csv").write_text("\n".join([header, *rows]) + "\n")
        seconds_of(["-c", SCIKIT_LEARN], folder)  # so that all files have been read once
        seconds_of(ENSEMBLE, folder)
        for _ in range(options.rounds):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            times["scikit-learn"].append(seconds_of(["-c", SCIKIT_LEARN], folder))
            times["ours, first"].append(seconds_of(["-c", OURS], folder))
            times["ours, cached"].append(seconds_of(["-c", OURS], folder))
            seconds_of(COMMAND, folder)
            times["command, cached"].append(seconds_of(COMMAND, folder))
            seconds_of(PREDICT, folder)
            times["predict, cached"].append(seconds_of(PREDICT, folder))
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
