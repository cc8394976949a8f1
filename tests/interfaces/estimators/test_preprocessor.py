import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from jaxmlp import MLPClassifier, TablePreprocessor
from jaxmlp.data.errors import DataError
from tests.interfaces.conftest import make_table


@pytest.fixture
def frame():
    return make_table().to_pandas()


def test_is_what_the_command_does(frame):
    from jaxmlp.data.columns import decode
    from jaxmlp.data.preprocess import fit_preprocessor

    X = frame.drop(columns="bought")
    encoder = TablePreprocessor(n_knots=9).fit(X)
    kinds = {"x": "numeric", "job": "categorical", "flag": "numeric"}
    columns = decode(make_table(), kinds)
    rules, _ = fit_preprocessor(columns, np.arange(120), n_knots=9)
    assert encoder.preprocessor_ == rules
    np.testing.assert_array_equal(encoder.transform(X), rules.encode(columns))
    assert list(encoder.get_feature_names_out()) == rules.input_names
    for other in (pl.from_pandas(X), make_table().drop(["bought"])):
        np.testing.assert_array_equal(encoder.transform(other), encoder.transform(X))


def test_in_a_pipeline_with_cross_validation(frame):
    X, y = frame.drop(columns="bought"), frame["bought"]
    network = MLPClassifier((), learning_rate_init=0.03, max_iter=30, tol=0, random_state=0)
    model = make_pipeline(TablePreprocessor(), network)
    with pytest.warns(match="max_iter=30"):
        scores = cross_val_score(model, X, y, cv=3)
    assert scores.mean() > 0.7
    with pytest.warns(match="max_iter=30"):
        model.fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert not hasattr(clone(model)[0], "preprocessor_")


def test_pandas_output(frame):
    X = frame.drop(columns="bought")
    encoded = TablePreprocessor().set_output(transform="pandas").fit_transform(X)
    assert isinstance(encoded, pd.DataFrame)
    assert encoded.columns[0] == "x"


def test_reasons_and_wishes(frame):
    X = frame.assign(constant=1).drop(columns="bought")
    encoder = TablePreprocessor(columns={"flag": "drop"}).fit(X)
    assert encoder.dropped_ == {
        "flag": "you said so",
        "constant": "it is constant in the training part",
    }
    with pytest.raises(DataError, match="lacks 1 column"):
        encoder.transform(X.drop(columns="job"))
    with pytest.raises(DataError, match="no usable feature column"):
        TablePreprocessor().fit(X[["constant"]])
    with pytest.raises(DataError, match="nope"):
        TablePreprocessor(columns={"nope": "drop"}).fit(X)
    with pytest.raises(DataError, match=r"column 'flag' can be numeric, .*, not 'numerc'"):
        TablePreprocessor(columns={"flag": "numerc"}).fit(X)
