"""Rows whose label the rest of the data contradicts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray
from scipy.optimize import minimize

from jaxmlp.analysis.cross_fit import encodings, out_of_fold_logits, stratified_folds
from jaxmlp.gradients.validate import check_examples, check_labels, check_values
from jaxmlp.training.validate import check_key

N_FOLDS = 5
_N_REPEATS = 4
_N_ROUNDS = 3
_MOST_NOISE = 0.4
_SURE_SHARE = 0.2
_SURE_ROWS = 20


class LabelErrors(NamedTuple):
    """Suspected label errors.

    Attributes:
      order: Row numbers, most suspicious first, `(n,)`.
      probability_wrong: Of each row's label, `(n,)`, in the rows' order.
      probs: Probability that the row's true label is 1, by networks that did not see the
        row, `(n,)`.
      suggested: Label that is more probable, given and seen together, `(n,)`.
      n_suggested: Number of labels more probably wrong than right.
      n_expected: Expected number of wrong labels, the sum of `probability_wrong`.
      noise_rate: Estimated share of wrong labels.
    """

    order: NDArray[np.int64]
    probability_wrong: NDArray[np.float64]
    probs: NDArray[np.float64]
    suggested: NDArray[np.int32]
    n_suggested: int
    n_expected: float
    noise_rate: float


def label_errors(key: jax.Array, X: ArrayLike, y: ArrayLike) -> LabelErrors:
    r"""Ranks rows by how much the rest of the data contradicts their label.

    Networks judge rows that they were not trained on (four repetitions of five folds), in
    two views of the features, standardised and piecewise linear, mixed by what predicts
    the labels best. Three rounds: the first learns the given labels; each further one
    learns the probability that a label is right, given what the round before says of it.

    With $\eta_i$ the probability of the given label by networks that did not see
    it, and ρ the noise rate, the same for both labels,

    $$
    P(\text{wrong}_i) =
    \frac{\rho\,(1 - \eta_i)}{\rho\,(1 - \eta_i) + (1 - \rho)\,\eta_i}
    $$

    ρ is the share of given labels that contradict the surest fifth of the predictions of
    label 0 or of label 1, whichever contradict less.

    Args:
      key: JAX random key of folds, starting parameters and orders.
      X: Features, `(n, p)`, finite; standardised inside.
      y: Given labels in {0, 1}, `(n,)`, at least five of each.

    Returns:
      A `LabelErrors`.

    Raises:
      ValueError: X or y is not what it should be, or a label has fewer than five rows.

    Source:
      Northcutt, Jiang and Chuang (2021), arXiv 1911.00068, for ranking by out-of-fold
      probability; Natarajan and others (2013), "Learning with noisy labels", and Menon and
      others (2015), "Learning from corrupted binary labels", for the noise model.
    """
    check_key(key)
    check_examples(X, y)
    labels = np.asarray(y).astype(np.int32)
    counts = np.bincount(labels, minlength=2)
    if counts.min() < N_FOLDS:
        raise ValueError(
            f"y must hold at least {N_FOLDS} rows of each label, one a fold, not "
            f"{counts[0]} of 0 and {counts[1]} of 1"
        )
    views = [jax.device_put(view) for view in encodings(np.asarray(X))]

    def judge(key: jax.Array, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        logits = [
            _judge(view_key, view, targets, labels)
            for view_key, view in zip(jax.random.split(key, len(views)), views, strict=True)
        ]
        return np.stack(logits)

    keys = jax.random.split(key, _N_ROUNDS)
    logits = judge(keys[0], labels.astype(float))
    share = _best_share(logits, labels)
    noisy = _sigmoid(share @ logits)
    rate = estimate_noise_rate(noisy, labels)
    probs = _without_noise(noisy, rate, 0.01)
    for round_key in keys[1:]:
        wrong = probability_wrong(probs, labels, rate)
        mixed = share @ judge(round_key, np.abs(labels - wrong))
        probs = _sigmoid(mixed)
    return _summarize(probs, mixed, labels, rate)


def label_errors_from_logits(logits: ArrayLike, y: ArrayLike) -> LabelErrors:
    """Ranks rows by logits from elsewhere, such as `leave_one_out` or cross-validation.

    The logits are first scaled and shifted to where the given labels are most likely
    (Platt's scaling), so that a model that is too sure, or was trained with class weights,
    serves too. On the host, in float64.

    Args:
      logits: Of label 1, by a model that did not learn from the row's own label, `(n,)`.
      y: Given labels in {0, 1}, both of them, `(n,)`.

    Returns:
      A `LabelErrors`, with the noise model of `label_errors`.

    Raises:
      ValueError: The shapes do not match, a logit is not finite, a label neither 0 nor 1,
        or all are the same.

    Examples:
      >>> found = label_errors_from_logits([4.0, -4.0] * 20 + [4.0], [1, 0] * 20 + [0])
      >>> int(found.order[0])
      40

    Source:
      Platt (1999), "Probabilistic outputs for support vector machines".
    """
    if np.shape(logits) != np.shape(y) or np.ndim(logits) != 1:
        raise ValueError(
            "logits and y must have shape (n,) both, not "
            f"{np.shape(logits)} and {np.shape(y)}"
        )
    check_values("logits", logits, jnp.isfinite, "must be finite")
    check_labels(y)
    labels = np.asarray(y).astype(np.int32)
    if not 0 < labels.sum() < len(labels):
        raise ValueError("y must hold both labels")
    scores = _calibrate(np.asarray(logits, np.float64), labels)
    noisy = _sigmoid(scores)
    rate = estimate_noise_rate(noisy, labels)
    # So sure that a label can be called wrong, and never surer than errors are rare.
    return _summarize(_without_noise(noisy, rate, rate / 10), scores, labels, rate)


def _calibrate(
    logits: NDArray[np.float64], labels: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Logits scaled and shifted to where the labels are most likely."""
    n_positive = labels.sum()
    # Platt's targets, a row of each label more: finite where logits part the labels.
    targets = np.where(
        labels == 1, (n_positive + 1) / (n_positive + 2), 1 / (len(labels) - n_positive + 2)
    )
    x = logits / (np.abs(logits).mean() or 1)

    def loss_and_slope(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = line[0] * x + line[1]
        residual = _sigmoid(scores) - targets
        loss = np.mean(np.logaddexp(0, scores) - targets * scores)
        return float(loss), np.array([np.mean(residual * x), np.mean(residual)])

    # Logits that say the opposite of the labels say nothing: no factor below 0.
    found = minimize(
        loss_and_slope, [1, 0], jac=True, bounds=[(0, None), (None, None)], tol=1e-12
    )
    return found.x[0] * x + found.x[1]


def _without_noise(
    noisy: NDArray[np.float64], rate: float, least: float
) -> NDArray[np.float64]:
    """Probabilities of the true label, from those of the given one; from `least` on."""
    return np.clip((noisy - rate) / (1 - 2 * rate), least, 1 - least)


def _summarize(
    probs: NDArray[np.float64],
    logits: NDArray[np.float64],
    labels: NDArray[np.int32],
    rate: float,
) -> LabelErrors:
    # Logits tell apart what probabilities do not, up to their rounding.
    wrong = np.round(probability_wrong(probs, labels, rate), 12)
    is_wrong = wrong > 0.5
    right = np.where(labels == 1, logits, -logits)
    return LabelErrors(
        order=np.lexsort((right, -wrong)),
        probability_wrong=wrong,
        probs=probs,
        suggested=np.where(is_wrong, 1 - labels, labels),
        n_suggested=int(is_wrong.sum()),
        n_expected=float(wrong.sum()),
        noise_rate=rate,
    )


def probability_wrong(
    probs: NDArray[np.float64], labels: NDArray[np.int32], rate: float
) -> NDArray[np.float64]:
    """Probability that each label is wrong, by Bayes' rule.

    Args:
      probs: Probability that the true label is 1, without a look at the given one, `(n,)`.
      labels: Given labels, `(n,)`.
      rate: Share of labels that are wrong.
    """
    right = np.where(labels == 1, probs, 1 - probs)
    return rate * (1 - right) / (rate * (1 - right) + (1 - rate) * right)


def estimate_noise_rate(probs: NDArray[np.float64], labels: NDArray[np.int32]) -> float:
    """Share of labels that contradict sure predictions, at most 0.4.

    Args:
      probs: Out-of-fold probabilities of label 1, `(n,)`.
      labels: Given labels, `(n,)`.
    """
    shares = []
    for label, sure in ((0, 1 - probs), (1, probs)):
        n_likely = int((sure > 0.5).sum())
        n_sure = min(max(_SURE_ROWS, int(_SURE_SHARE * n_likely)), n_likely)
        surest = np.argsort(-sure, kind="stable")[:n_sure]
        # As many rows can tell, by Jeffreys' prior: none wrong of 20 is not a rate of 0.
        n_wrong = int((labels[surest] != label).sum())
        shares.append((n_wrong + 0.5) / (len(surest) + 1))
    return min(*shares, _MOST_NOISE)


def network_settings(n: int) -> dict[str, Any]:
    """How a network is trained on n rows; see `out_of_fold_logits`.

    20 passes, and more where these would be less than 300 steps.
    """
    batch_size = min(n, 64 if n < 10_000 else 256)
    return {
        "hidden_size": 64,
        "n_epochs": max(20, -(-300 // (n // batch_size))),
        "batch_size": batch_size,
        "learning_rate": 3e-3,
        "weight_decay": 1.0,
    }


def _judge(
    key: jax.Array,
    X: jax.Array,
    targets: NDArray[np.float64],
    labels: NDArray[np.int32],
) -> NDArray[np.float64]:
    fold_key, train_key = jax.random.split(key)
    y = jnp.asarray(labels)
    folds = jnp.stack(
        [stratified_folds(k, y, N_FOLDS) for k in jax.random.split(fold_key, _N_REPEATS)]
    )
    logits = out_of_fold_logits(
        train_key,
        X,
        jnp.asarray(targets, X.dtype),
        folds,
        n_folds=N_FOLDS,
        **network_settings(len(labels)),
    )
    return np.asarray(logits, np.float64)


def _best_share(
    logits: NDArray[np.float64], labels: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Shares of one or two views whose mixed logits predict the labels best."""
    if len(logits) == 1:
        return np.ones(1)
    first = np.linspace(0, 1, 21)
    mixed = first[:, None] * logits[0] + (1 - first)[:, None] * logits[1]
    losses = np.logaddexp(0, np.where(labels == 1, -mixed, mixed)).mean(axis=1)
    best = first[np.argmin(losses)]
    return np.array([best, 1 - best])


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(logits / 2))
