"""Time of one training step, beside scikit-learn's, in one run.

For each shape (features, hidden units, batch size), plain SGD on the same data: `fit` with
its own gradient, `fit` with the textbook gradient, and scikit-learn's MLPClassifier. The
contestants take turns for several rounds; the medians count. Compile time stands apart.

    python scripts/bench_step.py [--rounds 5] [--json FILE]
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import optax
from sklearn.neural_network import MLPClassifier

from jaxmlp import backward, bce_with_logits, fit, forward_with_cache, init_params
from jaxmlp.core import loss_and_grads
from jaxmlp.interfaces.timing import Stopwatch

SHAPES = [(30, 64, 32), (28, 64, 128), (28, 300, 1024), (500, 512, 1024)]
STEPS_AN_EPOCH = 20


def textbook(params, X, y, sample_weight):
    logits, cache = forward_with_cache(params, X)
    loss = bce_with_logits(logits, y).mean()
    return loss, backward(params, cache, y, sample_weight)


def ours(gradient_fn, X, y, q: int, batch_size: int, n_epochs: int) -> Callable[[], None]:
    params = init_params(jax.random.key(0), (X.shape[1], q, 1))
    optimizer = optax.sgd(0.01)

    def run() -> None:
        fit(
            jax.random.key(1),
            params,
            X,
            y,
            optimizer=optimizer,
            n_epochs=n_epochs,
            batch_size=batch_size,
            gradient_fn=gradient_fn,
        )

    return run


def theirs(X, y, q: int, batch_size: int, n_epochs: int) -> Callable[[], None]:
    def run() -> None:
        MLPClassifier(
            (q,),
            solver="sgd",
            momentum=0.0,
            alpha=0.0,
            learning_rate_init=0.01,
            batch_size=batch_size,
            max_iter=n_epochs,
            tol=0.0,
            n_iter_no_change=n_epochs,
        ).fit(X, y)

    return run


def measure(shape: tuple[int, int, int], n_rounds: int) -> dict:
    p, q, batch_size = shape
    rng = np.random.default_rng(0)
    X = rng.normal(size=(STEPS_AN_EPOCH * batch_size, p)).astype(np.float32)
    y = rng.integers(0, 2, len(X))
    # About 3 GFLOP a measurement, at least five epochs.
    n_epochs = max(5, int(3e9 / (6 * p * q * batch_size * STEPS_AN_EPOCH)))
    contestants = {
        "ours": ours(loss_and_grads, X, y, q, batch_size, n_epochs),
        "textbook": ours(textbook, X, y, q, batch_size, n_epochs),
        "scikit-learn": theirs(X, y, q, batch_size, n_epochs),
    }
    with Stopwatch() as first:
        contestants["ours"]()
    contestants["textbook"]()
    microseconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(n_rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            seconds = time.perf_counter() - began
            microseconds[name].append(1e6 * seconds / (n_epochs * STEPS_AN_EPOCH))
    medians = {name: statistics.median(times) for name, times in microseconds.items()}
    return {"shape": shape, "compile_seconds": first.compile, "microseconds": medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn's note that it has not converged
    versions = {name: version(name) for name in ("jax", "jaxlib", "numpy", "scikit-learn")}
    print(f"python {platform.python_version()}, {versions}")
    print("median µs a step of", options.rounds, "rounds; ratio = scikit-learn / ours")
    results = []
    for shape in SHAPES:
        row = measure(shape, options.rounds)
        results.append(row)
        times = row["microseconds"]
        print(
            f"{shape!s:18} ours {times['ours']:8.1f}  textbook {times['textbook']:8.1f}  "
            f"scikit-learn {times['scikit-learn']:8.1f}  "
            f"ratio {times['scikit-learn'] / times['ours']:5.1f}  "
            f"compile {row['compile_seconds']:.1f} s",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps({"versions": versions, "rows": results}) + "\n")


if __name__ == "__main__":
    main()
