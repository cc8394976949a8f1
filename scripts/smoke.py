"""Checks gradients and training without the developers' tools; a few seconds.

For machines where the test suite does not run: another Python, an accelerator.

    python scripts/smoke.py
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
from arguments import add_quick, make_parser
from sklearn import neural_network
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from jaxmlp import (
    MLPClassifier,
    bce_with_logits,
    ensemble_proba,
    fit,
    forward,
    init_params,
    loss_and_grads,
    search,
)
from jaxmlp.gradients import loss_factors, norms
from jaxmlp.privacy import calibrate, dp_fit


def gradient_error(key: jax.Array, layer_sizes: tuple[int, ...], n: int) -> float:
    """Largest difference to `jax.grad`, in units of each leaf's largest entry."""
    params_key, X_key, y_key = jax.random.split(key, 3)
    params = init_params(params_key, layer_sizes, dtype=jnp.float64)
    X = jax.random.normal(X_key, (n, layer_sizes[0]), jnp.float64)
    y = jax.random.bernoulli(y_key, shape=(n,)).astype(jnp.float64)

    def mean_loss(params):
        return jnp.mean(bce_with_logits(forward(params, X), y))

    expected = jax.jit(jax.grad(mean_loss))(params)
    _, actual = jax.jit(loss_and_grads)(params, X, y)
    errors = jax.tree.map(
        lambda a, e: jnp.abs(a - e).max() / jnp.abs(e).max(), actual, expected
    )
    return float(max(jax.tree.leaves(errors)))


def norm_error(key: jax.Array, layer_sizes: tuple[int, ...], n: int) -> float:
    """Largest relative difference of per-example norms to `vmap(jax.grad)`."""
    params_key, X_key = jax.random.split(key)
    params = init_params(params_key, layer_sizes, dtype=jnp.float64)
    X = jax.random.normal(X_key, (n, layer_sizes[0]), jnp.float64)
    y = (X[:, 0] > 0).astype(jnp.float64)

    def loss_of_one(params, x, y_i):
        return bce_with_logits(forward(params, x[None]), y_i[None])[0]

    grads = jax.jit(jax.vmap(jax.grad(loss_of_one), (None, 0, 0)))(params, X, y)
    squares = [(leaf.reshape(n, -1) ** 2).sum(axis=1) for leaf in jax.tree.leaves(grads)]
    expected = jnp.sqrt(sum(squares))
    actual = norms(jax.jit(loss_factors)(params, X, y))
    return float(jnp.max(jnp.abs(actual - expected) / expected))


def check_estimator() -> None:
    """The estimator beside scikit-learn's, from the same random state, and in its tools."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    params = {
        "hidden_layer_sizes": 8,
        "solver": "sgd",
        "random_state": 0,
        "max_iter": 20,
        "learning_rate_init": 0.1,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours = MLPClassifier(**params).fit(X, y)
        theirs = neural_network.MLPClassifier(**params).fit(X, y)
        grid = GridSearchCV(ours, {"alpha": [1e-4, 1e-2]}, cv=2).fit(X, y)
    off = np.abs(np.subtract(ours.loss_curve_, theirs.loss_curve_)).max()
    if not off <= 1e-10:
        raise SystemExit(f"the estimator's loss curve is off by {off}")
    if not grid.best_score_ > 0.9:
        raise SystemExit(f"a grid search has an accuracy of {grid.best_score_}")


def main() -> None:
    parser = make_parser(__doc__)
    add_quick(parser)
    n_rows = (5,) if parser.parse_args().quick else (1, 5, 40_000)
    with jax.enable_x64(True):
        for layer_sizes in ((5, 1), (5, 7, 1), (5, 7, 4, 1)):
            for n in n_rows:
                error = gradient_error(jax.random.key(n), layer_sizes, n)
                if not error <= 1e-12:
                    raise SystemExit(
                        f"gradient of {layer_sizes} at n = {n} is off by {error}"
                    )
                error = norm_error(jax.random.key(n), layer_sizes, n)
                if not error <= 1e-10:
                    raise SystemExit(
                        f"norms of {layer_sizes} at n = {n} are off by {error}"
                    )
    X = jax.random.normal(jax.random.key(0), (1000, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    init_key, shuffle_key = jax.random.split(jax.random.key(1))
    params = init_params(init_key, (2, 16, 1))
    result = fit(
        shuffle_key, params, X, y, optimizer=optax.sgd(0.3), n_epochs=50, batch_size=16
    )
    loss = result.history["train_loss"][-1]
    if not loss < 0.1:
        raise SystemExit(f"training loss is {loss} after 50 epochs")
    private = dp_fit(
        shuffle_key,
        params,
        X,
        y,
        optimizer=optax.sgd(0.3),
        n_epochs=50,
        batch_size=16,
        noise_multiplier=calibrate(5.0, 1e-3, sampling_rate=0.016, n_steps=50 * 63),
        max_grad_norm=1.0,
        delta=1e-3,
    )
    if not 4.99 < private.guarantee.epsilon <= 5:
        raise SystemExit(f"epsilon is {private.guarantee.epsilon}, not 5")
    with jax.enable_x64(True):
        X = jnp.asarray(X, jnp.float64)
        found = search(
            jax.random.key(2),
            X[:700],
            y[:700],
            X[700:],
            y[700:],
            learning_rates=[0.1, 0.3],
            hidden_sizes=[0, 16],
            l2=[0, 1e-4],
            n_seeds=2,
            n_best=4,
            n_epochs=50,
            batch_size=16,
        )
        is_positive = ensemble_proba(found.ensemble, X[700:]) > 0.5
        accuracy = float((is_positive == y[700:]).mean())
    if not accuracy > 0.95:
        raise SystemExit(f"the ensemble of a search has an accuracy of {accuracy}")
    check_estimator()
    print(f"gradients within 1e-12 of jax.grad; xor learned to a loss of {loss:.3f}")


if __name__ == "__main__":
    main()
