"""That a process of several is gone is seen at once, and said in a line.

JAX notices it too, after `HEARTBEAT` seconds or in the next sum over devices, and aborts
with pages of text. Here process 0 has a connection to each other one, which the system
closes with the process.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

_FAREWELL = b"done"
_PATIENCE = 30.0  # seconds for a connection to come about

_open: list[socket.socket] = []
_ending = threading.Lock()


def watch_peers(host: str, me: int, n: int, share: Callable[[bytes], list[bytes]]) -> None:
    """Connects the processes; all call this together.

    Args:
      host: Where process 0 is.
      me: Number of this process.
      n: Number of all.
      share: Gives what each of them gives, in their order.
    """
    try:
        if me == 0:
            _accept(n, share)
        else:
            port = int(share(b"")[0])
            connection = socket.create_connection((host, port), timeout=_PATIENCE)
            connection.sendall(me.to_bytes(4, "big"))
            _watch(connection, 0, n)
    except OSError as error:  # such as a firewall: training does not need it
        print(
            f"jaxmlp: note: processes cannot be watched ({error}): that one is gone shows "
            "only when it gives no sign of life",
            file=sys.stderr,
        )


def _accept(n: int, share: Callable[[bytes], list[bytes]]) -> None:
    is_dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual else socket.AF_INET
    # As many connections wait as there are processes, so that none comes too early.
    with socket.create_server(
        ("", 0), family=family, backlog=n, dualstack_ipv6=is_dual
    ) as server:
        server.settimeout(_PATIENCE)
        share(str(server.getsockname()[1]).encode())
        for _ in range(n - 1):
            connection, _ = server.accept()
            _watch(connection, int.from_bytes(connection.recv(4), "big"), n)


def say_farewell() -> None:
    """Tells the others that this process is done, and not dead."""
    for connection in _open:
        try:
            connection.sendall(_FAREWELL)
        except OSError:  # the other one was done first
            continue


def _watch(connection: socket.socket, peer: int, n: int) -> None:
    connection.settimeout(None)
    _open.append(connection)
    threading.Thread(target=_wait, args=(connection, peer, n), daemon=True).start()


def _wait(connection: socket.socket, peer: int, n: int) -> None:
    try:
        said = connection.recv(len(_FAREWELL))
    except OSError:
        said = b""
    if said != _FAREWELL:
        _end(peer, n)


def _end(peer: int, n: int) -> NoReturn:
    line = (
        f"jaxmlp: error: process {peer} of {n} is gone, and every step needs all; start "
        "all again (with --resume, from the last checkpoint)\n"
    )
    _ending.acquire()  # if several are gone at once, one of them is named
    try:
        # JAX notices too, and writes pages: this line shall be the last.
        own, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.write(own, line.encode())
    finally:
        os._exit(1)
