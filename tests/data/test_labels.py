import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from jaxmlp.data.errors import DataError
from jaxmlp.data.labels import encode_labels, find_classes, find_column


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    ("values", "positive", "classes"),
    [
        ([0, 1, 1], None, (0, 1)),
        ([0, 1, 1], "0", (1, 0)),
        ([5, -2, 5], None, (-2, 5)),
        (["no", "yes", "no"], None, ("no", "yes")),
        (["no", "yes", "no"], "no", ("yes", "no")),
        ([False, True, True], None, (False, True)),
        ([False, True, True], "false", (True, False)),
        ([0.0, 1.0, 0.0], "1", (0.0, 1.0)),
        ([1, 2, 2], "2.0", (1, 2)),
        (["1", "2", "1"], "2", ("1", "2")),
        (["1", "01", "1"], "01", ("1", "01")),
    ],
)
def test_classes_and_codes(values, positive, classes):
    found = find_classes(column(values), "y", positive)
    assert found == classes
    assert [type(value) for value in found] == [type(value) for value in classes]
    codes = encode_labels(column(values), "y", found)
    np.testing.assert_array_equal(codes, [value == classes[1] for value in values])


def test_dictionary_and_date_labels():
    dictionary = pa.chunked_array([pa.array(["a", "b", "a"]).dictionary_encode()])
    assert find_classes(dictionary, "y", None) == ("a", "b")
    amounts = column([Decimal(10), Decimal(9)])
    assert find_classes(amounts, "y", None) == ("9", "10")
    days = [datetime.date(2024, 1, 1), datetime.date(2025, 1, 1)]
    assert find_classes(column(days), "y", None) == ("2024-01-01", "2025-01-01")


@pytest.mark.parametrize("values", [["0", "1"], [0, 1], [0.0, 1.0]])
def test_labels_match_whatever_type_a_file_gave_them(values):
    classes = find_classes(column([0, 1]), "y", None)
    np.testing.assert_array_equal(encode_labels(column(values), "y", classes), [0, 1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 1, 1], r"'y' has 1 distinct value \(1\); two are needed"),
        ([1, 2, 3], r"'y' has 3 distinct values \(1, 2, 3\); two are needed"),
        (list(range(9)), r"9 distinct values \(0, 1, 2, 3, 4, and 4 more\)"),
        ([0.0, float("inf")], "'y', row 1: the label is infinite"),
        ([b"a", b"b"], "holds binary"),
        ([1, None, 0], "'y', row 1: the label is missing; remove"),
        ([1.0, 0.0, float("nan")], "row 2: the label is missing; remove"),
        ([[1], [0]], "holds list"),
    ],
)
def test_bad_targets(values, message):
    with pytest.raises(DataError, match=message):
        find_classes(column(values), "y", None)


def test_bad_positive():
    with pytest.raises(
        DataError, match=r"--positive 'maybe' is not a value .*'no' and 'yes'"
    ):
        find_classes(column(["no", "yes"]), "y", "maybe")


def test_unknown_label():
    classes = find_classes(column(["no", "yes"]), "y", None)
    with pytest.raises(
        DataError, match="'y', row 1: the label 'perhaps' is neither 'no' nor"
    ):
        encode_labels(column(["no", "perhaps"]), "y", classes)


def test_unknown_column_names_the_nearest():
    table = pa.table({"age": [1], "income": [2]})
    with pytest.raises(DataError, match=r"'incme'; did you mean 'income'\? .*age, income"):
        find_column(table, "incme", "target")
