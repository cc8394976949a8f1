"""`TablePreprocessor`: what `jaxmlp train` does to a table, as a transformer."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from jaxmlp.core.validate import check_count
from jaxmlp.data.columns import Wish, decode, infer_kinds
from jaxmlp.data.errors import DataError
from jaxmlp.data.frames import as_table
from jaxmlp.data.preprocess import Preprocessor, fit_preprocessor


class TablePreprocessor(TransformerMixin, BaseEstimator):  # type: ignore[misc] # untyped
    """Turns a real table into what a network takes, as `jaxmlp train` does.

    Numbers are scaled by median and quartiles, with bent tails, a column that marks
    missing values, and, with knots, one for each interval between them; categories
    become one column a frequent level; dates are days. Constant, repeated and numbering
    columns, texts and identifiers are left out.

    Args:
      n_knots: Most knots of a number; 33 in the command's default recipe, 0 for none.
      columns: What a column is, by name, where its type says otherwise: `"numeric"`,
        `"categorical"`, `"date"` or `"drop"`.

    Attributes:
      preprocessor_: The rules, plain data: `to_json` and `from_json` keep them.
      dropped_: Why each column left out is left out, by name.
      feature_names_in_: Names of the columns that `fit` saw.
      n_features_in_: Their number.

    Examples:
      >>> import pandas as pd
      >>> from jaxmlp import TablePreprocessor
      >>> jobs = ["cook", "clerk", None]
      >>> table = pd.DataFrame({"age": [20, 30, None] * 5, "job": jobs * 5})
      >>> encoder = TablePreprocessor().fit(table)
      >>> list(encoder.get_feature_names_out())
      ['age', 'age is missing', 'job = clerk', 'job = cook', 'job is missing']
      >>> encoder.transform(table).shape
      (15, 5)
    """

    preprocessor_: Preprocessor

    def __init__(self, n_knots: int = 0, columns: Mapping[str, Wish] | None = None) -> None:
        self.n_knots = n_knots
        self.columns = columns

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learns the rules.

        Args:
          X: Table of pandas, polars or pyarrow, or an array, without the target.
          y: Not used.

        Raises:
          DataError: The table cannot be used; names the column.
          ValueError: n_knots is negative.
        """
        check_count("n_knots", self.n_knots, least=0)
        table = as_table(X)
        kinds = infer_kinds(table, "", self.columns)
        columns = decode(table, kinds.used)
        self.preprocessor_, dropped = fit_preprocessor(
            columns, np.arange(table.num_rows), kinds.used, n_knots=self.n_knots
        )
        self.dropped_ = {**kinds.dropped, **dropped}
        if not self.preprocessor_.rules:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.dropped_.items())
            raise DataError(f"no usable feature column ({reasons or 'none given'})")
        self.feature_names_in_ = np.array(table.column_names, dtype=object)
        self.n_features_in_ = table.num_columns
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Computes the network's input, `(n, n_inputs)`.

        Raises:
          DataError: A column is missing or holds something else than its kind.
        """
        check_is_fitted(self, "preprocessor_")
        return self.preprocessor_.encode(decode(as_table(X), self.preprocessor_.kinds))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the network's inputs, `(n_inputs,)`."""
        check_is_fitted(self, "preprocessor_")
        return np.array(self.preprocessor_.input_names, dtype=object)
