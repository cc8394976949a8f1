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
# Most of the time goes by in compiling, and what is looked at here is not code for a CPU.
_FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# Sums of the same float64 numbers in another order; 100 steps carry the rounding on.
TOLERANCE = 1e-12


def start(program, *arguments, n_devices):
    """Starts a program of this folder where JAX sees so many devices."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices} {_FAST}",
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


# One test for each program, so that it runs once, however the tests are dealt out.


def test_devices_of_one_process(tmp_path):
    path = tmp_path / "found.json"
    (found,) = finish([start("one_process", str(path), n_devices=8)], [path])
    check_devices_agree_with_one(found["errors"])
    check_a_step_adds_up_gradients_and_sends_nothing_else(found["collectives"])
    check_bad_meshes_are_named(found["messages"])
    held, limit = found["memory"]
    assert held <= limit


def check_devices_agree_with_one(errors):
    assert not {name: error for name, error in errors.items() if not error <= TOLERANCE}
    for n_devices in (1, 2, 4, 8):
        for depth in DEPTHS:
            assert f"depth {depth}, {n_devices}" in errors
    assert sum(name.startswith("restored") for name in errors) == 3
    # Rounded otherwise somewhere: the devices did share out the work.
    assert errors["depth 1, 8"] > 0


def check_a_step_adds_up_gradients_and_sends_nothing_else(collectives):
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
        (step, *others) = collectives[name]
        assert step == ["all-reduce", shapes], name
        # Once an epoch, the logits of the validation part.
        assert others == ([["all-gather", ["40"]]] if name == "weights" else []), name


def check_bad_meshes_are_named(messages):
    assert "batch_size must be a multiple of 8, as the 8 dev" in messages["batch_size"]
    for call in ("two axes", "dp_fit", "search"):
        assert messages[call].startswith("mesh must have one axis")


def test_two_processes(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    paths = [tmp_path / f"{i}.json" for i in range(2)]
    processes = [
        start("many_processes", address, "2", str(i), str(path), n_devices=2)
        for i, path in enumerate(paths)
    ]
    first, second = finish(processes, paths)
    check_processes_agree(first, second)
    check_arguments_that_differ_are_named(first["messages"], second["messages"])
    for found in (first, second):
        # The first process never had enough, the second after 3 epochs.
        assert found["n_epochs"] == 3
        assert 0 < found["n_networks"] < 18
        assert found["copies_alone"]
        assert found["trains_by_itself"]


def check_processes_agree(first, second):
    assert first["n_devices"] == second["n_devices"] == 4
    assert first["errors"].keys() == second["bits"].keys()
    far = {k: error for k, error in first["errors"].items() if not error <= TOLERANCE}
    assert not far
    assert first["bits"] == second["bits"]


def check_arguments_that_differ_are_named(*messages):
    names = {"fit": "opt_state", "dp_fit": "batch_size", "search": "learning_rates"}
    for of_process in messages:
        for call, name in names.items():
            assert of_process[call].startswith(f"{name}: not the same in all 2 processes")
    assert "mesh has no device of process 1, of 2" in messages[1]["mesh"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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
