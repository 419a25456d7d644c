"""What a node's own kernel says of a bridge, over SSH: the one answer in which no file and no pending change stands between."""

from __future__ import annotations

import json
import shlex
import threading

import paramiko

from backupsvc.errors import BackupsvcError, SshRefused
from backupsvc.remote.nodes import peer_of
from backupsvc.remote.ssh import open_client
from backupsvc.settings import SshSettings
from policies.attached import Kernel

SECONDS = 15.0  # that a node may take to answer
_ABSENT = "does not exist"  # iproute2: Device "vmbr9" does not exist.


class Kernels:
    """The kernels of the nodes that SSH reaches. A connection is kept until it breaks, for every test asks three times."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._clients: dict[str, paramiko.SSHClient] = {}

    def ports(self, node: str, bridge: str) -> Kernel | None:
        """Given a node and a bridge, return its ports there by ``ip -j link show master``; None if no SSH leads to the node.

        A node that cannot be asked, or that does not understand, is no answer: ``ports`` is None then, and ``said`` tells why.
        Raise SshRefused if the node's host key is not the known one, or it does not let us in.
        """
        if node not in self._settings.nodes:
            return None
        try:
            code, out, err = self._ask(node, f"ip -j link show master {shlex.quote(bridge)}")
        except SshRefused:
            self._drop(node)
            raise
        except (BackupsvcError, OSError, EOFError, paramiko.SSHException) as error:
            self._drop(node)
            why = error.message if isinstance(error, BackupsvcError) else str(error) or type(error).__name__
            return Kernel(None, f"the kernel of {node} could not be asked, so PVE's word on bridge {bridge} stands: {why}")
        if code and _ABSENT in err:
            return Kernel((), missing=True)
        return _read(node, bridge, out) if code == 0 else _dumb(node, bridge, err.strip())

    def close(self) -> None:
        """End the connections."""
        for node in list(self._clients):
            self._drop(node)

    def _ask(self, node: str, command: str) -> tuple[int, str, str]:
        with self._lock:
            client = self._clients.get(node)
            transport = client.get_transport() if client else None
            if client is None or transport is None or not transport.is_active():
                client = self._clients[node] = open_client(peer_of(self._settings, node))
            _, out, err = client.exec_command(command, timeout=SECONDS)
            said, wrong = out.read().decode(errors="replace"), err.read().decode(errors="replace")
            return out.channel.recv_exit_status(), said, wrong

    def _drop(self, node: str) -> None:
        if client := self._clients.pop(node, None):
            client.close()


def _read(node: str, bridge: str, out: str) -> Kernel:
    try:
        rows = json.loads(out or "[]")
        return Kernel(tuple(str(row["ifname"]) for row in rows if row))  # iproute2 leaves {} for what a filter took out
    except (ValueError, TypeError, KeyError):
        return _dumb(node, bridge, "its answer is no list of interfaces")


def _dumb(node: str, bridge: str, why: str) -> Kernel:
    return Kernel(
        None, f"the kernel of {node} did not answer, so PVE's word on bridge {bridge} stands: {why or 'it said nothing'}"
    )
