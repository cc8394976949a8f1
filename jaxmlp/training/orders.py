"""Orders in which epochs visit the examples, or samples of them, drawn on the host.

`jax.random.permutation` sorts: inside a program compiled for a CPU it took about ten times
as long as NumPy's shuffle from 10,000 rows on, and 0.4 s to compile
(`scripts/bench_training.py` repeats it). Drawn on the host while the device computes, an
order costs next to nothing, and is the same on every device.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jaxmlp.training.places import Place, put

Orders = Callable[[int], jax.Array]
"""`epoch -> (block, n_batches * batch_size)`: row numbers of the epochs of its block, -1
where nothing fills a mini-batch."""

_BLOCK_SIZE = 2**18  # row numbers drawn at once: 1 MiB
_CACHE_BYTES = 2**26


class Plan(NamedTuple):
    """How epochs are cut into mini-batches.

    Attributes:
      n_samples: Number of training examples n.
      batch_size: Examples a step s, at most n; or places for them, where all n are taken
        and devices share them out evenly.
      n_epochs: Length of the run.
      drop_last: Whether a smaller last mini-batch is left out.
      of_subset: Whether the examples are some of the rows only.
    """

    n_samples: int
    batch_size: int
    n_epochs: int
    drop_last: bool
    of_subset: bool = False

    @property
    def n_batches(self) -> int:
        """Steps an epoch."""
        if self.drop_last:
            return self.n_samples // self.batch_size
        return -(-self.n_samples // self.batch_size)

    @property
    def is_full_batch(self) -> bool:
        """Whether each step takes all rows, so that their order does not matter."""
        return self.batch_size == self.n_samples and not self.of_subset

    @property
    def takes_all(self) -> bool:
        """Whether each step takes all rows, perhaps with places that none fills."""
        return self.batch_size >= self.n_samples and not self.of_subset

    @property
    def has_padding(self) -> bool:
        """Whether an epoch's last mini-batch has places that no example fills."""
        return self.n_batches * self.batch_size > self.n_samples

    @property
    def block(self) -> int:
        """Epochs drawn at once, and run before the host looks up."""
        return min(self.n_epochs, max(1, _BLOCK_SIZE // self.n_samples))


class PoissonPlan(NamedTuple):
    """How Poisson samples make up epochs; as `Plan`.

    Attributes:
      n_samples: Number of training examples n.
      expected_size: Mean number of examples in a sample: each is in it with probability
        expected_size / n, whatever the others.
      batch_size: Places for a sample, at least as many as the largest has.
      n_epochs: Length of the run.
    """

    n_samples: int
    expected_size: float
    batch_size: int
    n_epochs: int

    @property
    def n_batches(self) -> int:
        """Steps an epoch: as many as mini-batches of the expected size would be."""
        return math.ceil(self.n_samples / self.expected_size)

    @property
    def is_full_batch(self) -> bool:
        """Whether each step takes all examples."""
        return self.takes_all and self.batch_size == self.n_samples

    @property
    def takes_all(self) -> bool:
        """Whether each step takes all examples, perhaps with places that none fills."""
        return self.expected_size == self.n_samples

    @property
    def has_padding(self) -> bool:
        """Whether samples may leave places empty."""
        return not self.is_full_batch

    @property
    def block(self) -> int:
        """Epochs drawn at once, and run before the host looks up."""
        return min(self.n_epochs, max(1, _BLOCK_SIZE // self.n_samples))


_PLACES = 32  # sample sizes are rounded up to multiples, so that few shapes are compiled


def plan_poisson(
    seed: tuple[int, ...],
    n_samples: int,
    expected_size: float,
    n_epochs: int,
    n_devices: int = 1,
) -> PoissonPlan:
    """Draws all samples of a run, so that the places hold the largest.

    No sample is ever cut or drawn again, which would need another privacy analysis. The
    places are a multiple of the number of devices.
    """
    plan = PoissonPlan(n_samples, expected_size, n_samples, n_epochs)
    most_places = round_up(n_samples, n_devices)
    if plan.takes_all:
        return plan._replace(batch_size=most_places)
    blocks = range(-(-n_epochs // plan.block))
    most = max(int(_draw_rows(seed, plan, i)[0].max()) for i in blocks)
    places = round_up(max(most, 1), math.lcm(_PLACES, n_devices))
    return plan._replace(batch_size=min(most_places, places))


def round_up(n: int, multiple: int) -> int:
    """The least multiple that is not below n."""
    return -(-n // multiple) * multiple


def draw_samples(seed: tuple[int, ...], plan: PoissonPlan, block: int) -> NDArray[np.int32]:
    """Draws the Poisson samples of one block of epochs; as `draw_block`."""
    if plan.takes_all:
        return _all_rows(plan)
    sizes, rows = _draw_rows(seed, plan._replace(batch_size=plan.n_samples), block)
    samples = np.full((len(sizes), plan.batch_size), -1, np.int32)
    samples[np.arange(plan.batch_size) < sizes[:, None]] = rows
    return samples.reshape(plan.block, -1)


@functools.lru_cache(maxsize=16)
def _draw_rows(
    seed: tuple[int, ...], plan: PoissonPlan, block: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Sizes of the samples of a block, `(n_steps,)`, and their rows, one after another.

    One coin for each row of each step is thrown by drawing how many coins fall the other
    way before the next success, which is geometric: the floor of an exponential number.
    """
    generator = np.random.default_rng([*seed, block])
    n_steps = plan.block * plan.n_batches
    n_coins = n_steps * plan.n_samples
    rate = -math.log1p(-plan.expected_size / plan.n_samples)
    parts: list[NDArray[np.int64]] = []
    last = -1
    while last < n_coins:
        wanted = (n_coins - last) * plan.expected_size / plan.n_samples
        waits = generator.standard_exponential(int(wanted + 5 * math.sqrt(wanted)) + 8)
        # A gap beyond the block's end ends it, however far beyond.
        gaps = np.minimum(waits / rate, n_coins).astype(np.int64) + 1
        parts.append(last + np.cumsum(gaps))
        last = int(parts[-1][-1])
    coins = np.concatenate(parts)
    begins = np.arange(n_steps) * plan.n_samples
    ends = np.searchsorted(coins, begins + plan.n_samples)
    sizes = np.diff(ends, prepend=0)
    rows = coins[: ends[-1]] - np.repeat(begins, sizes)
    return sizes, rows.astype(np.int32)


def draw_block(
    seed: tuple[int, ...],
    plan: Plan,
    block: int,
    rows: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Draws the orders of one block of epochs.

    Args:
      seed: Numbers that the generator is seeded with.
      plan: How epochs are cut.
      block: Number of the block, from 0.
      rows: The rows to visit, at least n_samples of them; None is all of n_samples. Those
        in excess are left out, others in each epoch.

    Returns:
      Row numbers, `(plan.block, n_batches * batch_size)`; an epoch's last ones are -1
      where nothing fills the last mini-batch. If each step takes all examples, one order
      for all epochs, the rows' own, and without columns if no place is left empty.
    """
    if plan.takes_all:
        return _all_rows(plan)
    generator = np.random.default_rng([*seed, block])
    n_used = min(plan.n_samples, plan.n_batches * plan.batch_size)
    orders = np.full((plan.block, plan.n_batches * plan.batch_size), -1, np.int32)
    n_rows = min(plan.block, plan.n_epochs - block * plan.block)
    visited = np.arange(plan.n_samples) if rows is None else rows
    for row in orders[:n_rows]:
        row[:n_used] = generator.permutation(visited)[:n_used]
    return orders


def _all_rows(plan: Plan | PoissonPlan) -> NDArray[np.int32]:
    if plan.is_full_batch:
        return np.zeros((1, 0), np.int32)
    places = np.arange(plan.batch_size, dtype=np.int32)
    return np.where(places < plan.n_samples, places, np.int32(-1))[None]


def epoch_order(key: jax.Array, epoch: int, n_samples: int) -> NDArray[np.int32]:
    """Draws the order in which `fit` visits the examples in an epoch.

    To repeat by hand what `fit` does: its mini-batches are this order, cut. (If one step
    takes all examples, it leaves them in their own order.)

    Args:
      key: The key that `fit` is given.
      epoch: Number of the epoch, from 0.
      n_samples: Number of training examples.

    Returns:
      Row numbers, `(n_samples,)`.

    Examples:
      >>> import jax
      >>> sorted(epoch_order(jax.random.key(0), 2, 4).tolist())
      [0, 1, 2, 3]
    """
    if n_samples == 1:
        return np.zeros((1,), np.int32)
    plan = Plan(n_samples, 1, epoch + 1, drop_last=False)
    seed = seed_of(jax.random.key_data(key))
    return draw_block(seed, plan, epoch // plan.block)[epoch % plan.block]


def make_orders(
    key_data: ArrayLike,
    plan: Plan | PoissonPlan,
    device: Place,
    rows: NDArray[np.int32] | None = None,
) -> Orders:
    """Makes the function that draws orders and keeps those that are likely used again.

    Args:
      key_data: Data of a JAX random key; epoch k has the same order whatever the epochs
        drawn before.
      plan: How epochs are cut, or sampled.
      device: Where the orders are wanted; None is JAX's default.
      rows: As in `draw_block`.
    """
    seed = seed_of(key_data)
    block_bytes = 4 * plan.block * max(1, plan.n_batches * plan.batch_size)

    @functools.lru_cache(maxsize=max(2, _CACHE_BYTES // block_bytes))
    def of_block(block: int) -> jax.Array:
        if isinstance(plan, Plan):
            drawn = draw_block(seed, plan, block, rows)
        else:
            drawn = draw_samples(seed, plan, block)
        return put(drawn, device)

    return lambda epoch: of_block(0 if plan.takes_all else epoch // plan.block)


def seed_of(key_data: ArrayLike) -> tuple[int, ...]:
    """Numbers that NumPy's generator is seeded with."""
    return tuple(np.ravel(key_data).tolist())
