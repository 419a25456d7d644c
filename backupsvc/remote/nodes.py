"""Archives read from a node's disk by SFTP, as fast as the line gives, without copying them
anywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import paramiko

from backupsvc.errors import ArchiveError, RemoteUnreachable
from backupsvc.remote.ahead import Ahead
from backupsvc.remote.connections import LINE_BROKE, NodeConnections
from backupsvc.remote.ssh import Peer

READ_TIMEOUT = 120.0  # seconds without a byte
PIECE = 1024 * 1024  # bytes at a time when everything is asked for at once


@contextmanager
def open_archive(nodes: NodeConnections, node: str, path: str) -> Iterator[BinaryIO]:
    """Given a node and an archive's path there, yield it as a stream to be read from start to end.

    Raise UsageError if no SSH is configured for that node, RemoteUnreachable if the node does not
    answer or breaks off, SshRefused if its host key is not the known one or it does not let us in,
    ArchiveError if the file is not there or may not be read.
    """
    peer = nodes.peer(node)
    try:
        sftp = nodes.begin(node, paramiko.SSHClient.open_sftp)
    except LINE_BROKE as error:
        said = str(error) or type(error).__name__
        raise RemoteUnreachable(
            f"{peer} offers no SFTP: {said}", "enable the sftp subsystem in its sshd_config"
        ) from None
    channel = sftp.get_channel()
    if channel is not None:
        channel.settimeout(READ_TIMEOUT)
    try:
        try:
            remote = sftp.open(path, "rb")
        except FileNotFoundError:
            raise ArchiveError(
                f"{path} is not on {peer.what}", "list the archives anew: it may have been pruned"
            ) from None
        except PermissionError:
            raise ArchiveError(
                f"{peer.user} may not read {path} on {peer.what}",
                "give that user read access, or connect as root",
            ) from None
        except LINE_BROKE as error:
            raise _broken(peer, error) from None
        try:
            size = int(remote.stat().st_size or 0)
        except LINE_BROKE as error:
            raise _broken(peer, error) from None
        yield cast(BinaryIO, _Stream(Ahead(sftp, remote, size), peer))
    except RemoteUnreachable:
        # whoever comes next does not fail on a dead connection
        nodes.drop(node)
        raise
    finally:
        sftp.close()  # closes the channel, and waits for no answer of a peer that may be dead


class _Stream(io.RawIOBase):
    """A remote file, read ahead of its reader. Sequential: it does not seek."""

    def __init__(self, ahead: Ahead, peer: Peer) -> None:
        self._ahead, self._peer = ahead, peer

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Given a number of bytes, return up to that many, b"" at the end. Raise RemoteUnreachable
        if the node breaks off.
        """
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        try:
            return self._ahead.read(size)
        except LINE_BROKE as error:
            raise _broken(self._peer, error) from None

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Given a buffer, fill it as far as one read goes; return the number of bytes, 0 at the
        end.
        """
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _broken(peer: Peer, error: Exception) -> RemoteUnreachable:
    return RemoteUnreachable(
        f"{peer} broke off while a file was read: {str(error) or type(error).__name__}",
        "run the command again",
    )
