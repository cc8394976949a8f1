"""`fit` beside scikit-learn's MLPClassifier, step by step."""

import jax
import numpy as np
import optax
import pytest
from sklearn.neural_network import MLPClassifier

from jaxmlp import fit, init_params
from jaxmlp.training import epoch_order
from tests.helpers import relative_error

KEY = jax.random.key(2)
N_SAMPLES, BATCH_SIZE, N_EPOCHS = 320, 32, 5

# scikit-learn adds Adam's epsilon before the bias correction, optax after it; with an
# epsilon that is nothing beside the gradients, they are the same.
TINY = 1e-20

OPTIMIZERS = {
    "sgd": (optax.sgd(0.1), {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1}),
    "momentum": (
        optax.sgd(0.1, momentum=0.9),
        {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.1},
    ),
    "nesterov": (
        optax.sgd(0.1, momentum=0.9, nesterov=True),
        {"solver": "sgd", "learning_rate_init": 0.1},
    ),
    "adam": (
        optax.adam(0.01, eps=TINY),
        {"solver": "adam", "epsilon": TINY, "learning_rate_init": 0.01},
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("hidden", [(16,), (8, 4)])
@pytest.mark.parametrize("l2", [0.0, 0.01])
@jax.numpy_dtype_promotion("standard")  # optax's Adam mixes types itself
def test_fit_follows_scikit_learn_for_50_steps(x64, name, hidden, l2):
    optimizer, options = OPTIMIZERS[name]
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N_SAMPLES, 10)), rng.integers(0, 2, N_SAMPLES)
    params = init_params(jax.random.key(0), (10, *hidden, 1), dtype=np.float64)
    result = fit(
        KEY,
        params,
        X,
        y,
        optimizer=optimizer,
        n_epochs=N_EPOCHS,
        batch_size=BATCH_SIZE,
        l2=l2,
    )

    model = MLPClassifier(hidden, alpha=l2 * BATCH_SIZE, batch_size=BATCH_SIZE, **options)
    model.partial_fit(X[:BATCH_SIZE], y[:BATCH_SIZE], classes=[0, 1])
    model.coefs_ = [np.array(layer.w) for layer in params]
    model.intercepts_ = [np.array(layer.b) for layer in params]
    del model._optimizer  # made anew, for these arrays, by the next call
    for epoch in range(N_EPOCHS):
        for rows in epoch_order(KEY, epoch, N_SAMPLES).reshape(-1, BATCH_SIZE):
            model.partial_fit(X[rows], y[rows])

    expected = tuple(zip(model.coefs_, model.intercepts_, strict=True))
    actual = tuple((layer.w, layer.b) for layer in result.params)
    assert relative_error(actual, expected) <= 1e-9
