"""Checkpoints of `fit_stream` and `search_stream`."""

import json
import shutil
import sys

import jax
import numpy as np
import optax
import pytest

from jaxmlp import fit_stream, init_params
from jaxmlp.training import CheckpointError, Checkpoints, Stopped, search_stream
from jaxmlp.training.checkpoints import save_checkpoint
from tests.training.test_stream import X, Y, assert_same, in_blocks, start

ADAM = optax.adam(0.01)


def run(folder=None, n_windows=None, **changes):
    """Trains in windows of 100 rows, ten an epoch; stops after n_windows of them."""
    said, seen = [], []
    options = {"resume": True, "identity": {"data": "X"}, **changes.pop("options", {})}
    checkpoints = folder and Checkpoints(folder, 0, tell=said.append, **options)

    def stop():
        seen.append(1)
        return len(seen) == n_windows

    arguments = {
        "params": start(),
        "stream": in_blocks(X, Y),
        "optimizer": ADAM,
        "n_epochs": 3,
        "batch_size": 20,
        "window_size": 100,
        "X_val": X[:200],
        "y_val": Y[:200],
        "dropout": 0.2,
        "patience": 3,
        **changes,
    }
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam mixes types
        result = fit_stream(
            jax.random.key(4), checkpoints=checkpoints, stop=stop, **arguments
        )
    return result, said


@pytest.mark.parametrize("n_windows", [1, 7, 10, 13, 29])
def test_a_run_that_stopped_ends_with_the_same_bits(tmp_path, n_windows):
    with pytest.raises(Stopped, match=f"a checkpoint is in {tmp_path}"):
        run(tmp_path, n_windows)
    resumed, said = run(tmp_path)
    epoch, window = divmod(n_windows, 10)
    (sentence,) = said
    assert sentence.endswith(f"epoch {epoch + 1}, window {window + 1}")
    assert_same(resumed, run()[0])


def test_checkpoints_change_no_bit_and_two_are_kept(tmp_path):
    kept, said = run(tmp_path / "new" / "folder")
    assert_same(kept, run()[0])
    assert said == []
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == [f"{145:012d}", f"{150:012d}"]


def test_a_run_that_is_over_is_not_trained_again(tmp_path):
    first, _ = run(tmp_path)
    before = sorted(tmp_path.iterdir())
    again, _ = run(tmp_path, stream=lambda epoch: 1 / 0)
    assert_same(first, again)
    assert sorted(tmp_path.iterdir()) == before


def test_stopped_without_checkpoints():
    with pytest.raises(Stopped, match="stopped in epoch 2; nothing is kept"):
        run(None, 12)


def test_other_checkpoints_are_not_written_over(tmp_path):
    run(tmp_path)
    with pytest.raises(CheckpointError, match="holds checkpoints of an earlier run"):
        run(tmp_path, options={"resume": False})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_epochs": 4}, "belongs to another run: its n_epochs is 3, not 4"),
        ({"batch_size": 25}, "its batch_size is 20, not 25"),
        ({"window_size": 200}, "its window_size is 100, not 200"),
        ({"options": {"identity": {"data": "Z"}}}, "its data is 'X', not 'Z'"),
    ],
)
def test_a_foreign_checkpoint_is_refused(tmp_path, changes, message):
    run(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path, **changes)


def test_other_shapes_are_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(CheckpointError, match=r"its arrays are others: .*\[3, 8\]\] where"):
        run(tmp_path, params=start((3, 9, 1)))
    with pytest.raises(CheckpointError, match="its arrays are others"):
        run(tmp_path, optimizer=optax.sgd(0.1))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("damage", [truncate, flip, link, lambda path: path.unlink()])
