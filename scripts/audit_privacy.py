"""Attacks `dp_fit` and holds the epsilon that the attack shows against the ledger's.

The breast-cancer table, standardised, is trained many times with a canary row and many
times without it: a row that lives in a column of its own, so that nothing but noise moves
the weights there if the row is absent. The attacker sees the final weights and scores how
far they went along the canary's gradient. From the rates of right and wrong alarms follows
a lower bound on epsilon at 95% confidence (`epsilon_lower_bound`). A sound claim stays
above it; one far above only says that the attack is weak.

The data sets compared differ by one row, and everything else is alike: the sampling rate
(the expected batch size grows with the row) and the step (the learning rate grows with the
expected batch size that the sum is divided by).

    python scripts/audit_privacy.py --runs 2000
    python scripts/audit_privacy.py --runs 2000 --sabotage 0.25

--sabotage trains with that share of the noise while the full noise is claimed: the audit
must find it out. Exit code 1 if it refutes a claim.
"""

import jax
import numpy as np
import optax
from arguments import make_parser, positive, seed, whole
from sklearn.datasets import load_breast_cancer

from jaxmlp import Layer
from jaxmlp.privacy import dp_fit, epsilon, epsilon_lower_bound

DELTA = 1e-5
MAX_NORM = 1.0
RATE = 1e-3  # so small that the canary stays unlearnt, and its gradient clipped
SETTINGS = [  # sampling rate, noise multiplier, epochs
    (1.0, 1.0, 1),
    (1.0, 2.0, 4),
    (0.25, 0.7, 1),
    (0.25, 1.0, 5),
]


def make_rows() -> tuple[np.ndarray, np.ndarray]:
    """The table's rows with a column of zeros, and the canary last."""
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    X = np.column_stack([X, np.zeros(len(X))])
    canary = np.zeros((1, X.shape[1]))
    canary[0, -1] = 10.0
    return np.concatenate([X, canary]).astype(np.float32), np.append(y, 1)


def attack(
    X: np.ndarray, y: np.ndarray, key: jax.Array, setting: tuple, noise: float
) -> float:
    """Trains once and scores how far the weights went where the canary pulls."""
    rate, _, n_epochs = setting
    size = rate * len(X)
    params = (Layer(np.zeros((X.shape[1], 1), np.float32), np.zeros(1, np.float32)),)
    result = dp_fit(
        key,
        jax.tree.map(jax.numpy.asarray, params),
        X,
        y,
        optimizer=optimizer(size),
        n_epochs=n_epochs,
        batch_size=size,
        noise_multiplier=noise,
        max_grad_norm=MAX_NORM,
        delta=DELTA,
    )
    return float(result.params[0].w[-1, 0])


OPTIMIZERS: dict[float, optax.GradientTransformation] = {}


def optimizer(size: float) -> optax.GradientTransformation:
    """SGD whose step does not depend on the size that the sum is divided by."""
    return OPTIMIZERS.setdefault(size, optax.sgd(RATE * size))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--runs",
        type=whole(1),
        default=2000,
        help="trainings with the canary, and without it (default: %(default)s)",
    )
    parser.add_argument(
        "--sabotage",
        type=positive,
        default=1.0,
        metavar="SHARE",
        help="of the claimed noise that is added (default: %(default)g)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of the noise (default: %(default)s)"
    )
    args = parser.parse_args()
    X, y = make_rows()
    refuted = 0
    for setting in SETTINGS:
        rate, noise, n_epochs = setting
        claimed = epsilon(
            sampling_rate=rate,
            noise_multiplier=noise,
            n_steps=n_epochs * round(1 / rate),
            delta=DELTA,
        )
        keys = iter(jax.random.split(jax.random.key(args.seed), 2 * args.runs))
        real = noise * args.sabotage
        with_row = [attack(X, y, next(keys), setting, real) for _ in range(args.runs)]
        without = [
            attack(X[:-1], y[:-1], next(keys), setting, real) for _ in range(args.runs)
        ]
        found = epsilon_lower_bound(with_row, without, delta=DELTA)
        refuted += found.epsilon > claimed
        print(
            f"sampling rate {rate:g}, noise {noise:g}, {n_epochs * round(1 / rate)} steps: "
            f"shown {found.epsilon:.2f} <= claimed {claimed:.2f}"
            if found.epsilon <= claimed
            else f"sampling rate {rate:g}, noise {noise:g}: REFUTED: shown "
            f"{found.epsilon:.2f} > claimed {claimed:.2f}",
            f"(true alarms {found.true_positive_rate:.3f}, "
            f"false {found.false_positive_rate:.3f})",
            flush=True,
        )
    if refuted:
        raise SystemExit(f"{refuted} of {len(SETTINGS)} claims are refuted")


if __name__ == "__main__":
    main()
