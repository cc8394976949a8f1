import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmlp.analysis import label_errors, label_errors_from_logits
from jaxmlp.analysis.cross_fit import encodings, out_of_fold_logits, stratified_folds
from jaxmlp.analysis.label_errors import estimate_noise_rate, probability_wrong

FIT = {
    "n_folds": 5,
    "hidden_size": 8,
    "n_epochs": 4,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "weight_decay": 1.0,
}


def flipped_rings(n=400, rate=0.1, seed=0):
    """Two rings, which no line parts, with some labels flipped."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    angle, radius = rng.uniform(0, 2 * np.pi, n), 1 + y + 0.2 * rng.normal(size=n)
    X = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    is_flipped = rng.random(n) < rate
    return 1000 * X, np.where(is_flipped, 1 - y, y), is_flipped


def test_finds_flipped_labels_and_their_number():
    X, y, is_flipped = flipped_rings(1000)
    found = label_errors(jax.random.key(0), X, y)
    n_flipped = is_flipped.sum()
    assert is_flipped[found.order[: n_flipped // 2]].mean() > 0.95
    # Wide enough for any machine's rounding: networks trained elsewhere are other networks.
    assert 0.05 < found.noise_rate < 0.17
    assert 0.5 * n_flipped < found.n_expected < 1.5 * n_flipped
    suspected = found.probability_wrong > 0.5
    assert found.n_suggested == suspected.sum()
    assert 0.75 < is_flipped[suspected].mean() <= 1
    np.testing.assert_array_equal(found.suggested == y, ~suspected)
    assert (np.diff(found.probability_wrong[found.order]) <= 0).all()
    np.testing.assert_array_equal(np.sort(found.order), np.arange(len(y)))
    # What a wrong probability costs, against saying the noise rate of each.
    wrong = found.probability_wrong
    assert ((wrong - is_flipped) ** 2).mean() < 0.5 * 0.1 * 0.9
    again = label_errors(jax.random.key(0), X, y)
    np.testing.assert_array_equal(again.probability_wrong, wrong)


def test_clean_labels_are_left_alone():
    X, y, _ = flipped_rings(rate=0)
    found = label_errors(jax.random.key(0), X, y)
    assert found.noise_rate < 0.03
    assert found.n_suggested <= 4


def test_no_network_judges_what_it_learned():
    """A row's own label, however wrong, does not change its logit."""
    X, y, _ = flipped_rings(60)
    view = jnp.asarray(encodings(X)[0])
    folds = stratified_folds(jax.random.key(1), jnp.asarray(y), 5)[None]
    targets = np.array(y, np.float32)
    before = out_of_fold_logits(jax.random.key(2), view, targets, folds, **FIT)
    changed = targets.copy()  # JAX may still read the other one
    changed[7] = 1 - changed[7]
    after = out_of_fold_logits(jax.random.key(2), view, changed, folds, **FIT)
    assert after[7] == before[7]
    others = folds[0] != folds[0, 7]
    assert (after[others] != before[others]).mean() > 0.9


def test_folds_share_each_label():
    y = jnp.asarray(np.r_[np.zeros(23), np.ones(12)].astype(int))
    folds = np.asarray(stratified_folds(jax.random.key(0), y, 5))
    for label, rows in ((0, folds[:23]), (1, folds[23:])):
        counts = np.bincount(rows, minlength=5)
        assert counts.max() - counts.min() <= 1, label
    assert (np.diff(folds) != 0).any()


def test_views_of_the_features():
    X = np.c_[np.arange(100.0), np.arange(100) % 2, np.ones(100)]
    plain, bent = encodings(X)
    assert plain.shape == (100, 3)
    assert bent.shape == (100, 3 + 8)  # neither the binary nor the constant column
    assert np.isfinite(bent).all()
    assert np.abs(plain).max() < 3
    n_passed = 8 * (np.arange(100) - 49.5) / 99  # evenly spread: bins of one width
    np.testing.assert_allclose(bent[:, 3:].sum(axis=1), n_passed, atol=1e-5)
    assert len(encodings(X[:, 1:])) == 1


