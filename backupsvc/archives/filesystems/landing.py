"""The one place that writes what comes out of a guest's disk: below one folder, by descriptors, so
that no name and no link leads out of it; and nothing that is there is overwritten.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from backupsvc.errors import NoRoom

FOLDER, NEW = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, os.O_WRONLY | os.O_CREAT | os.O_EXCL
PRIVATE = 0o700
RESERVE = 256 * 1024 * 1024  # bytes that are left free, or a twentieth of what is smaller
TOO_LARGE = (errno.EFBIG, errno.EINVAL)  # what a file system says of a size that it cannot keep
TAKEN = "that name is there already"


class NotLanded(Exception):
    """One file or folder could not be written here, and its text says why; the rest can."""


class Landing:
    """A folder that takes files, made if it is not there, for use in a ``with`` statement.

    Files and folders are the caller's alone (0600, 0700), whatever they were in the guest, with the
    right to be run kept; so nothing is setuid. ``on_progress`` is told how many bytes came since.
    """

    def __init__(
        self, directory: Path, on_progress: Callable[[int], None] = lambda count: None
    ) -> None:
        self._directory, self._on_progress = directory, on_progress

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Yield the descriptor of the folder. One that was made here and got nothing is removed."""
        made = [one for one in (self._directory, *self._directory.parents) if not one.exists()]
        self._directory.mkdir(PRIVATE, parents=True, exist_ok=True)
        # the folder that a person named may be a link; what lies in it may be none
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
            for one in made:
                remove_if_empty(one)

    @contextmanager
    def folder(self, parent: int, name: str, mtime: int | None) -> Iterator[int]:
        """Given an opened folder and a name, make a folder there and yield its descriptor. Raise
        NotLanded.
        """
        try:
            os.mkdir(name, PRIVATE, dir_fd=parent)
        except FileExistsError:
            raise NotLanded(TAKEN) from None
        descriptor = os.open(name, FOLDER, dir_fd=parent)
        try:
            yield descriptor
            # last: each file that lands in it changes its time
            _date(descriptor, mtime)
        finally:
            os.close(descriptor)

    def file(
        self,
        parent: int,
        name: str,
        size: int,
        pieces: Iterable[bytes | int],
        *,
        runs: bool,
        mtime: int | None,
    ) -> None:
        """Given an opened folder, a name, a size in bytes and the pieces that make it up, write the
        file there. It gets its name when it is whole.

        Raise NotLanded, NoRoom, and what ``pieces`` raise; then nothing of it is left.
        """
        temporary = f".backupsvc-{token_hex(8)}.partial"
        descriptor = os.open(temporary, NEW, 0o700 if runs else 0o600, dir_fd=parent)
        try:
            with os.fdopen(descriptor, "wb", buffering=0):
                try:
                    # what is never written of it is a hole
                    os.ftruncate(descriptor, size)
                except (OSError, OverflowError) as error:
                    if isinstance(error, OSError) and error.errno not in TOO_LARGE:
                        raise
                    raise NotLanded(f"{size} bytes are more than a file can have here") from None
                at = 0
                for piece in pieces:
                    if isinstance(piece, bytes):
                        # at each piece: others write there too
                        need_room(parent, len(piece), "what is to be copied", self)
                        self._on_progress(len(piece))
                        # zeros are left a hole
                        if piece.count(0) < len(piece):
                            write_all(descriptor, at, piece)
                    at += piece if isinstance(piece, int) else len(piece)
                _date(descriptor, mtime)
            _name(parent, temporary, name)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)

    def __str__(self) -> str:
        return str(self._directory)


def need_room(descriptor: int, size: int, what: str, where: object) -> None:
    """Given an opened file or folder, raise NoRoom if its file system has not room for so many
    bytes and a reserve.
    """
    now = os.fstatvfs(descriptor)
    free = now.f_bavail * now.f_frsize
    if size + min(RESERVE, now.f_blocks * now.f_frsize // 20) > free:
        raise NoRoom(
            f"{where} has {free} bytes free, which is not enough for {what}",
            "Name a folder on a larger file system.",
        )


def remove_if_empty(folder: Path) -> None:
    """Remove a folder, if nothing is in it and the system lets us."""
    with suppress(OSError):
        folder.rmdir()


def write_all(descriptor: int, at: int, data: bytes) -> None:
    """Given an opened file and an offset, write all of the bytes there: a file system that is nearly
    full takes a part, and only says so.
    """
    left = memoryview(data)
    while left:
        done = os.pwrite(descriptor, left, at)
        at, left = at + done, left[done:]


def _name(parent: int, temporary: str, name: str) -> None:
    """A rename would overwrite what is there; a link does not."""
    try:
        os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        raise NotLanded(TAKEN) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # a file system without hard links
        with suppress(FileNotFoundError):
            os.lstat(name, dir_fd=parent)
            raise NotLanded(TAKEN) from None
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def _date(descriptor: int, mtime: int | None) -> None:
    if mtime is not None:
        with suppress(OSError, OverflowError):  # a time that this file system cannot keep
            os.utime(descriptor, (mtime, mtime))
