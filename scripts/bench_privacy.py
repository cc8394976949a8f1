"""What privacy costs in accuracy: the lecture's recipe with and without --dp-epsilon.

The command's defaults, the same split for both, several seeds:

    python scripts/bench_privacy.py adult.parquet --target target --epsilon 1 3 8
"""

import argparse
import statistics

from arguments import existing_file, make_parser, positive, share, whole

from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import read_table
from jaxmlp.interfaces.recipes.pipeline import train_on_table
from jaxmlp.interfaces.recipes.recipe import (
    PRIVATE_CLIP,
    PRIVATE_DEFAULTS,
    LectureRecipe,
    Privacy,
)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("data", type=existing_file, help="CSV or Parquet file")
    parser.add_argument("--target", required=True, help="column with the two labels")
    parser.add_argument(
        "--epsilon",
        type=positive,
        nargs="+",
        default=[1.0, 3.0, 8.0],
        help="budgets to try (default: 1 3 8)",
    )
    parser.add_argument(
        "--delta", type=share, default=1e-5, help="of each budget (default: %(default)g)"
    )
    parser.add_argument(
        "--clip",
        type=positive,
        default=PRIVATE_CLIP,
        help="norm to which each row's gradient is clipped (default: %(default)g)",
    )
    parser.add_argument(
        "--seeds",
        type=whole(1),
        default=5,
        help="splits to try, each with and without privacy (default: %(default)s)",
    )
    options = parser.parse_args()
    try:
        compare(options)
    except DataError as error:
        parser.error(str(error))


def compare(args: argparse.Namespace) -> None:
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
