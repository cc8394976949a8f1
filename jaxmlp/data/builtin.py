"""The table that needs no file."""

import numpy as np
import pyarrow as pa


def breast_cancer_table() -> pa.Table:
    """Makes a table of the breast-cancer data that scikit-learn ships.

    Returns:
      569 rows: 30 numbers, and the column `target` with "benign" and "malignant".

    Source:
      Wolberg, Mangasarian, Street and Street (1993), UCI, CC BY 4.0.
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    columns = dict(zip(data.feature_names.tolist(), data.data.T, strict=True))
    return pa.table({**columns, "target": np.asarray(data.target_names)[data.target]})
