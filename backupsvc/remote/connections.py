"""SSH to the nodes: one connection each, made when it is first needed and kept until it breaks.

A test asks a node's kernel three times and reads an archive there; a login for each would take
longer than the answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import paramiko

from backupsvc.errors import BackupsvcError, UsageError
from backupsvc.remote.ssh import Peer, open_client
from backupsvc.settings import SshSettings

T = TypeVar("T")

# what paramiko raises when a connection does not carry any more
LINE_BROKE = (OSError, EOFError, paramiko.SSHException)


class NodeConnections:
    """The nodes that SSH reaches, for several threads. Close it in the end."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._clients: dict[str, paramiko.SSHClient] = {}
        self._closed = False
        self._locks: dict[str, threading.Lock] = {}

    def reaches(self, node: str) -> bool:
        """Given a node, return whether SSH to it is configured."""
        return node in self._settings.nodes

    def peer(self, node: str) -> Peer:
        """Given a node, return whom to connect to. Raise UsageError if no SSH is configured for
        it.
        """
        return peer_of(self._settings, node)

    def prepare(self, node: str) -> None:
        """Given a node that is needed in a moment, log in meanwhile. What goes wrong is told to
        whoever needs it then.
        """

        def log_in() -> None:
            with suppress(BackupsvcError):
                self.begin(node, lambda client: None)
            # nobody else would end it
            if self._closed:
                self.drop(node)

        if self.reaches(node):
            threading.Thread(target=log_in, name=f"login {node}", daemon=True).start()

    def begin(self, node: str, use: Callable[[paramiko.SSHClient], T]) -> T:
        """Given a node and what to begin on its connection (open a channel), do so and return the
        result.

        A kept connection may be dead without anybody having said so: then ``use`` is called once
        more, on a new one. Raise what ``open_client`` raises, and what ``use`` raises on a new
        connection.
        """
        # one login: who comes meanwhile uses the same connection
        with self._locks.setdefault(node, threading.Lock()):
            kept = self._clients.get(node)
            transport = kept.get_transport() if kept else None
            if kept and transport and transport.is_active():
                with suppress(*LINE_BROKE):
                    return use(kept)
            self.drop(node)
            self._clients[node] = open_client(self.peer(node))
            return use(self._clients[node])

    def drop(self, node: str) -> None:
        """Given a node, end its connection: the next use makes a new one."""
        if client := self._clients.pop(node, None):
            client.close()

    def close(self) -> None:
        """End all connections."""
        self._closed = True
        for node in list(self._clients):
            self.drop(node)


def peer_of(ssh: SshSettings, node: str) -> Peer:
    """Given the settings and a node, return whom to connect to. Raise UsageError if no SSH is
    configured for that node.
    """
    if node not in ssh.nodes:
        raise UsageError(
            f"no SSH is configured for node {node}",
            'add it to BACKUPSVC_SSH__NODES ({"node": "host:port"})',
        )
    setting = "BACKUPSVC_SSH__NODES, __USER, __KEY_FILE, __KNOWN_HOSTS"
    return Peer(
        f"node {node}",
        ssh.nodes[node],
        ssh.user,
        ssh.key_file,
        setting,
        None,
        ssh.known_hosts,
        "BACKUPSVC_SSH__KNOWN_HOSTS",
    )
