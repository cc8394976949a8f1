"""`jaxmlp.MLPClassifier` beside scikit-learn's: the same 30 epochs from the same weights.

Default parameters, generated tables. "first" is a fit with nothing compiled yet, "again"
another one; both, and scikit-learn's, in turn, medians of the rounds.

    python scripts/bench_estimator.py --rounds 5
"""

import statistics
import time
import warnings

import jax
import numpy as np
from arguments import add_quick, add_rounds, make_parser
from sklearn import neural_network
from sklearn.datasets import make_classification

import jaxmlp

SHAPES = ((500, 30), (5000, 30), (20_000, 100))
QUICK_SHAPES = ((200, 12),)


def main() -> None:
    parser = make_parser(__doc__)
    add_rounds(parser, 5)
    add_quick(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # that 30 epochs do not converge is meant
    print(f"{'rows':>6} {'columns':>7} {'type':8} {'sklearn':>8} first again  ratio")
    for n, p in QUICK_SHAPES if options.quick else SHAPES:
        X, y = make_classification(n, p, n_informative=10, flip_y=0.05, random_state=0)
        for dtype in (np.float64, np.float32):
            theirs, first, again = compare(X.astype(dtype), y, options.rounds)
            print(
                f"{n:6} {p:7} {dtype.__name__:8} {theirs:8.3f} {first:5.2f} {again:5.3f} "
                f"{again / theirs:6.2f}",
                flush=True,
            )


def compare(X: np.ndarray, y: np.ndarray, n_rounds: int) -> tuple[float, ...]:
    """Median seconds of scikit-learn, and of jaxmlp with and without compiling."""
    times: tuple[list[float], ...] = ([], [], [])
    for _ in range(n_rounds):
        times[0].append(seconds_of(neural_network.MLPClassifier, X, y))
        jax.clear_caches()
        times[1].append(seconds_of(jaxmlp.MLPClassifier, X, y))
        times[2].append(seconds_of(jaxmlp.MLPClassifier, X, y))
    return tuple(map(statistics.median, times))


def seconds_of(kind: type, X: np.ndarray, y: np.ndarray) -> float:
    model = kind(max_iter=30, n_iter_no_change=1000, random_state=0)
    began = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
