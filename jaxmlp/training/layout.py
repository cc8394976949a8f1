"""A window's rows laid out over the devices of a mesh, mini-batch by mini-batch.

Which rows make a mini-batch does not depend on the devices or processes. Each process has
some of its rows, and lays them into its share of the places; what is left empty has no
weight. So no row is sent: devices add up gradients, and nothing else.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from jaxmlp.training.orders import Plan, round_up
from jaxmlp.training.state import Data
from jaxmlp.training.windows import Window


class Places(NamedTuple):
    """Where rows of a window lie in one process.

    Attributes:
      shape: Mini-batches, and places for each of them in this process.
      places: Places that are filled, as numbers in an array of that shape, flattened.
      rows: The rows in them.
    """

    shape: tuple[int, int]
    places: NDArray[np.int64]
    rows: NDArray[np.int32]


def lay_out(window: Window, mesh: Mesh) -> tuple[Plan, Data]:
    """Puts a window on the devices of a mesh, cut into mini-batches.

    Returns:
      How it is cut into places, and the rows: features `(n_batches, n_places, p)`, and
      labels and weights, in each of which the devices share out the second axis.
    """
    of_processes = [device.process_index for device in mesh.devices.flat]
    n_processes = len(set(of_processes))
    me = sorted(set(of_processes)).index(jax.process_index())
    found = find_places(window, me, n_processes, mesh.size // n_processes)
    n_batches, n_local = found.shape
    is_full = n_processes == 1 and len(found.places) == n_batches * n_local
    weight = window.sample_weight
    if weight is None and not is_full:
        weight = np.ones(window.n_rows, window.y.dtype)
    sharding = NamedSharding(mesh, PartitionSpec(None, mesh.axis_names[0]))

    def spread(array: NDArray[Any] | None) -> Any:
        if array is None:
            return None
        local = np.zeros((n_batches * n_local, *array.shape[1:]), array.dtype)
        local[found.places] = array[found.rows]
        local = local.reshape(n_batches, n_local, *array.shape[1:])
        whole = (n_batches, n_processes * n_local, *array.shape[1:])
        return jax.make_array_from_process_local_data(sharding, local, whole)

    n_places = n_processes * n_local
    plan = window.plan._replace(
        n_samples=n_batches * n_places, batch_size=n_places, of_subset=True
    )
    rows = (spread(window.X), spread(window.y), spread(weight))
    return plan, Data(*rows, None, None, None)


def find_places(window: Window, me: int, n_processes: int, n_devices: int) -> Places:
    """Finds which rows of each mini-batch one process has, and where it lays them.

    Args:
      window: Its orders, and which process has which rows. Without that, all have all, and
        each lays out its share.
      me: Number of the process.
      n_processes: Number of all.
      n_devices: Devices of each.
    """
    order = window.order
    if window.plan.is_full_batch:
        order = np.arange(window.n_rows, dtype=np.int32)
    order = order.reshape(window.plan.n_batches, -1)
    if window.owners is None:
        n_local = round_up(-(-order.shape[1] // n_processes), n_devices)
        share = order[:, me * n_local : (me + 1) * n_local]
        is_mine = share >= 0
        n_most = n_local
    else:
        owners = np.where(order >= 0, window.owners[order], -1)
        counts = [(owners == process).sum(axis=1).max() for process in range(n_processes)]
        # In steps, so that windows share a program.
        step = round_up(max(1, order.shape[1] // (16 * n_processes)), n_devices)
        n_most = round_up(int(max(counts)), step)
        share, is_mine = order, owners == me
    number = np.arange(len(share))[:, None] * n_most
    places = number + np.cumsum(is_mine, axis=1) - 1
    return Places((len(share), n_most), places[is_mine], share[is_mine])
