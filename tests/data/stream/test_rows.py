import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxmlp.data.columns import decode
from jaxmlp.data.errors import DataError
from jaxmlp.data.stream import rows as stream_rows
from jaxmlp.data.stream import source
from jaxmlp.data.stream.parts import TEST, TRAIN, VALIDATION
from jaxmlp.data.stream.rows import Elsewhere, PartRows
from jaxmlp.data.stream.store import RowStore, row_store
from tests.data.stream.conftest import look, make_rows, write_parts
from tests.data.stream.test_store import Disk
from tests.data.stream.test_survey import parts_of

LAYOUTS = {
    "large groups": ([1000], 1000),
    "tiny groups": ([100, 300], 7),
    "single rows": ([30, 31, 32, 60], 1),
    "many files": ([*range(40, 400, 40), 500], 64),
}


@pytest.fixture(params=LAYOUTS)
def found(request, tmp_path):
    ends, group_rows = LAYOUTS[request.param]
    return look(write_parts(tmp_path, make_rows(ends[-1]), ends, group_rows))


def whole(blocks):
    kept = [(X.copy(), y) for X, y in blocks]  # their memory is used again
    return np.concatenate([X for X, _ in kept]), np.concatenate([y for _, y in kept])


def expected(found, part):
    """Input and labels of the part's rows, in the order of the files."""
    table = make_rows(found.reading.source.n_rows)
    rows = parts_of(found) == part
    X = found.preprocessor.encode(decode(table, found.preprocessor.kinds))
    return X[rows], (np.array(table["y"]) == "yes")[rows].astype(np.float32)


def rows_in(X, y):
    return sorted(map(bytes, np.column_stack([X, y]).astype(np.float32)))


@pytest.mark.parametrize("part", [TRAIN, VALIDATION, TEST])
def test_each_row_of_a_part_comes_once(found, part):
    rows = PartRows(found, found.preprocessor, part)
    X, y = expected(found, part)
    assert rows.n_rows == len(y)
    for blocks in (rows.shuffled((0, 1)), rows.in_order()):
        assert rows_in(*whole(blocks)) == rows_in(X, y)


def test_one_thread_reads_in_the_order_of_the_files(found):
    X, y = whole(PartRows(found, found.preprocessor, TEST, n_threads=1).in_order())
    np.testing.assert_array_equal(X, expected(found, TEST)[0])
    np.testing.assert_array_equal(y, expected(found, TEST)[1])


def test_threads_change_no_bit(found):
    first = whole(PartRows(found, found.preprocessor, n_threads=1).shuffled((3, 0)))
    for n_threads in (2, 5):
        rows = PartRows(found, found.preprocessor, n_threads=n_threads)
        other = whole(rows.shuffled((3, 0)))
        np.testing.assert_array_equal(first[0], other[0])
        np.testing.assert_array_equal(first[1], other[1])


def test_epochs_and_seeds_have_orders_of_their_own(tmp_path):
    found = look(write_parts(tmp_path, make_rows(), [1000], 20))
    rows = PartRows(found, found.preprocessor)
    orders = {bytes(whole(rows.shuffled(seed))[0]) for seed in ((0, 0), (0, 1), (1, 0))}
    assert len(orders) == 3
    assert bytes(whole(rows.shuffled((0, 0)))[0]) in orders


def test_groups_far_apart_come_together(tmp_path):
    """A file sorted by a feature does not teach its values one after the other."""
    table = make_rows(4000).sort_by("a")
    found = look(write_parts(tmp_path, table, [4000], 50))
    rank = [rule.name for rule in found.preprocessor.rules].index("a")
    X, _ = whole(PartRows(found, found.preprocessor).shuffled((0, 0)))
    for window in np.array_split(X[:, rank], 5):
        assert np.std(window) > 0.5 * np.std(X[:, rank])


