"""Devices and processes that train together."""

import os
import sys
import threading
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

JOINING = 300
"""Seconds that processes wait for each other in the beginning."""

_SILENCE = 10  # seconds before it is said that they wait
_JOINING = "jaxmlp-join"


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
    if coordinator is not None and not _is_address(coordinator):
        raise typer.BadParameter(
            f"{coordinator!r} is not HOST:PORT, such as node0:8476",
            param_hint="--coordinator",
        )
    _keep_output_clean()
    _initialize(coordinator, n_processes, index)
    if jax.process_count() > 1:
        # Of what a cluster has told JAX, nothing public knows it.
        address = coordinator or str(global_state.coordinator_address)
        host = address.rpartition(":")[0].strip("[]")
        watch_peers(host, jax.process_index(), jax.process_count(), gather_bytes)
    return True


def _is_address(text: str) -> bool:
    """Whether a text is HOST:PORT."""
    host, _, port = text.rpartition(":")
    is_host = bool(host) and (":" not in host or host.startswith("["))
    return is_host and port.isdecimal() and 0 < int(port) < 2**16


def _initialize(
    coordinator: str | None, n_processes: int | None, index: int | None
) -> None:
    """`jax.distributed.initialize`, which no signal reaches and which aborts at last."""
    failures: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(
                coordinator,
                n_processes,
                index,
                initialization_timeout=2 * JOINING,  # it is not to end first
                heartbeat_timeout_seconds=HEARTBEAT,
            )
        except Exception as error:  # raised anew below
            failures.append(error)

    where = "the cluster's" if coordinator is None else f"at {coordinator}, --coordinator"
    joining = threading.Thread(target=initialize, name=_JOINING, daemon=True)
    joining.start()
    joining.join(_SILENCE)
    if joining.is_alive():
        print(
            f"jaxmlp: note: waiting for the other processes ({where}), for "
            f"{JOINING} s at most",
            file=sys.stderr,
        )
        joining.join(JOINING - _SILENCE)
    if joining.is_alive():
        raise DataError(
            f"not all processes were there after {JOINING} s ({where}): each must be "
            "started, with the same --coordinator and --num-processes and a --process-id "
            "of its own, and reach the first"
        )
    for error in failures:
        if not isinstance(error, RuntimeError | ValueError):
            raise error
        hint = " (outside a cluster, give --coordinator)" if coordinator is None else ""
        if index == 0:
            hint = f" (process 0 listens {where}: is the port free, and the host this one?)"
        raise DataError(
            f"the other processes cannot be joined{hint}: {one_line(error)}"
        ) from error


def _keep_output_clean() -> None:
    """Leaves out what libraries print on standard output, as Gloo does."""
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
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
    is_joining = any(thread.name == _JOINING for thread in threading.enumerate())
    is_joined = jax.distributed.is_initialized() and not is_joining
    if code and (is_joining or (is_joined and jax.process_count() > 1)):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    say_farewell()
    sys.exit(code)
