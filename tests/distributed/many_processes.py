"""One of several processes that train together; writes what each found.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 JAX_ENABLE_X64=1 \
      python -m tests.distributed.many_processes ADDRESS N_PROCESSES PROCESS_ID OUT.json
"""

import hashlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from jaxmlp import forward
from tests.distributed import cases

NAMES = (
    "depth 0",
    "depth 1",
    "depth 2",
    "weights",
    "private",
    "search with patience",
    "stream, depth 1",
    "stream, depth 2",
    "stream, all rows",
)


def main(address, n_processes, process_id, path):
    jax.distributed.initialize(address, int(n_processes), int(process_id))
    mesh = Mesh(np.array(jax.devices()), ("rows",))
    found = {"n_devices": mesh.size, "errors": {}, "bits": {}}
    for name in NAMES:
        result = cases.run(name, mesh)
        found["bits"][name] = bits_of(result)
        if jax.process_index() == 0:
            found["errors"][name] = cases.error_of(result, cases.run(name))
    found["messages"] = messages(mesh)
    found["n_epochs"], found["n_networks"] = stop_together(mesh)
    found["copies_alone"] = copies_alone(mesh)
    found["trains_by_itself"] = trains_by_itself()
    Path(path).write_text(json.dumps(found))


def bits_of(result):
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result)]
    return hashlib.sha256(b"".join(leaves)).hexdigest()


def messages(mesh):
    """What is said of arguments that differ between the processes."""
    mine = jax.process_index()
    of_others = [d for d in jax.devices() if d.process_index != 1]
    calls = {
        "fit": lambda: cases.run_fit("depth 1", mesh, opt_state=np.ones(mine)),
        "dp_fit": lambda: cases.run_dp_fit("private", mesh, batch_size=20 + mine),
        "search": lambda: cases.run_search("search", mesh, learning_rates=(0.1 + mine,)),
        "mesh": lambda: mine and cases.run_fit("depth 1", Mesh(of_others, ("rows",))),
    }
    return {name: cases.message_of(call) for name, call in calls.items()}


def stop_together(mesh):
    """Epochs and networks until one process has enough."""
    has_enough = lambda now: jax.process_index() == 1 and now.n_done >= 3
    result = cases.run_fit("depth 1", mesh, callback=has_enough)
    table = cases.run_search("search", mesh, callback=has_enough, callback_every=1).table
    return len(result.history["train_loss"]), len(table)


def copies_alone(mesh):
    """Whether one process may copy a run's state, and read and use what it copied."""
    logits = []

    def look(now):
        if jax.process_index() == 1 and now.n_done == 2:
            params = jax.device_get(now.result().params)
            logits.append(forward(params, np.ones((1, 5))))

    cases.run_fit("depth 1", mesh, callback=look, n_epochs=3)
    cases.run_dp_fit("private", mesh, callback=look, n_epochs=3)
    return bool(np.isfinite(logits).all()) and len(logits) == 2 * jax.process_index()


def trains_by_itself():
    """Whether a process may train on its own devices, with arguments of its own."""
    local = Mesh(np.array(jax.local_devices()), ("rows",))
    n_epochs = 3 + jax.process_index()
    result = cases.run_fit("depth 1", local, n_epochs=n_epochs)
    return len(result.history["train_loss"]) == n_epochs


if __name__ == "__main__":
    main(*sys.argv[1:])
