import numpy as np

from jaxmlp.data.buffers import Buffers


def test_memory_is_lent_again():
    buffers = Buffers()
    first = buffers.lend((4, 6))
    first[...] = 7
    other = buffers.lend((4, 6))
    assert not np.shares_memory(first, other)
    buffers.take_back(first[2:])  # a part stands for the whole
    again = buffers.lend((3, 8))
    assert np.shares_memory(first, again)
    assert (again.shape, again.dtype) == ((3, 8), np.float32)


def test_what_is_too_small_is_let_go():
    buffers = Buffers()
    buffers.take_back(buffers.lend((2, 2)))
    large = buffers.lend((50, 2))
    large[...] = 1
    assert large.shape == (50, 2)
    assert buffers.lend((0, 3)).shape == (0, 3)