def test_what_is_skipped_is_the_beginning(found):
    rows = PartRows(found, found.preprocessor, n_threads=3)
    X, y = whole(rows.shuffled((1, 2)))
    bounds = np.cumsum([len(block[1]) for block in rows.shuffled((1, 2))])
    places = {
        0,
        1,
        len(y) // 2,
        *(int(b + d) for b in bounds[:: -(-len(bounds) // 3)] for d in (-1, 0, 1)),
    }
    for skip in sorted(place for place in places if 0 <= place < len(y)):
        X_rest, y_rest = whole(rows.shuffled((1, 2), skip))
        np.testing.assert_array_equal(X_rest, X[skip:])
        np.testing.assert_array_equal(y_rest, y[skip:])
    assert sum(len(block[1]) for block in rows.shuffled((1, 2), len(y))) == 0


def test_what_is_skipped_is_not_read(tmp_path, monkeypatch):
    found = look(write_parts(tmp_path, make_rows(), [1000], 100))
    read, rows = [], PartRows(found, found.preprocessor)
    start = source.check_unchanged
    monkeypatch.setattr(
        source, "check_unchanged", lambda file: read.append(1) or start(file)
    )
    list(rows.shuffled((0, 0), rows.n_rows - 5))
    assert len(read) < 3


@pytest.mark.parametrize("n_threads", [1, 3])
def test_rows_that_are_kept_are_those_of_the_files(found, tmp_path, n_threads):
    rows = PartRows(found, found.preprocessor, n_threads=n_threads)
    with row_store(tmp_path) as store:
        for epoch, skip in enumerate((rows.n_rows // 2, 0, 0, rows.n_rows // 3)):
            X, y = whole(rows.shuffled((1, epoch), skip))
            X_kept, y_kept = whole(rows.shuffled((1, epoch), skip, store))
            np.testing.assert_array_equal(X_kept, X)
            np.testing.assert_array_equal(y_kept, y)


def test_the_disk_may_become_full_in_mid_epoch(found, tmp_path, monkeypatch):
    rows = PartRows(found, found.preprocessor, n_threads=3)
    room = 4 * (found.preprocessor.n_inputs + 1) * rows.n_rows // 2
    with Disk(tmp_path / "file", room, tells=True) as disk:
        store = RowStore(disk, tmp_path, 10**9)
        for epoch in range(3):
            X, y = whole(rows.shuffled((1, epoch)))
            X_kept, y_kept = whole(rows.shuffled((1, epoch), 0, store))
            np.testing.assert_array_equal(X_kept, X)
            np.testing.assert_array_equal(y_kept, y)
        assert disk.closed


def test_rows_that_are_kept_are_not_read_again(found, tmp_path, monkeypatch):
    rows = PartRows(found, found.preprocessor)
    with row_store(tmp_path) as store:
        X, y = whole(rows.shuffled((0, 0), 0, store))
        monkeypatch.delattr(stream_rows, "read_group")
        assert rows_in(*whole(rows.shuffled((0, 1), 0, store))) == rows_in(X, y)


@pytest.mark.parametrize("skip", [0, 333])
def test_processes_share_the_rows(found, skip):
    skip = min(skip, found.sizes[TRAIN] // 2)
    X, y = whole(PartRows(found, found.preprocessor).shuffled((5, 0), skip))
    seen = np.zeros(len(y), int)
    for process in range(3):
        rows, at = PartRows(found, found.preprocessor, process=(process, 3)), 0
        for block in rows.shuffled((5, 0), skip):
            is_elsewhere = isinstance(block, Elsewhere)
            n = block.n_rows if is_elsewhere else len(block[1])
            assert not is_elsewhere or block.process != process
            if not is_elsewhere:
                np.testing.assert_array_equal(block[0], X[at : at + n])
                seen[at : at + n] += 1
            at += n
        assert at == len(y)
    assert (seen == 1).all()
    shares = [PartRows(found, found.preprocessor, TEST, process=(i, 3)) for i in range(3)]
    blocks = [block for share in shares for block in share.in_order()]
    assert rows_in(*whole(blocks)) == rows_in(*expected(found, TEST))


def test_wide_tables_are_read_in_thinner_slices(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_SLICE_VALUES", 2000)
    rng = np.random.default_rng(0)
    table = pa.table({f"x{i}": rng.normal(size=500) for i in range(99)})
    table = table.append_column("y", pa.array(rng.random(500) < 0.5))
    found = look(write_parts(tmp_path, table, [500], 300))
    assert found.reading.source.slice_rows == 20
    blocks = list(PartRows(found, found.preprocessor).shuffled((0, 0)))
    assert max(len(y) for _, y in blocks) <= 20
    assert sum(len(y) for _, y in blocks) == found.sizes[TRAIN]


def test_without_other_parts_all_rows_train(tmp_path):
    found = look(write_parts(tmp_path, make_rows(), [1000]), fractions=(1, 0, 0))
    assert found.sizes == (1000, 0, 0)
    X, y = whole(PartRows(found, found.preprocessor).shuffled((0, 0)))
    assert len(X) == len(y) == 1000
    assert list(PartRows(found, found.preprocessor, TEST).in_order()) != [0]


@pytest.mark.parametrize("change", ["written", "gone"])
def test_a_file_that_changes_is_told_where_its_rows_are_kept(tmp_path, change):
    found = look(write_parts(tmp_path, make_rows(), [500, 1000], 100))
    rows, path = PartRows(found, found.preprocessor), tmp_path / "part-1.parquet"
    with row_store(tmp_path) as store:
        list(rows.shuffled((0, 0), 0, store))
        path.unlink()
        if change == "written":
            pq.write_table(make_rows(500, seed=1), path)
        with pytest.raises(DataError, match=r"part-1\.parquet: "):
            list(rows.shuffled((0, 1), 0, store))


@pytest.mark.parametrize("is_told", [True, False])
def test_a_file_that_changes_between_epochs(tmp_path, monkeypatch, is_told):
    write_parts(tmp_path, make_rows(), [500, 1000], 100)
    found = look(tmp_path)
    rows = PartRows(found, found.preprocessor)
    list(rows.shuffled((0, 0)))
    if not is_told:  # neither its time nor its size: then the rows of its parts tell
        monkeypatch.setattr(source, "check_unchanged", lambda file: None)
    labels = pa.array(np.array(make_rows()["y"])[500:][::-1])
    other = make_rows().slice(500).set_column(6, "y", labels)
    pq.write_table(other, tmp_path / "part-1.parquet", row_group_size=100)
    with pytest.raises(DataError, match=r"part-1\.parquet: the file has changed since the"):
        list(rows.shuffled((0, 1)))
