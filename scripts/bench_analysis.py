"""Which rows made this model: how right, how fast, beside retraining and cleanlab.

    python scripts/bench_analysis.py agreement
    python scripts/bench_analysis.py size --dtype float32
    python scripts/bench_analysis.py retraining --data FOLDER
    python scripts/bench_analysis.py laplace --data FOLDER
    python scripts/bench_analysis.py labels --data FOLDER --cleanlab-python PYTHON

FOLDER holds Parquet tables with a 0/1 column `target`: breast_cancer.parquet,
german_credit.parquet, cells.parquet, phoneme.parquet, spambase.parquet,
email_spam.parquet, telco_churn.parquet and splice_ei.parquet; for laplace and labels also
page_blocks0.parquet and caravan.parquet. With --quick, the first will do.

cleanlab may live in an environment of its own (`pip install cleanlab`). Without it, labels
shows jaxmlp's precision alone.
"""

import argparse
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from arguments import (
    add_quick,
    existing_file,
    existing_folder,
    make_parser,
    positive,
    whole,
)
from jax.typing import ArrayLike

from jaxmlp import bce_with_logits, forward, init_params
from jaxmlp.analysis import (
    evidence,
    influence,
    label_errors,
    laplace,
    laplace_l2,
    leave_one_out,
    leave_one_out_check,
    linear_datamodeling_score,
    optimum,
)
from jaxmlp.analysis.cross_fit import encodings, out_of_fold_logits, stratified_folds
from jaxmlp.analysis.label_errors import network_settings
from jaxmlp.data.columns import decode, infer_kinds
from jaxmlp.data.preprocess import fit_preprocessor
from jaxmlp.data.tables import read_table
from jaxmlp.gradients import logit_factors, materialize

SMALL = {
    "breast_cancer": 569,
    "german_credit": 1000,
    "cells": 2000,
    "phoneme": 1000,
    "spambase": 1000,
    "email_spam": 1000,
    "telco_churn": 1000,
    "splice_ei": 1000,
}
"""Tables and rows (drawn at random) to retrain on."""

TEN = (*SMALL, "page_blocks0", "caravan")


def main() -> None:
    parser = make_parser(__doc__)
    parts = "; ".join(f"{name}: {part.__doc__}" for name, part in PARTS.items())
    parser.add_argument("parts", nargs="+", choices=PARTS, metavar="PART", help=parts)
    parser.add_argument(
        "--data", type=existing_folder, metavar="FOLDER", help="where the tables are"
    )
    parser.add_argument(
        "--l2",
        type=positive,
        nargs="+",
        default=[0.01, 0.03],
        help="strengths of the penalty in retraining and laplace (default: 0.01 0.03)",
    )
    parser.add_argument(
        "--rows",
        type=whole(2),
        default=40,
        help="removed in retraining, one by one (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds",
        type=whole(1),
        default=3,
        help="of flips in labels, each tried (default: %(default)s)",
    )
    parser.add_argument(
        "--most-rows",
        type=whole(1),
        default=10_000,
        help="of a table in labels, drawn at random (default: %(default)s)",
    )
    parser.add_argument(
        "--cleanlab-python",
        type=existing_file,
        metavar="PYTHON",
        help="interpreter that has cleanlab, for labels",
    )
    parser.add_argument(
        "--n",
        type=whole(1),
        default=10_000,
        help="training rows in size (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float64",
        help="in size (default: %(default)s)",
    )
    parser.add_argument(
        "--first-order", action="store_true", help="without leverages, in size"
    )
    add_quick(parser)
    args = parser.parse_args()
    needed = {name for part in args.parts for name in tables(part, quick=args.quick)}
    if needed and args.data is None:
        parser.error(f"{' and '.join(args.parts)}: --data is missing")
    missing = [name for name in sorted(needed) if not path_of(args.data, name).is_file()]
    if missing:
        parser.error(f"{args.data} lacks {', '.join(f'{m}.parquet' for m in missing)}")
    jax.config.update("jax_enable_x64", True)
    for part in args.parts:
        PARTS[part](args)


def tables(part: str, *, quick: bool) -> tuple[str, ...]:
    """Names of those that a part reads."""
    names = {"retraining": tuple(SMALL), "laplace": TEN, "labels": TEN}.get(part, ())
    return names[:1] if quick else names


def path_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"


