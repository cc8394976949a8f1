"""Memory for large arrays, used again."""

import math

import numpy as np
from numpy.typing import NDArray


class Buffers:
    """Lends arrays of float32, and takes them back.

    New memory comes from the system page by page, each filled with zeros first, which takes
    as long as the work on it. Several threads may use one.
    """

    def __init__(self) -> None:
        self._free: list[NDArray[np.float32]] = []

    def lend(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An array whose values are anything."""
        size = math.prod(shape)
        while True:
            try:
                flat = self._free.pop()
            except IndexError:
                # A little more, so that arrays of nearly the same size share it.
                flat = np.empty(size + size // 16, np.float32)
            if flat.size >= size:
                return flat[:size].reshape(shape)

    def take_back(self, array: NDArray[np.float32]) -> None:
        """Lets an array, or what it is part of, be lent again: nobody may use it now."""
        self._free.append(array if array.base is None else array.base)
