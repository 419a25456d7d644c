"""Where a copy comes from: an archive on a node, read over SSH, or a file of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import paramiko

from backupsvc.errors import ArchiveError, RemoteUnreachable
from backupsvc.remote.connections import LINE_BROKE, NodeConnections
from backupsvc.remote.nodes import open_archive

LONGEST_SIDECAR = 16 << 20  # bytes; of a log that is longer, the rest is left out


@dataclass(frozen=True, slots=True)
class Stat:
    """An archive's file: bytes, and when it was last written in epoch seconds."""

    size: int
    modified: int


class Source(Protocol):
    """An archive that is to be copied. Each call raises ArchiveError if it is not there, and what
    the way to it raises.
    """

    @property
    def what(self) -> str:
        """Its name for messages."""
        ...

    @property
    def name(self) -> str:
        """Its file's name."""
        ...

    def stat(self) -> Stat:
        """Return its size and time as they are now."""
        ...

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Open it, to be read from start to end."""
        ...

    def sidecar(self, name: str) -> bytes | None:
        """Return what a file beside it holds, None if there is none of that name."""
        ...


class LocalSource:
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        self.path, self.what = path, str(path)

    @property
    def name(self) -> str:
        """Its file's name."""
        return self.path.name

    def stat(self) -> Stat:
        """Return its size and time."""
        with _read(self.what):
            found = self.path.stat()
        return Stat(found.st_size, int(found.st_mtime))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it; what goes wrong with reading is told here, and not taken for a fault of the
        target.
        """
        with _read(self.what):
            # whoever copies reads whole chunks: a buffer would only copy them once more
            file = self.path.open("rb", buffering=0)
        with file:
            yield _Told(file, self.what)  # type: ignore[misc]

    def sidecar(self, name: str) -> bytes | None:
        """Return what a file beside it holds, None if there is none."""
        try:
            with (self.path.parent / name).open("rb") as file:
                return file.read(LONGEST_SIDECAR)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ArchiveError(
                f"{name} beside {self.what} cannot be read: {error.strerror}", "look at that disk"
            ) from None


class NodeSource:
    """An archive on a node, by its path there."""

    def __init__(self, nodes: NodeConnections, node: str, path: str) -> None:
        self._nodes, self._node, self._path = nodes, node, PurePosixPath(path)
        self.what = f"{path} on node {node}"

    @property
    def name(self) -> str:
        """Its file's name."""
        return self._path.name

    def stat(self) -> Stat:
        """Return its size and time."""
        with self._sftp() as sftp:
            found = sftp.stat(str(self._path))
        return Stat(found.st_size or 0, found.st_mtime or 0)

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Open it."""
        return open_archive(self._nodes, self._node, str(self._path))

    def sidecar(self, name: str) -> bytes | None:
        """Return what a file beside it holds, None if there is none."""
        with self._sftp() as sftp:
            try:
                with sftp.open(str(self._path.with_name(name)), "rb") as file:
                    return file.read(LONGEST_SIDECAR)
            except FileNotFoundError:
                return None

    @contextmanager
    def _sftp(self) -> Iterator[paramiko.SFTPClient]:
        peer = self._nodes.peer(self._node)
        try:
            with self._nodes.begin(self._node, paramiko.SSHClient.open_sftp) as sftp:
                yield sftp
        except FileNotFoundError:
            raise ArchiveError(
                f"{self.what} is not there", "list the archives anew: it may have been pruned"
            ) from None
        except PermissionError:
            raise ArchiveError(
                f"{peer.user} may not read {self.what}", "give that user read access"
            ) from None
        # last: the two above are kinds of OSError as well, and no broken lines
        except LINE_BROKE as error:
            said = str(error) or type(error).__name__
            raise RemoteUnreachable(
                f"{peer} broke off while {self.what} was looked at: {said}", "copy again"
            ) from None


class _Told:
    """A local file whose faults are told as those of the archive."""

    def __init__(self, file: BinaryIO, what: str) -> None:
        self._file, self._what = file, what

    def read(self, size: int = -1) -> bytes:
        """Read up to so many bytes."""
        with _read(self._what):
            return self._file.read(size)


@contextmanager
def _read(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArchiveError(
            f"{what} is not there", "list the archives anew: it may have been pruned"
        ) from None
    except OSError as error:
        raise ArchiveError(
            f"{what} cannot be read: {error.strerror}", "look at that disk, and at the rights"
        ) from None
