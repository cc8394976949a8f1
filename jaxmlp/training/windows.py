"""Rows that come in blocks, gathered to windows, each in memory and shuffled as a whole."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmlp.training.arrays import as_finite, check_labels
from jaxmlp.training.checkpoints import CheckpointError
from jaxmlp.training.orders import Plan, draw_block

_ALIGNMENT = 64

Block = tuple[Any, ...]
"""`(X, y)` or `(X, y, sample_weight)`: features `(n, p)`, labels and weights `(n,)`."""


class Elsewhere(NamedTuple):
    """In place of a block: rows that another process has.

    Attributes:
      n_rows: Their number.
      process: The process.
    """

    n_rows: int
    process: int


class BlockSource(Protocol):
    """What can begin in the middle of an epoch, and share its rows out to processes."""

    def blocks(self, epoch: int, skip: int) -> Iterator[Block | Elsewhere]:
        """Blocks of an epoch, without its first `skip` rows."""


Rows = Iterable[Block] | Callable[[int], Iterable[Block]] | BlockSource
"""What `fit_stream` takes."""

Blocks = Callable[[int, int], Iterator[Block | Elsewhere]]
"""`(epoch, skip) -> blocks` of an epoch, without its first `skip` rows."""


class Window(NamedTuple):
    """Rows between two looks of the host.

    Attributes:
      plan: How its rows are cut into mini-batches.
      order: Row numbers of the mini-batches, `(n_batches * batch_size,)`.
      X: Features, `(n, p)`, or `(n, p + 1)` with a last column of ones.
      y: Labels, `(n,)`.
      sample_weight: Weights, `(n,)`, or None.
      n_rows: Rows of the window.
      is_last: Whether the epoch ends with it.
      owners: Process that has each row, `(n,)`; None if each has all.
      memory: What X is the beginning of, of a full window's shape.
    """

    plan: Plan
    order: NDArray[np.int32]
    X: NDArray[Any]
    y: NDArray[Any]
    sample_weight: NDArray[Any] | None
    n_rows: int
    is_last: bool
    owners: NDArray[np.int32] | None
    memory: NDArray[Any]


class Layout(NamedTuple):
    """What windows are made like.

    Attributes:
      n_rows: Rows of all but the last of an epoch: a multiple of the batch size.
      batch_size: Examples a step.
      n_epochs: Length of the run.
      drop_last: Whether an epoch's smaller last mini-batch is left out.
      n_features: Columns of X.
      augmented: Whether X gets a last column of ones.
      dtype: Type of labels and weights.
      compute_dtype: Type of the features.
      class_weight: Weights of labels 0 and 1, `(2,)`, or None.
      is_shared: Whether each process has some of the rows, not all.
    """

    n_rows: int
    batch_size: int
    n_epochs: int
    drop_last: bool
    n_features: int
    augmented: bool
    dtype: np.dtype[Any]
    compute_dtype: np.dtype[Any]
    class_weight: NDArray[Any] | None
    is_shared: bool = False


def as_blocks(stream: Rows) -> Blocks:
    """Makes blocks of what a caller gives; see `fit_stream`."""
    if hasattr(stream, "blocks"):
        found: Blocks = stream.blocks
        return found

    def blocks(epoch: int, skip: int) -> Iterator[Block]:
        found = stream(epoch) if callable(stream) else stream
        for block in found:
            if not isinstance(block, Sequence) or len(block) not in (2, 3):
                raise ValueError(
                    "stream must give blocks (X, y) or (X, y, sample_weight), not "
                    f"{type(block).__name__}"
                )
            n = len(block[1])
            if skip < n:
                yield tuple(array[skip:] for array in block) if skip else tuple(block)
            skip = max(0, skip - n)

    return blocks


def cut_windows(
    blocks: Iterable[Block | Elsewhere],
    layout: Layout,
    seed: tuple[int, ...],
    epoch: int,
    first: int = 0,
    spare: list[NDArray[Any]] | None = None,
) -> Iterator[Window]:
    """Gathers an epoch's blocks to windows and draws the orders of their rows.

    If one window holds the whole epoch, its order is that of `fit`, else each window has
    an order of its own, drawn from the seed, the epoch and the window's number.

    Args:
      blocks: The rows.
      layout: What the windows are like.
      seed: Numbers that the orders follow from.
      epoch: Number of the epoch, from 0.
      first: Number of the first window.
      spare: Memory of earlier windows that nobody uses any more, which is taken out.

    Raises:
      ValueError: A block does not hold what it should; names it and the row. Or there are
        no rows.
      CheckpointError: There are none behind the first windows, which were trained on.
    """
    number, n_seen = first, first * layout.n_rows
    spare = [] if spare is None else spare
    window = _Filling(layout, spare)
    for block in blocks:
        rest = block if isinstance(block, Elsewhere) else _Rows(*block)
        try:
            if isinstance(rest, _Rows):
                _check_block(rest, layout)
            n_left = rest.n_rows
            while n_left:
                if window.is_full:
                    yield window.close(seed, epoch, number, is_last=False)
                    window, number = _Filling(layout, spare), number + 1
                n_taken = min(window.room, n_left)
                window.take(rest, rest.n_rows - n_left, n_taken)
                n_left -= n_taken
        except ValueError as error:
            place = f"stream, epoch {epoch + 1}, the block from row {n_seen} on"
            raise ValueError(f"{place}: {error}") from error
        n_seen += rest.n_rows
    if not window.n_filled and first:
        raise CheckpointError(
            f"the checkpoint stands at row {first * layout.n_rows} of epoch {epoch + 1}, "
            "which the stream does not have; give another folder"
        )
    if not window.n_filled:
        raise ValueError(f"stream gives no rows in epoch {epoch + 1}")
    yield window.close(seed, epoch, number, is_last=True)


class _Rows(NamedTuple):
    X: NDArray[Any]
    y: NDArray[Any]
    weight: NDArray[Any] | None = None

    @property
    def n_rows(self) -> int:
        return len(self.y)


def _check_block(rows: _Rows, layout: Layout) -> None:
    """Raises ValueError unless the shapes are those of a block."""
    n = len(rows.y)
    if np.shape(rows.X) != (n, layout.n_features):
        raise ValueError(
            f"X must have shape ({n}, {layout.n_features}), as y and params want, not "
            f"{np.shape(rows.X)}"
        )
    if rows.weight is not None and np.shape(rows.weight) != (n,):
        raise ValueError(
            f"sample_weight must have shape ({n},), not {np.shape(rows.weight)}"
        )


class _Filling:
    """A window that is being filled."""

    def __init__(self, layout: Layout, spare: list[NDArray[Any]]) -> None:
        self.layout, self.n_filled = layout, 0
        self.X = spare.pop() if spare else _make_features(layout)
        self.y = np.empty(layout.n_rows, layout.dtype)
        self.weight: NDArray[Any] | None = None
        self.owners: NDArray[np.int32] | None = None
        if layout.is_shared:
            self.owners = np.full(layout.n_rows, jax.process_index(), np.int32)

    @property
    def room(self) -> int:
        return self.layout.n_rows - self.n_filled

    @property
    def is_full(self) -> bool:
        return not self.room

    def take(self, rows: _Rows | Elsewhere, first: int, n: int) -> None:
        """Takes n of the rows, for which there is room, from row `first` on."""
        start, stop = self.n_filled, self.n_filled + n
        self.n_filled = stop
        if isinstance(rows, Elsewhere):
            assert self.owners is not None
            self.owners[start:stop] = rows.process
            return
        layout, part = self.layout, slice(first, first + n)
        as_finite(
            "X",
            np.asarray(rows.X[part]),
            layout.compute_dtype,
            out=self.X[start:stop, : layout.n_features],
        )
        self.y[start:stop] = y = check_labels("y", rows.y[part], n, layout.dtype)
        if rows.weight is not None or layout.class_weight is not None:
            if self.weight is None:
                self.weight = np.ones(layout.n_rows, layout.dtype)
            weight = None if rows.weight is None else rows.weight[part]
            self.weight[start:stop] = _weights(weight, y, layout)

    def close(
        self, seed: tuple[int, ...], epoch: int, number: int, *, is_last: bool
    ) -> Window:
        n, layout = self.n_filled, self.layout
        plan = Plan(n, min(layout.batch_size, n), layout.n_epochs, layout.drop_last)
        if number == 0 and is_last:
            drawn = draw_block(seed, plan, epoch // plan.block)
            order = drawn[epoch % len(drawn)]
        else:
            plan = plan._replace(batch_size=layout.batch_size, of_subset=True)
            order = draw_block((*seed, epoch, number), plan._replace(n_epochs=1), 0)[0]
        weight = None if self.weight is None else self.weight[:n]
        owners = None if self.owners is None else self.owners[:n]
        return Window(
            plan, order, self.X[:n], self.y[:n], weight, n, is_last, owners, self.X
        )


def _weights(given: NDArray[Any] | None, y: NDArray[Any], layout: Layout) -> NDArray[Any]:
    weight = np.ones(len(y), layout.dtype)
    if given is not None:
        weight = as_finite("sample_weight", np.asarray(given), layout.dtype)
        if (weight < 0).any():
            raise ValueError(f"sample_weight is negative at row {int(weight.argmin())}")
    if layout.class_weight is not None:
        weight = weight * layout.class_weight.astype(layout.dtype)[y.astype(int)]
    return weight


def _make_features(layout: Layout) -> NDArray[Any]:
    shape = (layout.n_rows, layout.n_features + layout.augmented)
    X = _aligned(shape, layout.compute_dtype)
    if layout.augmented:
        X[:, -1] = 1
    return X


def _aligned(shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """As `np.empty`, where JAX on a CPU takes the memory over instead of copying it."""
    n_bytes = shape[0] * shape[1] * dtype.itemsize
    memory = np.empty(n_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + n_bytes].view(dtype).reshape(shape)
