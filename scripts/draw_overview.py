"""Draws the README's picture: what a network learns, epoch by epoch.

python scripts/draw_overview.py docs/overview.png
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from jaxmlp import fit, init_params, predict_proba, train_val_test_split

EPOCHS = (3, 30, 600)


def two_arms(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Two arms of a spiral, one class each, with some noise."""
    angle_key, noise_key = jax.random.split(key)
    angle = 6.5 * jnp.sqrt(jax.random.uniform(angle_key, (n,))) + 0.3
    y = jnp.arange(n) % 2
    turn = angle + jnp.pi * y
    X = angle[:, None] * jnp.stack([jnp.cos(turn), jnp.sin(turn)], axis=1)
    X = X / 2
    return X + 0.1 * jax.random.normal(noise_key, X.shape), y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    data_key, split_key, init_key, shuffle_key = jax.random.split(jax.random.key(3), 4)
    X, y = two_arms(data_key, 400)
    train, val, _ = train_val_test_split(split_key, len(y))
    params = init_params(init_key, (2, 64, 1))
    optimizer = optax.sgd(0.1)
    runs = {
        n: fit(
            shuffle_key,
            params,
            X[train],
            y[train],
            X_val=X[val],
            y_val=y[val],
            optimizer=optimizer,
            n_epochs=n,
            batch_size=8,
        )
        for n in EPOCHS
    }
    side = np.linspace(-4, 4, 200)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
    for axis, (n_epochs, run) in zip(axes, runs.items(), strict=False):
        probs = np.asarray(predict_proba(run.params, grid)).reshape(200, 200)
        axis.contourf(
            side, side, probs, levels=20, cmap="PuOr_r", vmin=0, vmax=1, alpha=0.45
        )
        axis.contour(side, side, probs, levels=[0.5], colors="black", linewidths=1)
        for label, marker in ((0, "o"), (1, "^")):
            points = X[train][y[train] == label]
            color = "#b35806" if label else "#542788"
            axis.scatter(*points.T, s=14, marker=marker, color=color, linewidths=0)
        axis.set(
            title=f"after {n_epochs} epoch{'s' * (n_epochs > 1)}", xticks=[], yticks=[]
        )
        axis.set_aspect("equal")
    history = runs[EPOCHS[-1]].history
    epochs = np.arange(1, EPOCHS[-1] + 1)
    axes[3].plot(epochs, history["train_loss"], color="#542788", label="training")
    axes[3].plot(epochs, history["val_loss"], "--", color="#b35806", label="validation")
    axes[3].set(
        title="binary cross-entropy (nats)", xlabel="epoch", xscale="log", ylim=(0, None)
    )
    axes[3].legend(frameon=False)
    figure.savefig(out, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
