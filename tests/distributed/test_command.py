"""`jaxmlp train --stream` in several processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.distributed.test_distributed import ROOT


@pytest.fixture
def data(tmp_path):
    """Files of several row groups, so that each process has some."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(2):
        X = rng.normal(size=(2000, 3))
        table = {f"x{j}": X[:, j] for j in range(3)} | {
            "job": rng.choice(["clerk", "cook"], 2000),
            "y": np.where(X[:, 0] * X[:, 1] > 0, "yes", "no"),
        }
        pq.write_table(pa.table(table), folder / f"{i}.parquet", row_group_size=300)
    return folder


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


MODULE = ("-m", "jaxmlp")
# The command with several windows an epoch, on a disk that takes its time.
SLOW = """
import time
import jaxmlp.training.checkpoints as module
from jaxmlp.__main__ import main
from jaxmlp.training import search_stream
search_stream.__kwdefaults__["window_size"] = 512
write = module._write_through
module._write_through = lambda *content: (time.sleep(2), write(*content))
main()
"""


def train(data, out, *flags, n_processes=1, n_epochs=4, program=MODULE):
    """Starts the command in so many processes of two devices."""
    address = f"127.0.0.1:{free_port()}"
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "TMPDIR": str(data.parent),
    }
    command = [sys.executable, *program, "train", data, "--target", "y", "--stream"]
    command += ["--out", out, "--epochs", n_epochs, "--dtype", "float64", "--json", *flags]
    shared = ["--coordinator", address, "--num-processes", n_processes, "--process-id"]
    return [
        subprocess.Popen(
            [*map(str, command), *(map(str, [*shared, i]) if n_processes > 1 else ())],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(n_processes)
    ]


def finish(processes):
    try:
        outputs = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


def numbers_of(report):
    return [report[part][name] for part in ("validation", "test") for name in report[part]]


def test_processes_train_together_and_go_on_after_one_has_died(data, tmp_path):
    ((code, out, err),) = finish(train(data, tmp_path / "one"))
    assert code == 0, err
    alone = json.loads(out)
    first, second = finish(train(data, tmp_path / "two", n_processes=2))
    assert (first[0], second[0], second[1]) == (0, 0, ""), first[2] + second[2]
    together = json.loads(first[1])  # what Gloo prints is not between
    assert together["split"] == alone["split"]
    fingerprints = {r["evaluation"]["fingerprint"] for r in (alone, together)}
    assert len(fingerprints) == 1
    # float64: the same mini-batches, sums in another order.
    np.testing.assert_allclose(numbers_of(together), numbers_of(alone), rtol=1e-6)

    folder = tmp_path / "checkpoints"
    keep = ("--checkpoint", folder, "--checkpoint-every", 0)
    processes = train(data, tmp_path / "hurt", *keep, n_processes=2)
    while len(list(folder.glob("0*"))) < 2:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGKILL)
    (code, _, err), _ = finish(processes)
    assert code == 1
    assert "error: process 1 of 2 is gone" in err.splitlines()[-1]
    assert not (tmp_path / "hurt").exists()

    first, second = finish(train(data, tmp_path / "hurt", *keep, "--resume", n_processes=2))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "going on from" in first[2]
    weights = [
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("two", "hurt")
    ]
    assert weights[0] == weights[1]


def test_an_error_in_one_process_ends_all(data, tmp_path):
    (data / "1.parquet").write_bytes((data / "1.parquet").read_bytes()[:-9])
    found = finish(train(data, tmp_path / "m", n_processes=2))
    for code, _, err in found:
        assert code in (1, 2)  # by its own error, or because the other is gone
        assert "1.parquet: not a readable Parquet file" in err or "is gone" in err
    assert {2} <= {code for code, _, _ in found}


@pytest.mark.parametrize("told", [(0, 1), (1,)])
def test_a_signal_ends_all_when_the_first_has_saved(data, tmp_path, told):
    folder = tmp_path / "checkpoints"
    keep = ("--checkpoint", folder, "--checkpoint-every", 0.5)
    processes = train(
        data, tmp_path / "m", *keep, n_processes=2, n_epochs=10_000, program=("-c", SLOW)
    )
    while not list(folder.glob("0*")):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    before = max(folder.glob("0*"))
    for i in told:
        processes[i].send_signal(signal.SIGTERM)
    for code, _, err in finish(processes):
        assert code == 143, err
        assert "terminated; stopped in epoch" in err.splitlines()[-1]
        assert "is gone" not in err
    assert max(folder.glob("0*")) > before
    assert not list(folder.glob(".*"))


ALONE = """
from jaxmlp.__main__ import main
from jaxmlp.interfaces.commands import processes
processes.JOINING, processes._SILENCE = 2, 1
main()
"""


def test_a_process_that_never_comes_is_waited_for_a_while(data, tmp_path):
    first, other = train(data, tmp_path / "m", n_processes=2, program=("-c", ALONE))
    other.kill()
    (code, out, err), _ = finish([first, other])
    assert (code, out) == (2, "")
    note, *_, error = err.splitlines()
    assert note.startswith("jaxmlp: note: waiting for the other processes (at 127.0.0.1:")
    assert "not all processes were there after 2 s" in error
    assert not (tmp_path / "m").exists()


def test_devices_that_do_not_share_out_a_batch(data, tmp_path):
    ((code, out, err),) = finish(
        train(data, tmp_path / "m", "--devices", 2, "--batch-size", 25)
    )
    assert (code, out) == (2, "")
    assert "--batch-size must be a multiple of 2" in err
    assert len(err.splitlines()) == 1
