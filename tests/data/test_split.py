import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmlp import train_val_test_split

KEY = jax.random.key(0)


@given(
    st.integers(20, 500),
    st.booleans(),
    st.sampled_from([(0.7, 0.15, 0.15), (0.85, 0.15, 0.0)]),
)
def test_every_row_is_in_exactly_one_part(n, stratified, fractions):
    labels = np.arange(n) % 2 if stratified else None
    split = train_val_test_split(KEY, n, fractions, stratify=labels)
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(n))
    assert len(split.val) == round(n * fractions[1])
    assert len(split.test) == round(n * fractions[2])


def test_key_decides_and_order_is_random():
    first, again = (train_val_test_split(KEY, 100) for _ in range(2))
    other = train_val_test_split(jax.random.key(1), 100)
    np.testing.assert_array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)
    assert not np.array_equal(first.train, np.sort(first.train))


def test_default_is_the_lecture_s_70_15_15():
    assert [len(part) for part in train_val_test_split(KEY, 1000)] == [700, 150, 150]


@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"], [False, True]])
def test_stratified_parts_have_alike_shares(labels):
    y = np.repeat(labels, [900, 100])
    for part in train_val_test_split(KEY, 1000, stratify=y):
        assert np.mean(y[part] == labels[1]) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize(
    "fractions",
    [
        (0.7, 0.3),
        (0.7, 0.2, 0.2),
        (1.2, -0.1, -0.1),
        (0.0, 0.5, 0.5),
        (float("nan"), 0.5, 0.5),
    ],
)
def test_bad_fractions(fractions):
    with pytest.raises(ValueError, match="fractions must be three shares"):
        train_val_test_split(KEY, 100, fractions)


def test_too_few_rows_for_a_part():
    with pytest.raises(ValueError, match="n_samples is 3: too few for a val part of 15%"):
        train_val_test_split(KEY, 3)


def test_too_rare_label():
    with pytest.raises(ValueError, match="stratify: label True has 1 of 100 rows"):
        train_val_test_split(KEY, 100, stratify=np.arange(100) == 7)


def test_part_smaller_than_the_number_of_labels():
    with pytest.raises(ValueError, match="a part of 1 rows cannot hold 2 labels"):
        train_val_test_split(KEY, 100, (0.99, 0.01, 0.0), stratify=np.arange(100) % 2)


def test_wrong_number_of_labels():
    with pytest.raises(ValueError, match=r"stratify must have shape \(100,\), not \(99,\)"):
        train_val_test_split(KEY, 100, stratify=np.zeros(99))
