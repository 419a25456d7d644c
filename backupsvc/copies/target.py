"""What a copy asks of the folder that it goes to, and how its faults are told."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from backupsvc.errors import BackupsvcError, CopyError, NoRoom, TargetMissing, TargetRefused
from policies.amounts import size as amount

# of what is written: an archive holds all that its guest does, and is not for everybody to read
MODE = 0o640
CHUNK = 1024 * 1024  # bytes of a copy that are read, hashed and written at a time

Alive = Callable[[], None]  # called again and again while something takes long
Came = Callable[[int], None]  # the same, with how many bytes came back over the line since


@dataclass(frozen=True, slots=True)
class Space:
    """What the file system under a target has, in bytes; ``free`` for our login."""

    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Digest:
    """What was read back: how many bytes, their SHA-256, and how that was done, for a reader."""

    size: int
    sha256: str
    how: str


class Writing(Protocol):
    """A file at a target that is being written, from where it was opened on."""

    def write(self, data: bytes) -> None:
        """Add bytes, all of them. They may be under way when this returns."""
        ...

    def sync(self) -> None:
        """Return when all that was written is at the target, and on its disk if the target can
        tell.
        """
        ...


class Target(Protocol):
    """One folder. Names are those of files in it; none is a path.

    Each call raises RemoteUnreachable if the target is not reached (any more), TargetMissing if the
    folder is not there, TargetRefused if it does not let us, NoRoom if it is full, and CopyError
    for any other fault of its.
    """

    @property
    def what(self) -> str:
        """Its name for messages, such as ``copy target usb (/mnt/usb)``."""
        ...

    def space(self) -> Space | None:
        """Return what the file system has, None if the target does not tell."""
        ...

    def files(self) -> dict[str, int]:
        """Return the files in the folder with their sizes in bytes."""
        ...

    def read(self, name: str, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """Open a file, to be read from an offset to its end."""
        ...

    def write(self, name: str, offset: int = 0) -> AbstractContextManager[Writing]:
        """Open a file to be written: at 0 a new one (never one that is there), else one that is
        there, from an offset on.
        """
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, durably, and never one that is taken."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file. One that is not there any more is removed."""
        ...

    def digest(self, name: str, came: Came) -> Digest:
        """Read a file where it lies, from its disk where the system lets us; never from what was
        sent.
        """
        ...


@contextmanager
def told(what: str, doing: str) -> Iterator[None]:
    """Given a target and what is done there, raise what goes wrong within as an error of the
    tree.
    """
    try:
        yield
    except OSError as error:
        raise trouble(error, what, doing) from None


def trouble(error: OSError, what: str, doing: str) -> BackupsvcError:
    """Given what the system said, return the sentence and the next action."""
    said = error.strerror or str(error) or type(error).__name__
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return no_room(what, f"{doing}: {said}")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            hint = (
                "give that login the right to write in that folder; a read-only file system may "
                "have met an error: see dmesg"
            )
            return TargetRefused(f"{what} does not let us {doing}: {said}", hint)
        case errno.ENOENT | errno.ENOTDIR | errno.ESTALE:
            return TargetMissing(
                f"{what} has gone while we {doing}: {said}",
                "is its disk mounted, and the folder there?",
            )
        case errno.EFBIG:
            hint = (
                "use a file system that takes large files (not FAT32), and look at `ulimit -f` of "
                "the service"
            )
            return CopyError(f"{what} takes no file that large ({doing}): {said}", hint)
        case _:
            return CopyError(
                f"{what} failed to {doing}: {said}",
                "look at the log and the disk of that machine, then copy again",
            )


def no_room(what: str, why: str) -> NoRoom:
    """Given a target and what was found, return the error."""
    return NoRoom(
        f"{what} has no room: {why}",
        "remove copies there by a shorter `keep`, or give it more room, then copy again",
    )


def needs(what: str, needed: int, space: Space | None) -> NoRoom | None:
    """Given how many bytes are to come and what the target has, return the error if they do not
    fit.

    A hundredth of the file system is left free (1 GiB at most): a node whose disk runs full
    falters, and its guests with it.
    """
    if space is None or space.free - min(space.total // 100, 1 << 30) >= needed:
        return None
    return no_room(
        what,
        f"{amount(needed)} are to come, {amount(space.free)} of {amount(space.total)} are free",
    )