@pytest.mark.parametrize("place", ["checkpoint.json", "arrays.bin"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage, place):
    with pytest.raises(Stopped):
        run(tmp_path, 13)
    last = tmp_path / f"{65:012d}"
    damage(last / place)
    resumed, said = run(tmp_path)
    assert len(said) == 2
    assert said[0].startswith(f"{last}: cannot be used: ")
    assert "epoch 2, window 3" in said[1]
    assert_same(resumed, run()[0])


def test_where_all_are_damaged_nothing_is_begun(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, 13)
    for each in tmp_path.iterdir():
        truncate(each / "checkpoint.json")
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        run(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "null", '{"format": 2}', "[" * 100_000, '{"format": 1, "files": 3}'],
)
def test_a_manifest_that_is_none(tmp_path, content):
    with pytest.raises(Stopped):
        run(tmp_path, 2)
    for each in tmp_path.iterdir():
        (each / "checkpoint.json").write_text(content)
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("window", -1), ("window", 1.0), ("epoch", 10**6), ("step", 2**31), ("ended", [99])],
)
def test_a_manifest_that_lies_about_positions(tmp_path, name, value):
    with pytest.raises(Stopped):
        run(tmp_path, 2)
    for each in tmp_path.iterdir():
        manifest = json.loads((each / "checkpoint.json").read_text())
        manifest["position"][name] = value
        (each / "checkpoint.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        run(tmp_path)


def test_a_position_behind_the_end_of_the_stream(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, 2)
    for each in tmp_path.iterdir():
        manifest = json.loads((each / "checkpoint.json").read_text())
        manifest["position"]["window"] = 1000
        (each / "checkpoint.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="of epoch 1, which the stream does not have"):
        run(tmp_path)


def test_what_half_written_checkpoints_leave_is_no_checkpoint(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, 13)
    for step in (65, 70):
        source, name = tmp_path / f"{65:012d}", f".{step:012d}.unfinished"
        (tmp_path / name).mkdir()
        shutil.copy(source / "arrays.bin", tmp_path / name)
    resumed, _ = run(tmp_path)
    assert_same(resumed, run()[0])
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be made"):
        run(tmp_path / "file" / "folder")
    with pytest.raises(CheckpointError, match="cannot be made"):
        run(tmp_path / "file")


def test_a_failed_save_is_an_error_and_the_last_one_stays(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    with pytest.raises(Stopped):
        run(tmp_path, 5)
    before = sorted(path.name for path in tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("jaxmlp.training.checkpoints._write_through", full)
        with pytest.raises(CheckpointError, match=r"cannot be written: .*No space left"):
            run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert_same(run(tmp_path)[0], run()[0])


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_disk_that_takes_no_more_is_told_once(tmp_path, capfd):
    """Files may not grow beyond 4 kB: the system's own refusal, in the midst of a save."""
    import resource

    tree = {f"a{i}": np.random.default_rng(i).normal(size=1000) for i in range(20)}
    save_checkpoint(tmp_path, 1, {"a": np.zeros(3)}, {}, {})
    before = sorted(tmp_path.rglob("*"))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(CheckpointError, match=r"2: cannot be written: File too large$"):
            save_checkpoint(tmp_path, 2, tree, {}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert sorted(tmp_path.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


def test_keys_in_the_optimiser_are_kept(tmp_path):
    noisy = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(3)), optax.sgd(0.1))
    with pytest.raises(Stopped):
        run(tmp_path, 13, optimizer=noisy)
    resumed, _ = run(tmp_path, optimizer=noisy)
    whole, _ = run(optimizer=noisy)
    for a, b in zip(
        jax.tree.leaves(resumed.params), jax.tree.leaves(whole.params), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_search_goes_on(tmp_path):
    def search(n_windows=None, folder=tmp_path):
        seen = []

        def stop():
            seen.append(1)
            return len(seen) == n_windows

        return search_stream(
            jax.random.key(0),
            in_blocks(X, Y),
            X[:99],
            Y[:99],
            learning_rates=[1e30, 0.1, 0.3],
            hidden_sizes=[(), 8],
            n_epochs=3,
            batch_size=25,
            window_size=200,
            n_best=2,
            patience=1,
            stop=stop,
            checkpoints=folder and Checkpoints(folder, 0, tell=lambda _: None),
        )

    with pytest.raises(Stopped):
        search(7)
    resumed, whole = search(), search(folder=None)
    assert str(resumed.table) == str(whole.table)
    for a, b in zip(
        jax.tree.leaves(resumed.networks), jax.tree.leaves(whole.networks), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_float64(tmp_path, x64):
    params = init_params(jax.random.key(1), (3, 4, 1), dtype="float64")
    with pytest.raises(Stopped):
        run(tmp_path, 13, params=params)
    assert_same(run(tmp_path, params=params)[0], run(params=params)[0])
