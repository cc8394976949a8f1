import threading

import pytest

from jaxmlp.data.stream.lanes import take_turns


def lane(*items, fails=None, closed=None):
    try:
        yield from items
        if fails:
            raise fails
    finally:
        if closed is not None:
            closed.append(items)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_lanes_take_turns_and_drop_out_as_they_end(n_threads):
    lanes = [lane(1, 2, 3), lane(), lane(10), lane(20, 21)]
    assert list(take_turns(lanes, n_threads)) == [1, 10, 20, 2, 21, 3]
    assert list(take_turns([], n_threads)) == []


def test_one_item_a_lane_is_made_ahead():
    made = []

    def counted(name):
        for i in range(100):
            made.append((name, i))
            yield name, i

    items = take_turns([counted("a"), counted("b")], 1)
    taken = [next(items) for _ in range(10)]
    # One thread makes what was asked for in order; it may be at the next two.
    assert len(taken) <= len(made) <= len(taken) + 2
    items.close()
    assert len(made) <= len(taken) + 2


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_error_comes_when_its_turn_comes_and_all_is_closed(n_threads):
    closed, taken = [], []
    lanes = [
        lane(1, 2, closed=closed),
        lane(10, fails=OSError("gone"), closed=closed),
        lane(*range(20, 99), closed=closed),
    ]
    with pytest.raises(OSError, match="gone"):
        taken.extend(take_turns(lanes, n_threads))
    assert taken == [1, 10, 20, 2]
    assert len(closed) == 3
    assert threads() == 0


def test_whoever_stops_early_leaves_no_thread_and_no_open_lane():
    closed = []
    items = take_turns([lane(*range(9), closed=closed) for _ in range(4)], 3)
    assert next(items) == 0
    assert threads() > 0
    items.close()
    assert len(closed) == 4
    assert threads() == 0


def test_lanes_that_cannot_be_closed():
    assert list(take_turns([iter([1, 2]), iter([3])], 2)) == [1, 3, 2]


def test_lanes_run_beside_each_other():
    meeting = threading.Barrier(2, timeout=10)

    def waits(item):
        meeting.wait()
        yield item

    assert list(take_turns([waits(1), waits(2)], 2)) == [1, 2]


def threads():
    return sum(t.name.startswith("jaxmlp-read") for t in threading.enumerate())
