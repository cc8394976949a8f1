"""Training on several devices, and in several processes, beside one device without a mesh.

How many devices JAX sees is settled when it starts, so that programs of their own do it.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from jaxmlp import fit, search
from jaxmlp.privacy import dp_fit
from tests.helpers import DEPTHS, make_data, make_params

ROOT = Path(__file__).parents[2]
# Sums of the same float64 numbers in another order; 100 steps carry the rounding on.
TOLERANCE = 1e-12


def start(program, *arguments, n_devices):
    """Starts a program of this folder where JAX sees so many devices."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices}",
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", f"tests.distributed.{program}", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(processes, paths):
    """Waits for programs and reads what they wrote; ends all if one takes too long."""
    try:
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()
    return [json.loads(path.read_text()) for path in paths]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "found.json"
    (found,) = finish([start("one_process", str(path), n_devices=8)], [path])
    return found


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    paths = [folder / f"{i}.json" for i in range(2)]
    address = f"127.0.0.1:{free_port()}"
    processes = [
        start("many_processes", address, "2", str(i), str(path), n_devices=2)
        for i, path in enumerate(paths)
    ]
    return finish(processes, paths)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_devices_agree_with_one(one_process):
    far = {k: error for k, error in one_process["errors"].items() if not error <= TOLERANCE}
    assert not far
    for n_devices in (1, 2, 4, 8):
        for depth in DEPTHS:
            assert f"depth {depth}, {n_devices}" in one_process["errors"]
    # Rounded otherwise somewhere: the devices did share out the work.
    assert one_process["errors"]["depth 1, 8"] > 0


def test_a_step_adds_up_gradients_once_and_sends_nothing_else(one_process):
    # `(p + 1) q` numbers of the first layer and its biases (for the output weights, see
    # `weighted_sum`), the output's bias, the loss; deeper, the layers between.
    expected = {
        "depth 0": ["6,1", ""],
        "depth 1": ["6,7", "", ""],
        "depth 2": ["6,7", "7,4", "4", "", ""],
        "weights": ["6,7", "", ""],
        "dropout": ["6,7", "7,4", "4", "", ""],
        "all rows": ["6,7", "", ""],
    }
    for name, shapes in expected.items():
        (step, *others) = one_process["collectives"][name]
        assert step == ["all-reduce", shapes], name
        # Once an epoch, the logits of the validation part.
        assert others == ([["all-gather", ["40"]]] if name == "weights" else []), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("batch_size", "batch_size must be a multiple of 8, as the 8 devices of the mesh"),
        ("two axes", "mesh must have one axis"),
        ("dp_fit", "mesh must have one axis"),
        ("search", "mesh must have one axis"),
    ],
)
def test_bad_mesh_is_named(one_process, call, message):
    assert message in one_process["messages"][call]


def test_processes_agree_with_one_device(two_processes):
    first, second = two_processes
    assert first["n_devices"] == second["n_devices"] == 4
    assert first["errors"].keys() == second["bits"].keys()
    far = {k: error for k, error in first["errors"].items() if not error <= TOLERANCE}
    assert not far


def test_processes_have_the_same_bits(two_processes):
    first, second = two_processes
    assert first["bits"] == second["bits"]


def test_arguments_that_differ_are_named_in_all_processes(two_processes):
    names = {"fit": "opt_state", "dp_fit": "batch_size", "search": "learning_rates"}
    for found in two_processes:
        for call, name in names.items():
            assert found["messages"][call].startswith(f"{name}: not the same in all 2 proc")
    assert "mesh has no device of process 1, of 2" in two_processes[1]["messages"]["mesh"]


def test_one_process_that_has_enough_stops_all(two_processes):
    for found in two_processes:
        assert found["n_epochs"] == 3
        assert 0 < found["n_networks"] < 18


def test_one_process_may_save_what_all_train(two_processes):
    assert all(found["copies_alone"] for found in two_processes)


def test_a_process_may_train_by_itself(two_processes):
    assert all(found["trains_by_itself"] for found in two_processes)


def fit_calls(**more):
    X, y, _ = make_data(20)
    params, key, sgd = make_params(DEPTHS[1]), jax.random.key(0), optax.sgd(0.1)
    options = {"n_epochs": 2, "batch_size": 4, **more}
    private = {"noise_multiplier": 0.0, "max_grad_norm": 1.0, "delta": 1e-5}
    grid = {"learning_rates": [0.1], "hidden_sizes": [3]}
    return {
        "fit": lambda: fit(key, params, X, y, optimizer=sgd, **options),
        "dp_fit": lambda: dp_fit(key, params, X, y, optimizer=sgd, **private, **options),
        "search": lambda: search(key, X, y, X, y, **grid, **options),
    }


@pytest.mark.parametrize("name", ["fit", "dp_fit", "search"])
def test_device_and_mesh_exclude_each_other(name):
    mesh = Mesh(np.array(jax.devices()[:1]), ("rows",))
    with pytest.raises(ValueError, match="device and mesh are both given"):
        fit_calls(mesh=mesh, device="cpu")[name]()
    with pytest.raises(ValueError, match=r"mesh must be a jax.sharding.Mesh, not 8"):
        fit_calls(mesh=8)[name]()
