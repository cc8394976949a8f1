"""Quality out of the box: `jaxmlp train` beside scikit-learn, on tables given.

All train on the same rows (85%) and are tested on the same others, once for each seed.
Logistic regression and scikit-learn's MLPClassifier (default, and with early stopping) get
jaxmlp's preprocessing, both without and with knots; that with the lower mean loss counts
for them. Histogram gradient boosting gets the raw columns, its categories marked. Seconds
are those from the table in memory to a trained model: for jaxmlp preprocessing and
compiling included, for MLPClassifier the faster of both fits alone.

    python scripts/bench_quality.py adult.parquet spambase.parquet --target target
"""

import argparse
import json
import statistics
import time
import warnings

import jax
import numpy as np
import pyarrow as pa
from arguments import add_json, add_tables, make_parser, positive, whole
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import read_table
from jaxmlp.interfaces.recipes.ensemble import N_KNOTS
from jaxmlp.interfaces.recipes.pipeline import train_on_table
from jaxmlp.interfaces.recipes.prepare import Prepared, prepare
from jaxmlp.interfaces.recipes.recipe import EnsembleRecipe, LectureRecipe, Recipe

PEERS = ("logistic", "mlp", "mlp_early", "boosting")
INPUTS = ("plain", "knots")
MOST_LEVELS = 250  # gradient boosting takes 255 levels of a category


def main() -> None:
    parser = make_parser(__doc__)
    add_tables(parser)
    parser.add_argument(
        "--seeds",
        type=whole(1),
        default=3,
        help="splits to try of each table (default: %(default)s)",
    )
    parser.add_argument(
        "--recipe",
        choices=["ensemble", "lecture"],
        default="ensemble",
        help="of `jaxmlp train` (default: %(default)s)",
    )
    parser.add_argument(
        "--budget",
        type=positive,
        metavar="SECONDS",
        help="end a training of the ensemble then (default: none)",
    )
    parser.add_argument(
        "--most-rows",
        type=whole(1),
        default=30_000,
        help="of a table, drawn at random (default: %(default)s)",
    )
    add_json(parser)
    options = parser.parse_args()
    if options.recipe == "lecture" and options.budget is not None:
        parser.error("--budget is for --recipe ensemble")
    warnings.simplefilter("ignore")  # no convergence within max_iter is no error here
    try:
        compare_all(options)
    except DataError as error:
        parser.error(str(error))


