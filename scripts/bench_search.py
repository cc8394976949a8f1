"""A search of 256 networks beside scikit-learn's GridSearchCV, in one run.

8 step sizes, 4 widths, 4 penalties and 2 seeds, 100 epochs of SGD each, on the
breast-cancer table, chosen on the same validation rows; both on all processors. They take
turns for several rounds, and the medians count; our first search, which compiles, is told
apart. Then each of the 256 networks is fitted alone, unpadded, to see that the search's
table says the same.

    python scripts/bench_search.py --rounds 3 --json search.json
"""

import json
import os
import platform
import statistics
import time
import warnings
from importlib.metadata import version
from typing import NamedTuple

import jax
import numpy as np
import optax
from arguments import add_json, add_quick, add_rounds, make_parser
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from jaxmlp import fit, init_params, search, train_val_test_split
from jaxmlp.training import SearchResult

BATCH = 32
KEY = jax.random.key(0)


class Grid(NamedTuple):
    """What is searched, and for how long."""

    rates: tuple[float, ...]
    widths: tuple[int, ...]
    penalties: tuple[float, ...]
    n_seeds: int
    n_epochs: int


FULL = Grid(
    rates=tuple(float(f"{rate:.2g}") for rate in np.geomspace(0.003, 0.3, 8)),
    widths=(8, 16, 32, 64),
    penalties=(0.0, 1e-4, 1e-3, 1e-2),
    n_seeds=2,
    n_epochs=100,
)
QUICK = Grid(rates=(0.01, 0.1), widths=(4, 8), penalties=(1e-3,), n_seeds=1, n_epochs=2)


def ours(grid: Grid, X, y, train, val) -> SearchResult:
    return search(
        KEY,
        X[train],
        y[train],
        X[val],
        y[val],
        learning_rates=grid.rates,
        hidden_sizes=grid.widths,
        l2=grid.penalties,
        n_seeds=grid.n_seeds,
        n_epochs=grid.n_epochs,
        batch_size=BATCH,
    )


def grid_search(grid: Grid, X, y, train, val) -> GridSearchCV:
    model = MLPClassifier(
        solver="sgd",
        momentum=0.0,
        batch_size=BATCH,
        max_iter=grid.n_epochs,
        tol=0.0,
        n_iter_no_change=grid.n_epochs,
    )
    choices = {
        "learning_rate_init": grid.rates,
        "hidden_layer_sizes": [(q,) for q in grid.widths],
        "alpha": [l2 * BATCH for l2 in grid.penalties],  # divided by the batch size there
        "random_state": list(range(grid.n_seeds)),
    }
    rows = np.concatenate([train, val])
    split = PredefinedSplit(np.repeat([-1, 0], [len(train), len(val)]))
    chosen = GridSearchCV(
        model, choices, scoring="neg_log_loss", cv=split, n_jobs=-1, refit=False
    )
    return chosen.fit(X[rows], y[rows])


def each_alone(grid: Grid, X, y, train, val) -> np.ndarray:
    """Lowest validation loss of each network, fitted by itself without padding."""
    init_key, shuffle_key = jax.random.split(KEY)
    losses = []
    for q in grid.widths:
        for rate in grid.rates:
            optimizer = optax.sgd(rate)
            for l2 in grid.penalties:
                for seed in range(grid.n_seeds):
                    seed_key = jax.random.fold_in(init_key, seed)
                    alone = fit(
                        shuffle_key,
                        init_params(seed_key, (X.shape[1], q, 1)),
                        X[train],
                        y[train],
                        X_val=X[val],
                        y_val=y[val],
                        optimizer=optimizer,
                        n_epochs=grid.n_epochs,
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
    parser = make_parser(__doc__)
    add_rounds(parser, 3)
    add_quick(parser)
    add_json(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn's note that it has not converged
    os.environ["PYTHONWARNINGS"] = "ignore"
    X, y = load_breast_cancer(return_X_y=True)
    train, val, _ = train_val_test_split(jax.random.key(1), len(y))
    X = StandardScaler().fit(X[train]).transform(X).astype(np.float32)
    data = (QUICK if options.quick else FULL, X, y, train, val)

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
