"""This machine, as a place from which guests are asked on the real network: connections of its own,
and what its kernel knows of its neighbours.
"""

from __future__ import annotations

import errno
import select
import shlex
import socket
import subprocess
import time
from collections.abc import Collection
from contextlib import ExitStack

from policies import silence
from policies.silence import Heard, Table

COMMAND_TIMEOUT = 5.0  # seconds


class Here:
    """What this machine can ask of an address. Nothing is said to whoever answers."""

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Given an address, a port and seconds, return a connected socket with that timeout. Raise
        OSError as the kernel does.
        """
        return socket.create_connection((address, port), timeout)

    def knock(self, address: str, ports: Collection[int], seconds: float) -> dict[int, Heard]:
        """Given an address and ports, try to connect to each at once, and return what became of each
        within so many seconds, sooner if all have answered.
        """
        heard = dict.fromkeys(ports, Heard.NOTHING)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        poller, waiting = select.poll(), dict[int, tuple[int, socket.socket]]()
        with ExitStack() as ends:
            for port in heard:
                try:
                    sock = ends.enter_context(socket.socket(family, socket.SOCK_STREAM))
                    sock.setblocking(False)
                    code = sock.connect_ex((address, port))
                except OSError:  # a machine without IPv6 hears nothing there
                    continue
                if code == errno.EINPROGRESS:
                    waiting[sock.fileno()] = port, sock
                    poller.register(sock, select.POLLOUT)
                else:
                    heard[port] = _heard(code)
            until = time.monotonic() + seconds
            while waiting and (left := until - time.monotonic()) > 0:
                for descriptor, _ in poller.poll(left * 1000):
                    port, sock = waiting.pop(descriptor)
                    poller.unregister(descriptor)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    heard[port] = _heard(code)
        return heard

    def neighbour(self, address: str) -> Table | None:
        """Given an address, return what this machine's kernel knows of whoever is there, None if it
        does not tell.
        """
        words = shlex.split(silence.question(address))
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=COMMAND_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return silence.read(done.stdout.decode("utf-8", "replace"), address)


def _heard(code: int) -> Heard:
    return {0: Heard.OPEN, errno.ECONNREFUSED: Heard.REFUSED}.get(code, Heard.NOTHING)
