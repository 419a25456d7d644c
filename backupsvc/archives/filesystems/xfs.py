"""XFS, by libfsxfs (pyfsxfs)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyfsxfs

from backupsvc.archives.filesystems.blocks import Blocks
from backupsvc.archives.filesystems.entries import (
    FILE,
    MAX_TARGET,
    OTHER,
    SYMLINK,
    Content,
    Found,
    kind_of,
    pieces_of,
)

SPARSE = 1
BILLION = 10**9


class _Stream(io.RawIOBase):
    """A volume as a file that libfsxfs can seek in."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self._blocks, self._at = blocks, 0

    def read(self, size: int = -1) -> bytes:
        data = self._blocks.read(self._at, self._blocks.size if size < 0 else size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._blocks.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def get_size(self) -> int:
        """Return the size in bytes, for libbfio."""
        return self._blocks.size


class XfsFileSystem:
    """An XFS file system."""

    def __init__(self, blocks: Blocks) -> None:
        self._volume = pyfsxfs.volume()
        self._stream = _Stream(blocks)
        self._volume.open_file_object(self._stream)
        self.root = int(self._volume.get_root_directory().inode_number)

    def entries(self, folder: int) -> Iterator[Found]:
        """Yield what is in a folder."""
        opened = self._volume.get_file_entry_by_inode(folder)
        for number in range(opened.number_of_sub_file_entries):
            one = opened.get_sub_file_entry(number)
            try:
                mode, size = one.file_mode, one.size
                found = Found(
                    one.name.encode("utf-8", "surrogateescape"),
                    kind_of(mode),
                    one.inode_number,
                    size,
                    one.get_modification_time_as_integer() // BILLION,
                    mode & 0o7777,
                )
                if found.kind == SYMLINK and size <= MAX_TARGET:
                    target = one.get_symbolic_link_target()
                    if target is not None:
                        found.target = target.encode("utf-8", "surrogateescape")
                yield found
            # one broken inode does not hide what else is in the folder
            except (OSError, ValueError) as error:
                yield Found(f"entry {number}".encode(), OTHER, 0, lack=f"unreadable: {error}"[:200])

    def content(self, file: int) -> Content:
        """Return what is in a file. Raise OSError."""
        opened = self._volume.get_file_entry_by_inode(file)
        # asked by its number, which comes from the image: it may be a folder, or nothing
        if opened is None or kind_of(opened.file_mode) != FILE:
            raise OSError("it is no file")
        size = opened.size
        return Content(
            size,
            pieces_of(
                lambda at, count: opened.read_buffer_at_offset(count, at),
                size,
                _holes(opened, size),
            ),
        )

    def replay(self) -> bool | None:
        """None: libfsxfs does not tell whether the log is clean."""
        return None


def _holes(opened: Any, size: int) -> Iterator[tuple[int, int]]:
    """The extents that hold nothing; of the others the end alone, so that no read leads from one
    into the next. What no extent tells of is read.
    """
    at = 0
    # one by one: a file in pieces has more of them than may be held here
    for number in range(opened.number_of_extents):
        _, length, flags = opened.get_extent(number)
        end = max(at, min(size, at + length))
        yield (at if flags & SPARSE else end), end
        at = end
