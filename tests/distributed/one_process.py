"""Trains on devices of one process, and writes how far that is from one without a mesh.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 JAX_ENABLE_X64=1 \
      python -m tests.distributed.one_process OUT.json
"""

import json
import re
import sys
import tempfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jaxmlp.training import Checkpoints, Stopped, pool
from jaxmlp.training.arrays import check_data
from jaxmlp.training.grid import Choice, draw_starts, footprint, run_chunk
from jaxmlp.training.orders import make_orders
from jaxmlp.training.places import whole
from jaxmlp.training.validate import make_settings
from tests.distributed import cases
from tests.helpers import make_data

ON_FEWER = ("depth 0", "depth 1", "depth 2", "stream, depth 1")


def main(path):
    meshes = {n: Mesh(np.array(jax.devices()[:n]), ("rows",)) for n in (1, 2, 4, 8)}
    errors = {}
    for name in (*cases.FITS, *cases.DP_FITS, *cases.SEARCHES, *cases.STREAMS):
        alone = cases.run(name)
        for n, mesh in meshes.items():
            if n == 8 or name in ON_FEWER:
                errors[f"{name}, {n}"] = cases.error_of(cases.run(name, mesh), alone)
    # jax.make_mesh makes axes of another type.
    made = cases.run("depth 1", jax.make_mesh((8,), ("any name",)))
    errors["depth 1, jax.make_mesh"] = cases.error_of(made, cases.run("depth 1"))
    for n in (2, 8):
        found = cases.gradient_errors(meshes[n], 1_000)
        errors |= {f"{name}, {n}": error for name, error in found.items()}
    errors |= restored_errors({None: None, **meshes})
    found = {
        "errors": errors,
        "collectives": {
            name: collectives(name, meshes[8])
            for name in ("depth 0", "depth 1", "depth 2", "weights", "dropout", "all rows")
        },
        "messages": messages(meshes[8]),
        "memory": memory(meshes[8]),
    }
    Path(path).write_text(json.dumps(found))


def restored_errors(meshes):
    """Differences of runs that begin on some devices and go on on others."""
    name, errors = "stream, depth 1", {}
    expected = cases.run(name)
    for before, after in ((2, 8), (8, None), (None, 4)):
        with tempfile.TemporaryDirectory() as folder:
            kept = {"checkpoints": Checkpoints(folder, every=0, tell=str)}
            stop = partial(next, iter([False] * 6), True)
            try:
                cases.run(name, meshes[before], stop=stop, **kept)
                raise AssertionError("the run was not stopped")
            except Stopped:
                pass
            found = cases.run(name, meshes[after], **kept)
        errors[f"restored, {before} to {after}"] = cases.error_of(found, expected)
    return errors


def collectives(name, mesh):
    """What devices say to each other in the compiled program: kinds, and shapes sent."""
    module, found = sys.modules["jaxmlp.training.fit"], []
    run_alone = module.run_alone

    def spy(*arguments):
        found.append(run_alone.lower(*arguments).compile().as_text())
        return run_alone(*arguments)

    module.run_alone = spy
    try:
        cases.run(name, mesh)
    finally:
        module.run_alone = run_alone
    kinds = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    return [
        (kind, re.findall(r"[a-z]+[0-9]*\[([0-9,]*)\]", shapes))
        for shapes, kind in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", found[0])
    ]


def memory(mesh):
    """Bytes that a device holds beside the data for a network of its own, and the limit."""
    X, y, _ = make_data(2_000, p=300)
    place = whole(mesh)
    val = {"X_val": X[:100], "y_val": y[:100]}
    data = check_data(X, y, dtype=X.dtype, **val, augmented=True, device=place)
    settings = make_settings(
        data.X.shape[0],
        has_validation=True,
        optimizer=optax.sgd,
        gradient_fn=None,
        n_epochs=3,
        batch_size=64,
        drop_last=False,
        patience=None,
        metrics=None,
        penalize_bias=False,
    )
    choices = [Choice((), 0.1, 0.0, 0)] * 8
    draws, seed = draw_starts(jax.random.key(0), choices, 300, "he", "float32")
    orders = make_orders(seed, settings.plan, place)
    work = pool.Work(data, settings, draws, orders, place, False, None)
    params, hyper = pool._starts(work, choices, pool.Group((), []), list(range(8)))
    state = pool._on_mesh(work).start(params, hyper)
    bounds = (np.int32(0), np.int32(3))
    program = run_chunk.lower(state, hyper, orders(0), data, bounds, settings).compile()
    used = program.memory_analysis()
    held = used.argument_size_in_bytes + used.temp_size_in_bytes
    held += used.output_size_in_bytes - used.alias_size_in_bytes
    held -= sum(leaf.nbytes for leaf in jax.tree.leaves((data, orders(0))))
    limit = footprint((300, 1), data, settings).of_chunk(1, on_mesh=True)
    return held, limit


def messages(mesh):
    """What is said of bad usage."""
    two_axes = Mesh(np.array(jax.devices()).reshape(4, 2), ("rows", "columns"))
    calls = {
        "batch_size": lambda: cases.run_fit("depth 1", mesh, batch_size=36),
        "two axes": lambda: cases.run_fit("depth 1", two_axes),
        "dp_fit": lambda: cases.run_dp_fit("private", two_axes),
        "search": lambda: cases.run_search("search", two_axes),
    }
    return {name: cases.message_of(call) for name, call in calls.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
