"""Devices and processes that train together."""

import os
import sys
from typing import NoReturn

import jax
import numpy as np
import typer
from jax._src.distributed import global_state
from jax.sharding import Mesh

from jaxmlp.data.errors import DataError
from jaxmlp.data.tables import one_line
from jaxmlp.interfaces.commands.peers import say_farewell, watch_peers
from jaxmlp.training.places import gather_bytes

HEARTBEAT = 20
"""Seconds without a sign of life after which a process counts as dead."""


def join_processes(
    is_cluster: bool, coordinator: str | None, n_processes: int | None, index: int | None
) -> bool:
    """Joins the other processes, before JAX starts; says whether there are any to join.

    Args:
      is_cluster: Whether JAX shall find out by itself, as under SLURM or on Cloud TPUs.
      coordinator: `HOST:PORT` of process 0, or None.
      n_processes: Their number, or None.
      index: Number of this one, or None.

    Raises:
      DataError: They cannot be found.
    """
    given = {"--coordinator": coordinator, "--num-processes": n_processes}
    given["--process-id"] = index
    missing = [flag for flag, value in given.items() if value is None]
    if len(missing) == len(given) and not is_cluster:
        return False
    if is_cluster and len(missing) < len(given):
        raise typer.BadParameter(
            "finds the processes by itself; leave out --coordinator, --num-processes and "
            "--process-id",
            param_hint="--distributed",
        )
    if missing and not is_cluster:
        raise typer.BadParameter(
            "--coordinator, --num-processes and --process-id go together",
            param_hint=missing[0],
        )
    if n_processes is not None and index is not None and index >= n_processes:
        raise typer.BadParameter(
            f"{index} is not below --num-processes {n_processes}", param_hint="--process-id"
        )
    _keep_output_clean()
    try:
        jax.distributed.initialize(
            coordinator, n_processes, index, heartbeat_timeout_seconds=HEARTBEAT
        )
    except (RuntimeError, ValueError) as error:
        hint = " (outside a cluster, give --coordinator)" if is_cluster else ""
        raise DataError(
            f"the other processes cannot be joined{hint}: {one_line(error)}"
        ) from error
    if jax.process_count() > 1:
        # Of what a cluster has told JAX, nothing public knows it.
        address = coordinator or str(global_state.coordinator_address)
        host = address.rpartition(":")[0].strip("[]")
        watch_peers(host, jax.process_index(), jax.process_count(), gather_bytes)
    return True


def _keep_output_clean() -> None:
    """Sends what libraries print on standard output, as Gloo does, to standard error."""
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
    os.dup2(2, 1)
    sys.stdout = own


def make_mesh(n_devices: int | None, platform: str | None) -> Mesh | None:
    """The mesh of the devices wanted; None for one device of the only process.

    Args:
      n_devices: How many, 0 for all, None for one, or all where there are processes.
      platform: `"cpu"`, `"gpu"` or `"tpu"`, or None for JAX's default.
    """
    devices = jax.devices(platform)
    if jax.process_count() > 1:
        if n_devices:
            raise typer.BadParameter(
                "several processes take all of their devices; leave it out",
                param_hint="--devices",
            )
        return Mesh(np.array(devices), ("rows",))
    if n_devices is None:
        return None
    if n_devices > len(devices):
        raise typer.BadParameter(
            f"JAX sees only {len(devices)} {devices[0].platform} devices",
            param_hint="--devices",
        )
    return Mesh(np.array(devices[: n_devices or None]), ("rows",))


def leave(code: int) -> NoReturn:
    """Ends the command; after an error, without waiting for other processes.

    They would wait for this one for minutes, and then be ended in the middle; that it is
    gone they see at once.
    """
    if code and jax.distributed.is_initialized() and jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    say_farewell()
    sys.exit(code)
