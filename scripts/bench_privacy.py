"""What privacy costs in accuracy: the lecture's recipe with and without --dp-epsilon.

The command's defaults, the same split for both, several seeds:

    python scripts/bench_privacy.py DATA --target COL [--epsilon 1 3 8] [--clip 1]
"""

import argparse
import statistics
from pathlib import Path

from jaxmlp.data.tables import read_table
from jaxmlp.interfaces.recipes.pipeline import train_on_table
from jaxmlp.interfaces.recipes.recipe import (
    PRIVATE_CLIP,
    PRIVATE_DEFAULTS,
    LectureRecipe,
    Privacy,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 3.0, 8.0])
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--clip", type=float, default=PRIVATE_CLIP)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    table = read_table(args.data)

    def measure(seed: int, epsilon: float | None) -> dict:
        recipe = LectureRecipe(target=args.target, seed=seed)
        if epsilon is not None:
            privacy = Privacy(epsilon, args.delta, max_norm=args.clip, bounds=None)
            recipe = recipe._replace(privacy=privacy, **PRIVATE_DEFAULTS)
        return train_on_table(table, recipe).report["test"]

    plain = [measure(seed, None) for seed in range(args.seeds)]
    show("not private", plain, plain)
    for epsilon in args.epsilon:
        private = [measure(seed, epsilon) for seed in range(args.seeds)]
        show(f"epsilon {epsilon:g}", private, plain)


def show(name: str, found: list[dict], plain: list[dict]) -> None:
    accuracy = [metrics["accuracy"] for metrics in found]
    lost = [
        100 * (b["accuracy"] - a["accuracy"]) for a, b in zip(found, plain, strict=True)
    ]
    auc = statistics.mean(metrics["roc_auc"] for metrics in found)
    print(
        f"{name:14} test accuracy {statistics.mean(accuracy):.4f}, points lost "
        f"{statistics.mean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}), AUC {auc:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