def load(folder: Path, name: str, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a table drawn at random, as `jaxmlp train` encodes them, float64."""
    table = read_table(path_of(folder, name))
    order = np.random.default_rng(0).permutation(table.num_rows)[:n_rows]
    table = table.take(np.sort(order))
    y = table["target"].to_numpy().astype(np.int32)
    columns = decode(table, infer_kinds(table, "target").used)
    preprocessor, _ = fit_preprocessor(columns, np.arange(len(y)))
    return preprocessor.encode(columns).astype(np.float64), y


def start(p: int, q: int) -> tuple:
    sizes = (p, q, 1) if q else (p, 1)
    return init_params(jax.random.key(0), sizes, dtype=jnp.float64)


def agreement(args: argparse.Namespace) -> None:
    """Against a written-out Jacobian and an explicit inverse, in units of its greatest."""
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    n, q, dtypes = 400, 16, ("float64", "float32")
    if args.quick:
        n, q, dtypes = 60, 4, ("float64",)
    X, y, X_query = X[:n], y[:n], X[400:]
    l2 = 0.01
    first = start(30, q)
    places = {"start": first, "optimum": optimum(first, X, y, l2=l2).params}
    for place, params in places.items():
        wanted = dense(params, X, y, X_query, l2)
        for dtype in dtypes:
            at, X_given, X_asked = jax.tree.map(
                lambda a, dtype=dtype: jnp.asarray(a, dtype), (params, X, X_query)
            )
            given = (at, X_given, y)
            for solver in ("gram", "parameters", "cg"):
                how = {"l2": l2, "solver": solver}
                found = {
                    "influence": influence(*given, X_asked, **how),
                    "leave-one-out": leave_one_out(*given, **how),
                    "Laplace variance": laplace(*given, X_asked, **how).variance,
                }
                errors = (
                    f"{name} {np.abs(found[name] - value).max() / np.abs(value).max():.1e}"
                    for name, value in wanted.items()
                )
                print(f"{place}, {dtype}, {solver:10} {', '.join(errors)}", flush=True)


def dense(
    params: tuple, X: np.ndarray, y: np.ndarray, X_query: np.ndarray, l2: float
) -> dict[str, np.ndarray]:
    """The same from the whole Jacobian and the inverse of the whole matrix."""

    def jacobian(X: np.ndarray) -> np.ndarray:
        leaves = jax.tree.leaves(materialize(logit_factors(params, X)))
        return np.concatenate([np.asarray(a).reshape(len(X), -1) for a in leaves], axis=1)

    z = np.asarray(forward(params, X))
    p, n = 1 / (1 + np.exp(-z)), len(y)
    J, J_query, d = jacobian(X), jacobian(X_query), p * (1 - p) / n
    inverse = np.linalg.inv((J.T * d) @ J + l2 * np.eye(J.shape[1]))
    own = np.einsum("ip,pq,iq->i", J, inverse, J)
    weight = (p - y) / n / (1 - d * own)
    return {
        "influence": J_query @ inverse @ J.T * weight,
        "leave-one-out": z + own * weight,
        "Laplace variance": np.einsum("ip,pq,iq->i", J_query, inverse, J_query) / n,
    }


def size(args: argparse.Namespace) -> None:
    """The full influence matrix of n training and 1,000 query rows, (57, 128, 1)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(args.n + 1000, 57)).astype(args.dtype)
    y = (X[:, :5].sum(axis=1) + rng.normal(size=len(X)) > 0).astype(np.int32)
    params = init_params(jax.random.key(0), (57, 128, 1), dtype=args.dtype)
    for run in ("first call", "second"):
        began = time.perf_counter()
        found = influence(
            params,
            X[: args.n],
            y[: args.n],
            X[args.n :],
            l2=0.01,
            newton=not args.first_order,
        )
        found.block_until_ready()
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{found.shape[1]} x {found.shape[0]} in {args.dtype}, {run}: "
            f"{seconds:.1f} s, peak memory {peak:.2f} GiB",
            flush=True,
        )