def test_bayes_rule():
    probs, labels = np.array([0.9, 0.9, 0.2]), np.array([1, 0, 0])
    wrong = probability_wrong(probs, labels, 0.1)
    wanted = [0.1 * 0.1 / (0.1 * 0.1 + 0.9 * 0.9), 0.5, 0.1 * 0.2 / (0.1 * 0.2 + 0.9 * 0.8)]
    np.testing.assert_allclose(wrong, wanted, rtol=1e-12)


def test_noise_rate_is_that_of_the_surest_rows():
    probs = np.r_[np.linspace(0.001, 0.4, 500), np.linspace(0.6, 0.999, 500)]
    labels = (probs > 0.5).astype(int)
    assert estimate_noise_rate(probs, labels) == pytest.approx(0.5 / 101)
    labels[:500:10] = 1
    labels[500::4] = 0
    assert estimate_noise_rate(probs, labels) == pytest.approx(10.5 / 101)


def test_from_logits_ranks_by_the_margin():
    """Also where probabilities are so near to 0 and 1 that they are taken for equal."""
    logits = np.array([11.0, 12.0, -10.0, 3.0] + [4.0] * 20 + [-4.0] * 20)
    y = np.array([0, 0, 1, 1] + [1] * 20 + [0] * 20)
    found = label_errors_from_logits(logits, y)
    assert found.order[:3].tolist() == [1, 0, 2]
    assert found.suggested[:4].tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("n_wrong", [2, 10])
def test_few_errors_among_many_labels_are_suggested(n_wrong):
    y = np.arange(2000) % 2
    given = np.where(np.arange(2000) < n_wrong, 1 - y, y)
    found = label_errors_from_logits(8.0 * (2 * y - 1), given)
    assert found.n_suggested == n_wrong
    assert sorted(found.order[:n_wrong]) == list(range(n_wrong))


def test_noise_rate_of_few_rows():
    """Rows of the other side are not among the surest, however few there are."""
    y = np.arange(12) % 2
    assert estimate_noise_rate(np.where(y == 1, 0.99, 0.01), y) == 0.5 / 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X": np.full((60, 2), np.nan)}, "X must be finite; row 0, column 0"),
        ({"y": np.zeros(60)}, "y must hold at least 5 rows of each label.*60 of 0 and 0"),
        ({"y": np.full(60, 2)}, "y must hold labels 0 and 1"),
        ({"key": 0}, "key must be one JAX random key"),
    ],
)
def test_bad_input(changed, message):
    X, y, _ = flipped_rings(60)
    with pytest.raises(ValueError, match=message):
        label_errors(**{"key": jax.random.key(0), "X": X, "y": y, **changed})


def test_given_logits_are_brought_to_the_scale_of_the_labels():
    """Too sure by a factor, and of a balanced population: what class weights leave."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4000) - 2
    y = (rng.random(4000) < 1 / (1 + np.exp(-logits))).astype(int)
    found = label_errors_from_logits(logits, y)
    sure = label_errors_from_logits(5 * (logits + 2), y)
    np.testing.assert_allclose(
        sure.probability_wrong, found.probability_wrong, atol=1e-4, rtol=0
    )
    opposite = label_errors_from_logits(-logits, y)
    assert np.ptp(opposite.probs) < 1e-9


@pytest.mark.parametrize(
    ("logits", "y", "message"),
    [
        ([0.0, np.inf], [0, 1], "logits must be finite; row 1 is inf"),
        ([[0.0], [1.0]], [0, 1], r"logits and y must have shape \(n,\) both, not \(2, 1\)"),
        ([0.0, 1.0], [1, 1], "y must hold both labels"),
        ([0.0, 1.0], [1, 2], "y must hold labels 0 and 1; row 1 is 2"),
        (["a", "b"], [1, 0], "logits must be real numbers"),
    ],
)
def test_bad_logits(logits, y, message):
    with pytest.raises(ValueError, match=message):
        label_errors_from_logits(logits, y)
