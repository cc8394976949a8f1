"""Trains on tables with the command's defaults, beside scikit-learn's logistic regression.

Both see the same split and the same preprocessed inputs. For each table one line: test
ROC AUC of each, the difference, and the seconds of compiling and running.

    python scripts/bench_tables.py --target target TABLE.parquet ...
"""

import argparse
import json
import warnings
from pathlib import Path

import jax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from jaxmlp.data.tables import read_table
from jaxmlp.interfaces.pipeline import Recipe, prepare, train_on_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--target", default="target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-rows", type=int, default=50_000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows = []
    for path in options.tables:
        table = read_table(path)
        if table.num_rows > options.most_rows:
            continue
        rows.append(compare(path.stem, table, options.target, options.seed))
        print(
            "{table:20} ours {ours:.4f}  logistic {logistic:.4f}  {difference:+.4f}  "
            "compile {compile:5.1f} s  run {run:6.1f} s  chosen {best}".format(**rows[-1]),
            flush=True,
        )
    print(f"smallest difference {min(row['difference'] for row in rows):+.4f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def compare(name: str, table, target: str, seed: int) -> dict:
    recipe = Recipe(target=target, seed=seed)
    outcome = train_on_table(table, recipe, callback=None, callback_every=1)
    split_key, _ = jax.random.split(jax.random.key(seed))
    data = prepare(split_key, table, recipe)
    train, _, test = data.split
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no convergence within max_iter is no error here
        logistic = LogisticRegression(max_iter=1000).fit(data.X[train], data.y[train])
    theirs = roc_auc_score(data.y[test], logistic.decision_function(data.X[test]))
    ours = outcome.report["test"]["roc_auc"]
    return {
        "table": name,
        "ours": ours,
        "logistic": theirs,
        "difference": ours - theirs,
        "compile": outcome.report["seconds"]["compile"],
        "run": outcome.report["seconds"]["run"],
        "best": outcome.report["best"],
    }


if __name__ == "__main__":
    main()
