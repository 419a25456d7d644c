"""A connection to the restored copy, for one attempt, with a deadline that even a dripping answer cannot outlive."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from backupsvc.checks.kinds import CannotAsk, Target


@contextlib.contextmanager
def connection(target: Target, port: int, timeout: float) -> Iterator[socket.socket]:
    """Given a target and a port, yield a connected socket which is shut when ``timeout`` seconds have passed.

    Raise CannotAsk if there is no way to the guest's network, OSError if the guest refuses or stays silent.
    """
    if target.connect is None:
        raise CannotAsk(
            "nothing reaches the isolated bridge: configure the node's probe (BACKUPSVC_PROBES__NODE__HOST) and network: isolated"
        )
    if target.address is None:
        raise CannotAsk(f"the policy names no address for guest {target.vmid}: add `address:` to it")
    with target.connect(target.address, port, timeout) as sock:
        late = threading.Event()
        timer = threading.Timer(timeout, _shut, (sock, late))
        timer.daemon = True
        timer.start()
        try:
            yield sock
        finally:
            timer.cancel()
            if late.is_set():  # whatever it looked like from inside: an end of file, half an answer, a reset
                raise TimeoutError


def why(error: OSError, timeout: float) -> str:
    """Given what a connection ended with, return it as a phrase."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return error.strerror or str(error) or type(error).__name__


def printable(data: bytes, limit: int = 120) -> str:
    """Given bytes that a guest sent, return them safe for a terminal and a report, cut at ``limit`` characters."""
    said = "".join(character if character.isprintable() else " " for character in data.decode("utf-8", "replace"))
    said = " ".join(said.split())
    return said if len(said) <= limit else f"{said[: limit - 1]}…"


def _shut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):  # it may have been closed meanwhile
        sock.shutdown(socket.SHUT_RDWR)
