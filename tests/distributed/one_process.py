"""Trains on devices of one process, and writes how far that is from one without a mesh.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 JAX_ENABLE_X64=1 \
      python -m tests.distributed.one_process OUT.json
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from tests.distributed import cases
from tests.helpers import relative_error

ON_FEWER = ("depth 0", "depth 1", "depth 2", "private", "search")


def main(path):
    meshes = {n: Mesh(np.array(jax.devices()[:n]), ("rows",)) for n in (1, 2, 4, 8)}
    errors = {}
    for name in (*cases.FITS, *cases.DP_FITS, *cases.SEARCHES):
        alone = cases.run(name)
        for n, mesh in meshes.items():
            if n == 8 or name in ON_FEWER:
                errors[f"{name}, {n}"] = relative_error(cases.run(name, mesh), alone)
    # jax.make_mesh makes axes of another type.
    made = cases.run("depth 1", jax.make_mesh((8,), ("any name",)))
    errors["depth 1, jax.make_mesh"] = relative_error(made, cases.run("depth 1"))
    for n in (2, 8):
        found = cases.gradient_errors(meshes[n], 1_000)
        errors |= {f"{name}, {n}": error for name, error in found.items()}
    Path(path).write_text(json.dumps(errors))


if __name__ == "__main__":
    main(*sys.argv[1:])