def compare_all(options: argparse.Namespace) -> None:
    results = {}
    print(f"{'table':18} {'ours':>7}", *(f"{peer:>9}" for peer in PEERS), " seconds  mlp's")
    for path in options.tables:
        table = read_table(path)
        rounds = [
            compare(sample(table, options.most_rows, seed), recipe_of(options, seed))
            for seed in range(options.seeds)
        ]
        results[path.stem] = {**average(rounds), "rounds": rounds}
        print(line(path.stem, results[path.stem]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    summarize(results)


def average(rounds: list[dict[str, float]]) -> dict[str, float]:
    row = {key: statistics.fmean(one[key] for one in rounds) for key in rounds[0]}
    for peer in ("logistic", "mlp", "mlp_early"):
        row[peer] = min(row[f"{peer}_{inputs}"] for inputs in INPUTS)
        row[f"{peer}_seconds"] = min(row[f"{peer}_{inputs}_seconds"] for inputs in INPUTS)
    return row


def recipe_of(options: argparse.Namespace, seed: int) -> Recipe:
    if options.recipe == "lecture":
        return LectureRecipe(options.target, seed=seed)
    return EnsembleRecipe(options.target, seed=seed, budget=options.budget)


def sample(table: pa.Table, most_rows: int, seed: int) -> pa.Table:
    if table.num_rows <= most_rows:
        return table
    rows = np.random.default_rng(seed).choice(table.num_rows, most_rows, replace=False)
    return table.take(pa.array(np.sort(rows)))


def compare(table: pa.Table, recipe: Recipe) -> dict[str, float]:
    jax.clear_caches()  # as a new process: no seed finds what another compiled
    began = time.perf_counter()
    outcome = train_on_table(table, recipe)
    seconds = time.perf_counter() - began
    split_key, _ = jax.random.split(jax.random.key(recipe.seed))
    data = prepare(split_key, table, recipe, n_knots=N_KNOTS)
    plain = data.X[:, data.preprocessor.plain_columns()]
    raw, is_category = raw_columns(table, data)
    seed = recipe.seed
    found: dict[str, float] = {
        "n": len(data.y),
        "ours": outcome.report["test"]["log_loss"],
        "seconds": seconds,
        "compile": outcome.report["seconds"]["compile"],
    }
    peers = {
        "logistic": LogisticRegression(max_iter=1000),
        "mlp": MLPClassifier(random_state=seed),
        "mlp_early": MLPClassifier(early_stopping=True, random_state=seed),
    }
    for name, peer in peers.items():
        for inputs, X in zip(INPUTS, (plain, data.X), strict=True):
            key = f"{name}_{inputs}"
            found[key], found[f"{key}_seconds"] = measure(peer, X, data)
    boosting = HistGradientBoostingClassifier(
        categorical_features=is_category, random_state=seed
    )
    found["boosting"], found["boosting_seconds"] = measure(boosting, raw, data)
    return found


def measure(model, X, data: Prepared) -> tuple[float, float]:
    train, val, test = data.split
    rows = np.concatenate([train, val])
    began = time.perf_counter()
    model.fit(X[rows], data.y[rows])
    seconds = time.perf_counter() - began
    probs = model.predict_proba(X[test].astype(X.dtype))[:, 1].astype(np.float64)
    # Clipped as scikit-learn does in float64: a sure mistake costs 36 nats.
    eps = np.finfo(np.float64).eps
    return float(log_loss(data.y[test], np.clip(probs, eps, 1 - eps))), seconds


def raw_columns(table: pa.Table, data: Prepared) -> tuple[np.ndarray, list[bool]]:
    """Numbers as they are, categories as codes of the most frequent training levels."""
    columns = decode(table, data.preprocessor.kinds)
    raw, is_category = [], []
    for values in columns.values():
        is_category.append(not isinstance(values, np.ndarray))
        if isinstance(values, np.ndarray):
            raw.append(values)
            continue
        texts = np.array([value or "" for value in values.to_pylist()])
        levels, counts = np.unique(texts[data.split.train], return_counts=True)
        kept = np.sort(levels[np.argsort(-counts, kind="stable")[:MOST_LEVELS]])
        code = np.searchsorted(kept, texts).clip(max=len(kept) - 1)
        raw.append(np.where((kept[code] == texts) & (texts != ""), code, np.nan))
    return np.stack(raw, axis=1), is_category


def line(name: str, row: dict[str, float]) -> str:
    losses = " ".join(
        f"{row[peer]:8.4f}{'+' if row['ours'] < row[peer] else '-'}" for peer in PEERS
    )
    seconds = f"{row['seconds']:7.1f}  {row['mlp_seconds']:5.1f}"
    return f"{name:18} {row['ours']:7.4f} {losses} {seconds}"


def summarize(results: dict[str, dict]) -> None:
    for peer in PEERS:
        below = sum(row["ours"] < row[peer] for row in results.values())
        mean = statistics.fmean(row["ours"] - row[peer] for row in results.values())
        print(f"below {peer} on {below} of {len(results)}, by {-mean:.4f} in the mean")
    ratios = [
        row["seconds"] / row["mlp_seconds"] for row in results.values() if row["n"] >= 5000
    ]
    if ratios:
        print(
            f"seconds by MLPClassifier's where n >= 5,000: {statistics.median(ratios):.2f}"
        )
    print(f"most seconds a table: {max(row['seconds'] for row in results.values()):.1f}")


if __name__ == "__main__":
    main()
