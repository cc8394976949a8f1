"""What data-parallel training sends a step, and when that pays; arithmetic, no measurement.

    python scripts/communication.py --devices 8

Devices add up their gradients once a step (`jaxmlp.fit(mesh=...)`): an all-reduce of V
bytes. With a latency of a seconds a message and a bandwidth of b bytes a second each way,

    ring                2 (D - 1) a + 2 (D - 1) / D * V / b
    halving, doubling   2 log2(D) a + 2 (D - 1) / D * V / b

seconds, of which a library takes the less. A step of B rows on one device takes
4 B (p + 1) q / F seconds for the two products of a hidden layer at F operations a second
(deeper: three products of each layer after the first); D devices take 1/D of that and the
all-reduce. They are faster from the B on at which both are equal.
"""

import itertools
import math
from typing import NamedTuple

from arguments import make_parser, whole


class Cluster(NamedTuple):
    """Assumptions: seconds a message, bytes a second, operations a second, start."""

    name: str
    latency: float
    bandwidth: float
    speed: float
    start: float  # seconds that every all-reduce costs, whatever its size


CLUSTERS = (
    Cluster("GPUs in one machine, NVLink", 1e-6, 300e9, 10e12, 10e-6),
    Cluster(
        "GPUs in machines of their own, 100 Gbit/s with RDMA", 5e-6, 11e9, 10e12, 10e-6
    ),
    Cluster("GPUs in machines of their own, 100 Gbit/s, TCP", 30e-6, 8e9, 10e12, 30e-6),
    Cluster("CPUs in machines of their own, 10 Gbit/s, TCP", 30e-6, 1.1e9, 1e12, 30e-6),
)
SHAPES = ((28, 64, 1), (28, 300, 1), (500, 512, 1))


def n_parameters(sizes: tuple[int, ...]) -> int:
    """P, all weights and biases."""
    return sum((d_in + 1) * d_out for d_in, d_out in itertools.pairwise(sizes))


def n_sent(sizes: tuple[int, ...]) -> int:
    """Numbers that are added up over the devices in a step.

    Of the output's weights, none where there is a hidden layer: their gradient follows
    from the sums of the layer before (see `jaxmlp.gradients.weighted_sum`). Beside them,
    the gradient of the output's bias, and the loss.
    """
    if len(sizes) == 2:
        return sizes[0] + 2
    return n_parameters(sizes[:-1]) + 2


def all_reduce_seconds(n_bytes: float, n_devices: int, cluster: Cluster) -> float:
    """Time of the faster of the two ways to add up."""
    n_messages = min(2 * (n_devices - 1), 2 * math.log2(n_devices))
    volume = 2 * (n_devices - 1) / n_devices * n_bytes
    return cluster.start + n_messages * cluster.latency + volume / cluster.bandwidth


def operations_a_row(sizes: tuple[int, ...]) -> int:
    """Of the matrix products of a step."""
    first, *others = [(d_in + 1) * d_out for d_in, d_out in itertools.pairwise(sizes[:-1])]
    return 4 * first + 6 * sum(others)


def break_even(sizes: tuple[int, ...], n_devices: int, cluster: Cluster) -> float:
    """Rows of a mini-batch from which the devices are faster than one."""
    seconds = all_reduce_seconds(4 * n_sent(sizes), n_devices, cluster)
    saved_a_row = operations_a_row(sizes) / cluster.speed * (1 - 1 / n_devices)
    return seconds / saved_a_row


def main() -> None:
    """Prints the tables of docs/distributed.md."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--devices",
        type=whole(2),
        default=8,
        metavar="D",
        help="that share out each step, at least 2 (default: %(default)s)",
    )
    n_devices = parser.parse_args().devices
    share = 2 * (n_devices - 1) / n_devices
    print("| layers | parameters | numbers added up | bytes | bytes sent by each device |")
    print("|---|---|---|---|---|")
    for sizes in SHAPES:
        n = n_sent(sizes)
        row = (sizes, f"{n_parameters(sizes):,}", f"{n:,}", f"{4 * n:,}")
        print("|", " | ".join([*map(str, row), f"{share * 4 * n:,.0f}"]), "|")
    print("\n| cluster |", " | ".join(f"{s}: µs, rows" for s in SHAPES), "|")
    print("|---|" + "---|" * len(SHAPES))
    for cluster in CLUSTERS:
        cells = []
        for sizes in SHAPES:
            seconds = all_reduce_seconds(4 * n_sent(sizes), n_devices, cluster)
            rows = break_even(sizes, n_devices, cluster)
            cells.append(f"{1e6 * seconds:,.0f}, {float(f'{rows:.2g}'):,.0f}")
        print("|", cluster.name, "|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
