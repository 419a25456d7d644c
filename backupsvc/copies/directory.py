"""A folder of this machine as a target: an NFS share, a USB disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from backupsvc.copies.target import CHUNK, MODE, Came, Digest, Space, Writing, told
from backupsvc.errors import CopyError, TargetMissing
from policies.model import Directory


class DirectoryTarget:
    """A folder, held open: if its disk is unmounted under us, nothing goes into the empty folder
    beneath it. Close it.
    """

    def __init__(self, name: str, place: Directory) -> None:
        self.what = f"copy target {name} ({place.path})"
        try:
            self._folder = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise TargetMissing(
                f"{self.what} is not there", "mount its disk, or make the folder"
            ) from None
        except OSError as error:
            raise TargetMissing(
                f"{self.what} cannot be opened: {error.strerror}",
                "mount its disk, or correct its rights",
            ) from None
        if place.mounted and not Path(place.path).is_mount():
            self.close()
            hint = (
                f"mount its disk at {place.path}; without a disk of its own there, leave out "
                "`mounted` in the policy"
            )
            raise TargetMissing(
                f"no disk is mounted at {place.path}, so nothing is written to {self.what}", hint
            )

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._folder)

    def space(self) -> Space | None:
        """Return what the file system has."""
        with told(self.what, "tell its free space"):
            found = os.fstatvfs(self._folder)
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    def files(self) -> dict[str, int]:
        """Return the files in the folder with their sizes."""
        found: dict[str, int] = {}
        with told(self.what, "list its files"), os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it went while we looked
                    if entry.is_file(follow_symlinks=False):
                        found[entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    @contextmanager
    def read(self, name: str, offset: int = 0) -> Iterator[BinaryIO]:
        """Open a file, to be read from an offset to its end."""
        with (
            told(self.what, f"read {name}"),
            os.fdopen(self._open(name, os.O_RDONLY), "rb") as file,
        ):
            file.seek(offset)
            yield file

    @contextmanager
    def write(self, name: str, offset: int = 0) -> Iterator[Writing]:
        """Open a file to be written from an offset on, a new one at 0."""
        flags = os.O_WRONLY | (0 if offset else os.O_CREAT | os.O_EXCL)
        with told(self.what, f"write {name}"):
            file = self._open(name, flags)
            try:
                yield _Written(file, offset)
            finally:
                os.close(file)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, never one that is taken."""
        with told(self.what, f"rename {old}"):
            # rename(2) overwrites in silence
            if new in self.files():
                raise CopyError(
                    f"{self.what} has a file {new} already",
                    "look what it is; nothing was overwritten",
                )
            os.rename(old, new, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            # names are on the disk when the folder is
            os.fsync(self._folder)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with told(self.what, f"remove {name}"), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)

    def digest(self, name: str, came: Came) -> Digest:
        """Read a file from its disk: what the page cache still holds of it is dropped first."""
        hashed, size = hashlib.sha256(), 0
        with (
            told(self.what, f"read {name} back"),
            os.fdopen(self._open(name, os.O_RDONLY), "rb", buffering=0) as file,
        ):
            # what is not on the disk yet is not dropped from the cache
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while data := file.read(CHUNK):
                hashed.update(data)
                size += len(data)
                came(len(data))
        return Digest(size, hashed.hexdigest(), "read back after its cache was dropped")

    def _open(self, name: str, flags: int) -> int:
        # a link would lead out of the folder
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, MODE, dir_fd=self._folder)


class _Written:
    """A local file, written at its own offset."""

    def __init__(self, file: int, offset: int) -> None:
        self._file, self._offset = file, offset

    def write(self, data: bytes) -> None:
        """Add bytes. The system may take fewer at once."""
        left = memoryview(data)
        while left:
            written = os.pwrite(self._file, left, self._offset)
            if written == 0:
                raise OSError("it takes no more bytes, and does not say why")
            self._offset += written
            left = left[written:]

    def sync(self) -> None:
        """Return when they are on the disk."""
        os.fsync(self._file)