def retraining(args: argparse.Namespace) -> None:
    """Correlations with retraining, and linear datamodeling scores."""
    settings = [(0, args.l2[0])] + [(q, l2) for l2 in args.l2 for q in (16, 32)]
    n_subsets = 32
    if args.quick:
        settings, n_subsets = settings[:1], 4
    found: dict[tuple, list] = {setting: [] for setting in settings}
    for name in tables("retraining", quick=args.quick):
        X, y = load(args.data, name, SMALL[name])
        rows = np.random.default_rng(1).choice(len(y), args.rows, replace=False)
        for q, l2 in settings:
            at = optimum(start(X.shape[1], q), X, y, l2=l2)
            check = leave_one_out_check(at.params, X, y, l2=l2, rows=rows)
            scores = datamodeling_scores(X, y, q, l2, n_subsets)
            figures = (check.own, check.others, float(scores.mean()))
            found[q, l2].append(figures)
            print(
                f"{name:14} n {len(y):4} q {q:2} l2 {l2:g}: own {figures[0]:.3f}, others "
                f"{figures[1]:.3f}, LDS {figures[2]:.3f} (gradient left "
                f"{float(at.gradient_norm):.0e}, last decrease "
                f"{float(at.last_decrease):.0e})",
                flush=True,
            )
    for (q, l2), rows in found.items():
        own, others, lds = np.median(rows, axis=0)
        print(
            f"median, q {q:2} l2 {l2:g}: own {own:.3f}, others {others:.3f}, LDS {lds:.3f}"
        )


def datamodeling_scores(
    X: np.ndarray, y: np.ndarray, q: int, l2: float, n_subsets: int
) -> ArrayLike:
    """Of 100 rows that the network is not trained on."""
    order = np.random.default_rng(2).permutation(len(y))
    asked, kept = order[:100], order[100:]
    params = optimum(start(X.shape[1], q), X[kept], y[kept], l2=l2).params
    return linear_datamodeling_score(
        jax.random.key(1), params, X[kept], y[kept], X[asked], l2=l2, n_subsets=n_subsets
    )


def laplace_part(args: argparse.Namespace) -> None:
    """Test log loss of the plain and the averaged probabilities."""
    names = tables("laplace", quick=args.quick)
    for l2 in args.l2:
        losses = []
        for name in names:
            X, y = load(args.data, name, 2000)
            order = np.random.default_rng(0).permutation(len(y))
            test, train = np.split(order, [int(0.3 * len(y))])
            X_test, y_test, X, y = X[test], y[test], X[train], y[train]
            params = optimum(start(X.shape[1], 32), X, y, l2=l2).params
            plain = float(bce_with_logits(forward(params, X_test), y_test).mean())
            strengths = {
                "trained": l2,
                "left-out rows": float(laplace_l2(params, X, y, l2=l2).l2),
                "evidence": float(evidence(params, X, y).l2),
            }
            averaged = [
                log_loss(laplace(params, X, y, X_test, l2=strength).probs, y_test)
                for strength in strengths.values()
            ]
            losses.append((plain, *averaged))
            shown = (
                f"{by} {loss:.4f} (l2 {strength:.2g})"
                for loss, (by, strength) in zip(averaged, strengths.items(), strict=True)
            )
            print(f"{name:14} l2 {l2:g}: plain {plain:.4f}; {', '.join(shown)}", flush=True)
        difference = np.asarray(losses)[:, 1:] - np.asarray(losses)[:, :1]
        for by, column in zip(strengths, difference.T, strict=True):
            # At no variance, both are the same but for rounding.
            print(
                f"l2 {l2:g}, strength by {by}: no worse on {(column < 1e-9).sum()} of "
                f"{len(names)}, {column.mean():+.4f} in the mean"
            )


def log_loss(probs: ArrayLike, y: np.ndarray) -> float:
    probs = np.asarray(probs)
    return float(-np.log(np.where(y == 1, probs, 1 - probs)).mean())


