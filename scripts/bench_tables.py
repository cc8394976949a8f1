"""Trains on tables with the command's defaults, beside scikit-learn's logistic regression.

All train and are tested on the same rows. "logistic" is scikit-learn's usual
pipeline (median, StandardScaler, one-hot), "on our inputs" gets jaxmlp's preprocessing. For
each table one line: test ROC AUC, the smaller of the two differences, and seconds.

    python scripts/bench_tables.py --target target TABLE.parquet ...
"""

import argparse
import json
import warnings
from pathlib import Path

import jax
import pandas as pd
import pyarrow as pa
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from jaxmlp.data.tables import read_table
from jaxmlp.interfaces.pipeline import train_on_table
from jaxmlp.interfaces.prepare import Prepared, prepare
from jaxmlp.interfaces.recipe import LectureRecipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--target", default="target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ensemble", type=int, default=1)
    parser.add_argument("--most-rows", type=int, default=50_000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows = []
    for path in options.tables:
        table = read_table(path)
        if table.num_rows > options.most_rows:
            continue
        rows.append(compare(path.stem, table, options))
        print(
            "{table:18} ours {ours:.4f}  logistic {logistic:.4f}  "
            "on our inputs {same_inputs:.4f}  {difference:+.4f}  "
            "compile {compile:5.1f} s  run {run:6.1f} s  chosen {best}".format(**rows[-1]),
            flush=True,
        )
    print(f"smallest difference {min(row['difference'] for row in rows):+.4f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def compare(name: str, table: pa.Table, options: argparse.Namespace) -> dict:
    target, seed = options.target, options.seed
    recipe = LectureRecipe(target=target, seed=seed, ensemble=options.ensemble)
    outcome = train_on_table(table, recipe, callback=None, callback_every=1)
    split_key, _ = jax.random.split(jax.random.key(seed))
    data = prepare(split_key, table, recipe)
    # Without pandas metadata: its NA values are more than scikit-learn can encode.
    frame = table.drop_columns([target]).to_pandas(ignore_metadata=True)
    ours = outcome.report["test"]["roc_auc"]
    theirs = logistic_auc(usual_pipeline(), frame, data)
    same_inputs = logistic_auc(LogisticRegression(max_iter=1000), data.X, data)
    return {
        "table": name,
        "ours": ours,
        "logistic": theirs,
        "same_inputs": same_inputs,
        "difference": ours - max(theirs, same_inputs),
        "compile": outcome.report["seconds"]["compile"],
        "run": outcome.report["seconds"]["run"],
        "best": outcome.report["best"],
    }


def usual_pipeline() -> Pipeline:
    numbers = make_column_selector(dtype_include="number")
    others = make_column_selector(dtype_exclude="number")
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5)
    return make_pipeline(
        make_column_transformer((scaled, numbers), (one_hot, others)),
        LogisticRegression(max_iter=1000),
    )


def logistic_auc(model: Pipeline | LogisticRegression, X, data: Prepared) -> float:
    train, _, test = data.split
    take = X.iloc.__getitem__ if isinstance(X, pd.DataFrame) else X.__getitem__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no convergence within max_iter is no error here
        model.fit(take(train), data.y[train])
    return roc_auc_score(data.y[test], model.decision_function(take(test)))


if __name__ == "__main__":
    main()
