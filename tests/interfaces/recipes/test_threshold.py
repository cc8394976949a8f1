import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from jaxmlp.interfaces.recipes.threshold import Costs, choose_threshold

METRICS = {
    "accuracy": accuracy_score,
    "balanced-accuracy": balanced_accuracy_score,
    "f1": f1_score,
}


def draw(seed, n=60):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(np.int32)
    y[:2] = 0, 1
    # Rounded, so that several rows have the same probability.
    return np.round(1 / (1 + np.exp(-rng.normal(2 * y - 1.5))), 2).astype(np.float32), y


def all_values(probs, y, merit):
    grid = np.linspace(0.001, 0.999, 999) + 0.0005
    return np.array([merit(y, (probs >= threshold).astype(int)) for threshold in grid])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", METRICS)
def test_no_threshold_has_a_better_metric(seed, name):
    probs, y = draw(seed)
    found = choose_threshold(probs, y, name)
    reached = METRICS[name](y, (probs >= found).astype(int))
    assert reached == pytest.approx(all_values(probs, y, METRICS[name]).max())


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("label", [0, 1])
def test_rows_of_one_label_have_a_threshold_too(name, label):
    probs = np.array([0.2, 0.4, 0.9], np.float32)
    found = choose_threshold(probs, np.full(3, label, np.int32), name)
    assert 0 < found < 1
    assert name == "f1" or ((probs >= found) == label).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("costs", [Costs(1, 1), Costs(1, 9), Costs(20.0, 0.5)])
def test_no_threshold_is_cheaper(seed, costs):
    def gain(y, predicted):
        wrong = np.count_nonzero(predicted > y) * costs.false_positive
        return -wrong - np.count_nonzero(predicted < y) * costs.false_negative

    probs, y = draw(seed)
    found = choose_threshold(probs, y, costs)
    reached = gain(y, (probs >= found).astype(int))
    assert reached == pytest.approx(all_values(probs, y, gain).max())


def test_of_equally_good_ones_the_nearest_to_where_it_would_be():
    probs, y = np.array([0.1, 0.8]), np.array([0, 1])
    # Any threshold from 0.1 to 0.8 is right; the one candidate between them is 0.45.
    assert choose_threshold(probs, y, "accuracy") == pytest.approx(0.45)
    # With both rows wrong way round, predicting all alike is best: nearest to 1/2.
    assert choose_threshold(probs[::-1], y, "accuracy") == pytest.approx(0.9)


def test_a_number_is_itself_and_equal_probabilities_leave_the_ends():
    probs, y = np.full(4, 0.25), np.array([0, 1, 0, 0])
    assert choose_threshold(probs, y, 0.3) == 0.3
    assert choose_threshold(probs, y, "accuracy") == pytest.approx(0.625)
    sure = np.array([0.0, 1.0])
    assert choose_threshold(sure, np.array([0, 1]), "accuracy") == 0.5