def labels(args: argparse.Namespace) -> None:
    """Average precision for labels flipped at random, beside cleanlab's best rankings."""
    from sklearn.metrics import average_precision_score

    found: dict[str, dict[str, list[float]]] = {}
    seconds: dict[str, list[float]] = {}
    wrong, flipped = [], []
    names = tables("labels", quick=args.quick)
    for name in names:
        X, truth = load(args.data, name, args.most_rows)
        for seed in range(args.seeds):
            is_flipped = np.random.default_rng(100 + seed).random(len(truth)) < 0.1
            y = np.where(is_flipped, 1 - truth, truth)
            began = time.perf_counter()
            own = label_errors(jax.random.key(seed), X, y)
            took = {"jaxmlp": time.perf_counter() - began}
            wrong.append(own.probability_wrong)
            flipped.append(is_flipped)
            scores = {"jaxmlp": own.probability_wrong}
            if args.cleanlab_python is not None:
                probs = {}
                for peer, make in PEERS.items():
                    began = time.perf_counter()
                    probs[peer] = make(X, y, seed)
                    took[peer] = time.perf_counter() - began
                scores |= cleanlab_scores(args.cleanlab_python, probs, y)
            for method, score in scores.items():
                precision = float(average_precision_score(is_flipped, score))
                found.setdefault(method, {}).setdefault(name, []).append(precision)
            for method, value in took.items():
                seconds.setdefault(method, []).append(value)
        shown = {m: statistics.mean(by[name]) for m, by in found.items()}
        ours = shown.pop("jaxmlp")
        best: dict[str, float] = {}
        for method, value in shown.items():
            peer = method.split("/")[0]
            best[peer] = max(value, best.get(peer, 0))
        peers = "".join(f"; cleanlab on {peer} {value:.3f}" for peer, value in best.items())
        print(f"{name:14} n {len(truth):5}: jaxmlp {ours:.3f}{peers}", flush=True)
    means = {
        method: statistics.mean(statistics.mean(v) for v in by.values())
        for method, by in found.items()
    }
    own_means = {name: statistics.mean(v) for name, v in found["jaxmlp"].items()}
    print(f"{means.pop('jaxmlp'):.4f} in the mean: jaxmlp")
    for method, value in sorted(means.items(), key=lambda item: -item[1]):
        wins = sum(
            own_means[name] > statistics.mean(v) for name, v in found[method].items()
        )
        print(
            f"{value:.4f} in the mean, below jaxmlp's on {wins} of {len(names)}: {method}"
        )
    for method, values in seconds.items():
        print(f"{statistics.mean(values):.1f} s a table: {method}")
    calibration(np.concatenate(wrong), np.concatenate(flipped))


def calibration(wrong: np.ndarray, is_flipped: np.ndarray) -> None:
    """What share of the labels with such a probability of being wrong are."""
    edges = np.array([0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9])
    which = np.digitize(wrong, edges)
    for i, low in enumerate([0, *edges]):
        rows = which == i
        if rows.any():
            print(
                f"probability_wrong from {low:g}: {rows.sum()} labels, mean "
                f"{wrong[rows].mean():.3f}, {is_flipped[rows].mean():.3f} of them flipped"
            )


def network_probs(view: int) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
    """Of one network a fold, of the kind that `label_errors` takes many of."""

    def make(X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        views = encodings(X)
        return out_of_fold_probs(views[min(view, len(views) - 1)], y, seed)

    return make


def ensemble_probs(X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Of as many networks as `label_errors` trains in its first round, `(8, n)`."""
    views = encodings(X)
    seeds = range(1000 * seed, 1000 * seed + 4)
    return np.stack([out_of_fold_probs(view, y, s) for view in views for s in seeds])


def out_of_fold_probs(view: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    fold_key, key = jax.random.split(jax.random.key(seed))
    logits = out_of_fold_logits(
        key,
        jax.device_put(view),
        jnp.asarray(y, jnp.float32),
        stratified_folds(fold_key, jnp.asarray(y), 5)[None],
        n_folds=5,
        **network_settings(len(y)),
    )
    return np.asarray(jax.nn.sigmoid(logits), np.float64)


def boosting_probs(X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = HistGradientBoostingClassifier(random_state=seed)
    return cross_val_predict(model, X, y, cv=folds, method="predict_proba")[:, 1]


PEERS = {
    "network": network_probs(0),
    "network, piecewise linear": network_probs(1),
    "ensemble of networks": ensemble_probs,
    "gradient boosting": boosting_probs,
}


def cleanlab_scores(python: Path, probs: dict, y: np.ndarray) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        given, scores = Path(folder) / "given.npz", Path(folder) / "scores.npz"
        np.savez(given, y=y, **probs)
        worker = Path(__file__).with_name("cleanlab_worker.py")
        subprocess.run([python, worker, given, scores], check=True)
        return dict(np.load(scores))


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "agreement": agreement,
    "size": size,
    "retraining": retraining,
    "laplace": laplace_part,
    "labels": labels,
}

if __name__ == "__main__":
    main()
