import errno
import io
import os
import tempfile
import threading

import numpy as np
import pytest

from jaxmlp.data.buffers import Buffers
from jaxmlp.data.stream import store
from jaxmlp.data.stream.store import RowStore, row_store

PLACES = [(0, 0), (0, 1), (7, 0)]


def make_slice(n, seed=0, n_columns=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_columns)).astype(np.float32)
    return X, (rng.random(n) < 0.5).astype(np.float32)


def assert_same(found, rows):
    for array, other in zip(found, rows, strict=True):
        np.testing.assert_array_equal(array, other)


class Disk(io.FileIO):
    """A file on a disk that is full from some byte on, as a told error or in silence."""

    def __init__(self, path, room, *, tells):
        super().__init__(path, "w+b")
        self.room, self.tells = room, tells

    def write(self, data):
        most = self.room - self.tell()
        if memoryview(data).nbytes <= most:
            return super().write(data)
        if self.tells:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(bytes(data)[: max(0, most)])


def test_what_is_put_is_got(tmp_path):
    slices = {place: make_slice(n, n) for place, n in zip(PLACES, (5, 0, 11), strict=True)}
    with row_store(tmp_path) as kept:
        for place, rows in slices.items():
            assert kept.get(place, Buffers()) is None
            kept.put(place, rows)
            kept.put(place, make_slice(3))  # has been there: nothing changes
        for place, rows in slices.items():
            for _ in range(2):
                assert_same(kept.get(place, Buffers()), rows)


def test_the_file_has_no_name_and_ends_with_the_store(tmp_path):
    with row_store(tmp_path) as kept:
        kept.put(PLACES[0], make_slice(9))
        assert not list(tmp_path.iterdir())
    assert kept.get(PLACES[0], Buffers()) is None
    kept.put(PLACES[0], make_slice(9))  # as a reader that has not ended yet
    kept.put(PLACES[1], make_slice(0))
    assert kept.get(PLACES[0], Buffers()) is None


@pytest.fixture
def free(monkeypatch):
    """Free bytes of memory and disk, which the test sets."""
    free = {"memory": 10**9, "disk": 10**9}
    monkeypatch.setattr(store, "available_memory", lambda: free["memory"])
    usage = type("Usage", (), {"free": property(lambda _: free["disk"])})
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage())
    return free


@pytest.mark.parametrize("scarce", ["memory", "disk"])
def test_half_of_what_is_free_is_used(tmp_path, free, scarce):
    """Rows of three numbers and a label take 16 bytes."""
    free[scarce] = 2 * 16 * 25
    with row_store(tmp_path) as kept:
        for place, n in zip(PLACES, (20, 6, 5), strict=True):
            kept.put(place, make_slice(n, n))
            if kept.get(place, Buffers()) is not None:
                free["disk"] -= 16 * n
        assert_same(kept.get(PLACES[0], Buffers()), make_slice(20, 20))
        assert kept.get(PLACES[1], Buffers()) is None  # would be 26 rows
        assert_same(kept.get(PLACES[2], Buffers()), make_slice(5, 5))


def test_what_others_take_of_the_disk_is_left_to_them(tmp_path, free):
    with row_store(tmp_path) as kept:
        kept.put(PLACES[0], make_slice(5))
        free["disk"] //= 2
        kept.put(PLACES[1], make_slice(5))
        assert kept.get(PLACES[1], Buffers()) is None
        assert_same(kept.get(PLACES[0], Buffers()), make_slice(5))


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("room", [16 * 20 + 3, 16 * 20 + 12 * 6 + 3])
def test_a_full_disk_ends_the_keeping_and_gets_its_room_back(tmp_path, room, tells):
    disk = Disk(tmp_path / "file", room, tells=tells)
    kept = RowStore(disk, tmp_path, 10**9)
    kept.put(PLACES[0], make_slice(20))
    assert_same(kept.get(PLACES[0], Buffers()), make_slice(20))
    kept.put(PLACES[1], make_slice(6))
    assert disk.closed
    kept.put(PLACES[2], make_slice(1))
    assert not any(kept.get(place, Buffers()) for place in PLACES)


def test_where_no_file_can_be_made_there_is_no_store(tmp_path):
    with row_store(tmp_path / "absent") as kept:
        assert kept is None


@pytest.mark.parametrize("damage", ["cut", "zeros", "a bit"])
def test_rows_that_have_changed_are_not_given_out(tmp_path, damage):
    with tempfile.TemporaryFile(dir=tmp_path, buffering=0) as file:
        kept = RowStore(file, tmp_path, 10**9)
        for place in PLACES:
            kept.put(place, make_slice(20))
        content = np.frombuffer(os.pread(file.fileno(), 10**6, 0), np.uint8).copy()
        content[80:160] = 0 if damage == "zeros" else content[80:160]
        content[80] ^= damage == "a bit"
        os.pwrite(file.fileno(), content.data, 0)
        if damage == "cut":
            file.truncate(100)
        assert kept.get(PLACES[0], Buffers()) is None
        assert file.closed  # nor what else it has kept
        assert kept.get(PLACES[1], Buffers()) is None


def test_the_system_may_take_a_part_at_a_time(tmp_path):
    class Slow(io.FileIO):
        def write(self, data):
            return super().write(memoryview(data)[:7])

        def readinto(self, data):
            return super().readinto(memoryview(data)[:11])

    with Slow(tmp_path / "file", "w+b") as file:
        kept = RowStore(file, tmp_path, 10**9)
        kept.put(PLACES[0], make_slice(9))
        assert_same(kept.get(PLACES[0], Buffers()), make_slice(9))


def test_threads_get_their_own_rows(tmp_path):
    """Each of many slices is put and got by threads at once."""
    slices = {(0, i): make_slice(5000 + i % 7, i) for i in range(100)}
    wrong = []

    def work(kept, places):
        for place in places:
            kept.put(place, slices[place])
            found = kept.get(place, Buffers())
            if list(map(bytes, found or ())) != list(map(bytes, slices[place])):
                wrong.append(place)

    with row_store(tmp_path) as kept:
        threads = [
            threading.Thread(target=work, args=(kept, list(slices)[i::4] + list(slices)))
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
