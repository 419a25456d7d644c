"""An archive's bytes, read whole from the node that has it."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from backupsvc.services import Nodes
from policies.model import Archive, Rung

UNREADABLE = ".lzo"  # no decoder of ours reads it


def readable_from(archive: Archive, nodes: Collection[str]) -> str | None:
    """Given an archive, and the nodes that SSH reaches, return the one to read it from, None if
    there is none.
    """
    if archive.volid.endswith(UNREADABLE):
        return None
    if archive.node in nodes or not archive.shared:
        return archive.node if archive.node in nodes else None
    # a shared one lies before every node: the same one is asked each time
    return min(nodes, default=None)


def verify_on_node(
    service: Nodes, node: str, volid: str, heartbeat: Callable[[], None]
) -> dict[str, Any]:
    """Given an archive on a node that SSH reaches, read it once and return the verification as a
    dict, and under ``signs`` what some places of its disks look like.

    ``heartbeat`` is called again and again meanwhile; what it raises ends the reading.
    """
    from backupsvc.archives.verify import verify as verify_stream
    from backupsvc.remote.nodes import open_archive

    path = service.pve.storage.volume_path(node, volid)
    # a large one takes hours, in which the lease must be renewed
    with open_archive(service.nodes, node, path) as stream:
        found = verify_stream(
            cast(BinaryIO, _ShowingLife(stream, heartbeat)), PurePosixPath(path).name, sampled=True
        )
    return found.as_dict() | {"signs": found.signs}


def unchanged_on_node(
    service: Nodes, node: str, archive: Archive, heartbeat: Callable[[], None]
) -> bool:
    """Given an archive, and a node that SSH reaches, return whether its bytes are still those that
    were found good when they were last read whole: the node sums them itself, and nothing travels.

    False if they are others, or were never read, or the node lets nobody run ``sha256sum``: then
    reading them tells. ``heartbeat`` as in ``verify_on_node``.
    """
    from backupsvc.remote.summing import Summed, summed_there

    read_before = archive.checked_at is not None and archive.rung.height >= Rung.INTACT.height
    if archive.sha256 is None or archive.unfit or not read_before:
        return False
    path = service.pve.storage.volume_path(node, archive.volid)
    found = summed_there(partial(service.nodes.begin, node), path, archive.size, heartbeat)
    return found == Summed(archive.size, archive.sha256)


class _ShowingLife(io.RawIOBase):
    """A stream whose reader shows that it is alive."""

    def __init__(self, stream: BinaryIO, heartbeat: Callable[[], None]) -> None:
        self._stream, self._heartbeat = stream, heartbeat

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Given a number of bytes, return up to that many, b"" at the end."""
        self._heartbeat()
        return self._stream.read(size)

    def readinto(self, buffer: Any) -> int:
        """Given a buffer, fill it as far as one read goes; return the number of bytes."""
        self._heartbeat()
        return int(self._stream.readinto(buffer))  # type: ignore[attr-defined]
