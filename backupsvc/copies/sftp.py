"""A folder that SSH gives by SFTP as a target: an SFTP server's, or the dump folder of a PVE
node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from stat import S_ISREG
from typing import BinaryIO, Protocol, TypeVar, cast

import paramiko

from backupsvc.copies.target import CHUNK, MODE, Came, Digest, Space, Writing, no_room, trouble
from backupsvc.errors import CopyError, RemoteUnreachable
from backupsvc.remote.ahead import Ahead
from backupsvc.remote.behind import Behind, SftpFault, create, extended
from backupsvc.remote.connections import LINE_BROKE
from backupsvc.remote.ssh import Peer
from backupsvc.remote.summing import SILENT, summed_there

T = TypeVar("T")

# bytes of room, under which a write that failed without a reason failed for want of it
FULL = 1 << 20


class Line(Protocol):
    """An SSH connection, made when it is first needed."""

    peer: Peer

    def begin(self, use: Callable[[paramiko.SSHClient], T]) -> T:
        """Given what to begin on the connection (open a channel), do so and return the result."""
        ...

    def drop(self) -> None:
        """End the connection: the next use makes a new one."""
        ...


class SftpTarget:
    """A folder behind SSH. Close it."""

    def __init__(self, name: str, path: str, line: Line) -> None:
        self.what = (
            f"copy target {name} ({line.peer.user}@{line.peer.host}:{line.peer.port}, {path})"
        )
        self._path, self._line = path, line
        self._opened: paramiko.SFTPClient | None = None

    def close(self) -> None:
        """End the SFTP session; the connection is its owner's."""
        opened, self._opened = self._opened, None
        if opened:
            with suppress(*LINE_BROKE):  # of a line that broke there is nothing left to end
                opened.close()

    def space(self) -> Space | None:
        """Return what the file system has, None if the server does not tell
        (statvfs@openssh.com).
        """
        with self._told("tell its free space") as sftp:
            found = extended(sftp, "statvfs@openssh.com", self._path)
        if found is None:
            return None
        _, unit, blocks, _, free = (found.get_int64() for _ in range(5))
        return Space(free * unit, blocks * unit)

    def files(self) -> dict[str, int]:
        """Return the files in the folder with their sizes."""
        with self._told("list its files") as sftp:
            found = sftp.listdir_attr(self._path)
        return {one.filename: one.st_size or 0 for one in found if S_ISREG(one.st_mode or 0)}

    @contextmanager
    def read(self, name: str, offset: int = 0) -> Iterator[BinaryIO]:
        """Open a file, to be read from an offset to its end."""
        with self._told(f"read {name}") as sftp, sftp.open(self._at(name), "rb") as remote:
            yield cast(BinaryIO, Ahead(sftp, remote, remote.stat().st_size or 0, offset))

    @contextmanager
    def write(self, name: str, offset: int = 0) -> Iterator[Writing]:
        """Open a file to be written from an offset on, a new one at 0."""
        with self._told(f"write {name}") as sftp:
            path = self._at(name)
            with sftp.open(path, "r+b") if offset else create(sftp, path, MODE) as remote:
                yield Behind(sftp, remote, offset)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, never one that is taken: SFTP's own rename does not
        overwrite.
        """
        if new in self.files():
            raise CopyError(
                f"{self.what} has a file {new} already", "look what it is; nothing was overwritten"
            )
        with self._told(f"rename {old}") as sftp:
            sftp.rename(self._at(old), self._at(new))

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._told(f"remove {name}") as sftp, suppress(FileNotFoundError):
            sftp.remove(self._at(name))

    def digest(self, name: str, came: Came) -> Digest:
        """Read a file where it lies: by sha256sum there if the login is a shell, else all of it
        comes back by SFTP.
        """
        path, wanted = self._at(name), self.files().get(name, 0)
        if found := summed_there(self._line.begin, path, wanted, lambda: came(0)):
            return Digest(found.size, found.sha256, "sha256sum there")
        hashed, size = hashlib.sha256(), 0
        with self.read(name) as file:
            while data := file.read(CHUNK):
                hashed.update(data)
                size += len(data)
                came(len(data))
        return Digest(size, hashed.hexdigest(), "read back by SFTP")

    @contextmanager
    def _told(self, doing: str) -> Iterator[paramiko.SFTPClient]:
        """Yield the SFTP session; raise what goes wrong within as an error of the tree."""
        if self._opened is None:
            try:
                self._opened = self._line.begin(paramiko.SSHClient.open_sftp)
            except LINE_BROKE as error:
                said = str(error) or type(error).__name__
                raise RemoteUnreachable(
                    f"{self.what} offers no SFTP: {said}", "enable the sftp subsystem there"
                ) from None
            if channel := self._opened.get_channel():
                channel.settimeout(SILENT)
        sftp = self._opened
        try:
            yield sftp
        except LINE_BROKE as error:
            channel = sftp.get_channel()
            # a server's refusal comes over a line that lives; anything else ends the session
            alive = (
                channel is not None and not channel.closed and not isinstance(error, TimeoutError)
            )
            if not alive or not isinstance(error, OSError):
                # whoever comes next makes a new connection, and does not fail on the dead one
                self.close()
                self._line.drop()
                said = str(error) or type(error).__name__
                hint = "is that machine up, and the line? Copy again: it goes on where it stopped"
                raise RemoteUnreachable(
                    f"{self.what} broke off while we {doing}: {said}", hint
                ) from None
            if isinstance(error, SftpFault) and error.errno is None:
                # of a full disk a server says no more than `Failure`
                space = self.space()
                if space and space.free < FULL:
                    found = f"{doing}: {error}, and {space.free} bytes are free"
                    raise no_room(self.what, found) from None
            raise trouble(error, self.what, doing) from None

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"
