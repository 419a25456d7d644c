"""From a target of the policy to the folder itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

import paramiko

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.sftp import SftpTarget
from backupsvc.copies.target import Target
from backupsvc.errors import TargetRefused
from backupsvc.remote.connections import NodeConnections
from backupsvc.remote.ssh import DEFAULT_PORT, Peer, open_client
from backupsvc.settings import SshSettings
from policies.model import CopyTarget, Directory, PveStorage

T = TypeVar("T")


@contextmanager
def open_target(target: CopyTarget, nodes: NodeConnections, ssh: SshSettings) -> Iterator[Target]:
    """Given a target of the policy, yield its folder.

    Raise UsageError if no SSH to it is configured, TargetRefused if the login would be root's and
    the policy does not say ``allow-root``, TargetMissing if the folder of this machine is not
    there; an SSH server is reached at the first question.
    """
    place = target.place
    if isinstance(place, Directory):
        with closing(DirectoryTarget(target.name, place)) as folder:
            yield folder
        return
    line: _OfNode | _Own
    if isinstance(place, PveStorage):
        line = _OfNode(nodes, place.node)
    else:
        # in an IPv6 address the last colon would pass for that of the port
        host = f"[{place.host}]" if ":" in place.host else place.host
        line = _Own(
            Peer(
                f"copy target {target.name}",
                host if place.port == DEFAULT_PORT and "[" not in host else f"{host}:{place.port}",
                place.user,
                ssh.target_keys.get(target.name, ssh.key_file),
                "BACKUPSVC_SSH__TARGET_KEYS",
                pinned="\n".join(place.host_keys),
                key_setting=f"copies.{target.name}.host-keys in the policy",
            )
        )
    # before anybody logs in
    peer = line.peer
    if peer.user == "root" and not target.allow_root:
        raise TargetRefused(
            f"copy target {target.name} would be written as root on {peer.host}: whoever has our "
            "key could remove all there",
            "log in there as a user that may write its folder alone (docs/policy.md, copies), or "
            "set `allow-root: true`",
        )
    with closing(SftpTarget(target.name, place.path, line)) as there:
        try:
            yield there
        finally:
            line.close()


class _OfNode:
    """The connection to a node that others use too."""

    def __init__(self, nodes: NodeConnections, node: str) -> None:
        self.peer, self._nodes, self._node = nodes.peer(node), nodes, node

    def begin(self, use: Callable[[paramiko.SSHClient], T]) -> T:
        """Begin something on it."""
        return self._nodes.begin(self._node, use)

    def drop(self) -> None:
        """End it."""
        self._nodes.drop(self._node)

    def close(self) -> None:
        """Leave it to the others."""


class _Own:
    """A connection of its own."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._client: paramiko.SSHClient | None = None

    def begin(self, use: Callable[[paramiko.SSHClient], T]) -> T:
        """Begin something on it."""
        if self._client is None:
            self._client = open_client(self.peer)
        return use(self._client)

    def drop(self) -> None:
        """End it."""
        if self._client is not None:
            self._client.close()
            self._client = None

    close = drop
