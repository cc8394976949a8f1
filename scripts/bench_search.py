"""A search of 256 networks beside scikit-learn's GridSearchCV, in one run.

8 step sizes, 4 widths, 4 penalties and 2 seeds, 100 epochs of SGD each, on the
breast-cancer table, chosen on the same validation rows; both on all processors. They take
turns for several rounds, and the medians count; our first search, which compiles, is told
apart. Then each of the 256 networks is fitted alone, unpadded, to see that the search's
table says the same.

    python scripts/bench_search.py [--rounds 3] [--json FILE]
"""

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import optax
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from jaxmlp import fit, init_params, search, train_val_test_split
from jaxmlp.training import SearchResult

RATES = tuple(float(f"{rate:.2g}") for rate in np.geomspace(0.003, 0.3, 8))
WIDTHS = (8, 16, 32, 64)
PENALTIES = (0.0, 1e-4, 1e-3, 1e-2)
SEEDS = 2
EPOCHS = 100
BATCH = 32
KEY = jax.random.key(0)


def ours(X, y, train, val) -> SearchResult:
    return search(
        KEY,
        X[train],
        y[train],
        X[val],
        y[val],
        learning_rates=RATES,
        hidden_sizes=WIDTHS,
        l2=PENALTIES,
        n_seeds=SEEDS,
        n_epochs=EPOCHS,
        batch_size=BATCH,
    )


def grid_search(X, y, train, val) -> GridSearchCV:
    model = MLPClassifier(
        solver="sgd",
        momentum=0.0,
        batch_size=BATCH,
        max_iter=EPOCHS,
        tol=0.0,
        n_iter_no_change=EPOCHS,
    )
    grid = {
        "learning_rate_init": RATES,
        "hidden_layer_sizes": [(q,) for q in WIDTHS],
        "alpha": [l2 * BATCH for l2 in PENALTIES],  # divided by the batch size there
        "random_state": list(range(SEEDS)),
    }
    rows = np.concatenate([train, val])
    split = PredefinedSplit(np.repeat([-1, 0], [len(train), len(val)]))
    chosen = GridSearchCV(
        model, grid, scoring="neg_log_loss", cv=split, n_jobs=-1, refit=False
    )
    return chosen.fit(X[rows], y[rows])


def each_alone(X, y, train, val) -> np.ndarray:
    """Lowest validation loss of each network, fitted by itself without padding."""
    init_key, shuffle_key = jax.random.split(KEY)
    losses = []
    for q in WIDTHS:
        for rate in RATES:
            optimizer = optax.sgd(rate)
            for l2 in PENALTIES:
                for seed in range(SEEDS):
                    seed_key = jax.random.fold_in(init_key, seed)
                    alone = fit(
                        shuffle_key,
                        init_params(seed_key, (X.shape[1], q, 1)),
                        X[train],
                        y[train],
                        X_val=X[val],
                        y_val=y[val],
                        optimizer=optimizer,
                        n_epochs=EPOCHS,
                        batch_size=BATCH,
                        l2=l2,
                    )
                    losses.append(alone.history["val_loss"].min())
    return np.array(losses)


def seconds_of(run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    warnings.simplefilter("ignore")  # scikit-learn's note that it has not converged
    os.environ["PYTHONWARNINGS"] = "ignore"
    X, y = load_breast_cancer(return_X_y=True)
    train, val, _ = train_val_test_split(jax.random.key(1), len(y))
    X = StandardScaler().fit(X[train]).transform(X).astype(np.float32)
    data = (X, y, train, val)

    first = seconds_of(lambda: ours(*data))
    times: dict[str, list[float]] = {"ours": [], "GridSearchCV": []}
    for _ in range(options.rounds):
        times["ours"].append(seconds_of(lambda: ours(*data)))
        times["GridSearchCV"].append(seconds_of(lambda: grid_search(*data)))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}

    table = ours(*data).table
    together = np.array([row.val_loss for row in table])
    alone = each_alone(*data)
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {
            name: version(name) for name in ("jax", "jaxlib", "numpy", "scikit-learn")
        },
        "python": platform.python_version(),
        "threads": len(os.sched_getaffinity(0)),
        "networks": len(table),
        "seconds": {**medians, "ours, first": first},
        "rounds": times,
        "ratio": medians["GridSearchCV"] / medians["ours"],
        "ratio_with_compilation": medians["GridSearchCV"] / first,
        "largest_difference_to_each_alone": float(np.abs(together / alone - 1).max()),
        "same_best": bool(together.argmin() == alone.argmin()),
    }
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
