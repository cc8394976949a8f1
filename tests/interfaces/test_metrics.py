import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

from jaxmlp.interfaces.metrics import N_BINS, MetricSums, _bins, evaluate_logits


def draw(n=5000, scale=2.0, seed=0):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=n)).astype(np.float32)
    y = (rng.random(n) < 1 / (1 + np.exp(-logits / scale))).astype(np.int32)
    return logits, y


def summed(logits, y, cuts, threshold=0.0):
    sums = MetricSums(threshold)
    for part in np.split(np.arange(len(y)), cuts):
        sums.add(logits[part], y[part])
    return sums


def test_metrics_are_those_of_scikit_learn():
    logits, y = draw()
    p = 1 / (1 + np.exp(-logits.astype(float)))
    found = evaluate_logits(logits, y, 0.5)
    assert found["log_loss"] == pytest.approx(log_loss(y, p), rel=1e-12)
    assert found["brier"] == pytest.approx(brier_score_loss(y, p), rel=1e-12)
    assert found["accuracy"] == pytest.approx(accuracy_score(y, logits >= 0.5), rel=1e-12)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(y, logits), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 2.0, 100.0])
@pytest.mark.parametrize("cuts", [[], [1], [0, 3, 4096]])
def test_parts_have_the_metrics_of_the_whole(scale, cuts):
    logits, y = draw(scale=scale)
    expected = evaluate_logits(logits, y, 0.3)
    sums = summed(logits, y, cuts, 0.3)
    found = sums.result()
    assert sums.n_rows == len(y)
    for name in ("log_loss", "accuracy", "brier"):
        # Sums of float64 in another order.
        assert found[name] == pytest.approx(expected[name], rel=1e-12)
    assert abs(found["roc_auc"] - expected["roc_auc"]) <= sums.auc_error + 1e-12
    assert sums.auc_error < 1e-4


def test_auc_is_exact_where_no_bin_holds_both_classes():
    logits = np.array([-1e9, -3, -0.0, 0.0, 1e-3, 5, 5, np.inf], np.float32)
    y = np.array([0, 1, 0, 0, 1, 0, 0, 1], np.int32)
    sums = summed(logits, y, [3])
    assert sums.auc_error == 0
    assert sums.result()["roc_auc"] == pytest.approx(9 / 15)  # pairs counted by hand


def test_ties_count_half():
    sums = summed(np.zeros(4, np.float32), np.array([0, 1, 1, 0], np.int32), [2])
    assert (sums.result()["roc_auc"], sums.auc_error) == (0.5, 0.5)


def test_bins_rise_with_the_logits():
    logits = np.sort(np.concatenate([draw(20_000, scale)[0] for scale in (1e-9, 1, 300)]))
    bins = _bins(logits)
    assert (np.diff(bins) >= 0).all()
    assert 0 <= bins[0] < bins[-1] < N_BINS
    assert _bins(np.float32([-0.0, 0.0, 1e-30]))[0] == N_BINS // 2
    # Of two logits that differ by 2^-13 of their size, neither in the same bin.
    inner = np.float32(1.1) * np.float32(2.0) ** np.arange(-23, 7)
    assert (_bins(inner) < _bins(inner * np.float32(1 + 2.0**-13))).all()


def test_merging_is_in_any_order():
    logits, y = draw(900)
    parts = [summed(logits[i::3], y[i::3], []) for i in range(3)]
    for order in ([0, 1, 2], [2, 0, 1]):
        whole = MetricSums()
        for i in order:
            whole.merge(parts[i])
        assert whole.result() == pytest.approx(summed(logits, y, []).result(), rel=1e-12)


def test_one_class_has_no_auc():
    logits, _ = draw(10)
    sums = summed(logits, np.ones(10, np.int32), [])
    assert sums.result()["roc_auc"] is sums.auc_error is None
