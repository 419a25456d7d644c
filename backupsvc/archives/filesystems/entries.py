"""What the two readers of file systems have in common."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

from backupsvc.archives.filesystems.wire import PIECE

FILE, FOLDER, SYMLINK, OTHER = "file", "folder", "symlink", "other"
MAX_TARGET = 4096


@dataclass(slots=True)
class Found:
    """A name in a folder. ``lack`` is a word that says why its content cannot be had, "" if it
    can; ``mtime`` in epoch seconds.
    """

    name: bytes
    kind: str
    id: int
    size: int = 0
    mtime: int | None = None
    mode: int = 0
    target: bytes | None = None
    lack: str = ""

    def as_json(self) -> list[Any]:
        """Return it as it goes over the pipe."""
        target = None if self.target is None else _text(self.target)
        return [
            _text(self.name), self.kind, self.id, self.size, self.mtime, self.mode, target, self.lack,
        ]  # fmt: skip


@dataclass(slots=True)
class Content:
    """A file's bytes: ``size`` of all, and ``pieces`` in order, a number for so many zeros."""

    size: int
    pieces: Iterator[bytes | int] = field(repr=False)


class FileSystem(Protocol):
    """A file system that was opened. ``root`` is its root folder's id."""

    root: int

    def entries(self, folder: int) -> Iterator[Found]:
        """Yield what is in a folder."""
        ...

    def content(self, file: int) -> Content:
        """Return what is in a file. Raise OSError if it is none that can be read."""
        ...

    def replay(self) -> bool | None:
        """Whether its journal holds changes that are not at their place yet; None if that cannot be
        told.
        """
        ...


def kind_of(mode: int) -> str:
    """Given a mode, return the kind of what bears it."""
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return FOLDER
    return SYMLINK if stat.S_ISLNK(mode) else OTHER


def pieces_of(
    read: Callable[[int, int], bytes], size: int, holes: Iterable[tuple[int, int]]
) -> Iterator[bytes | int]:
    """Given what reads so many bytes from an offset of a file, its size and its holes as (start,
    end) in order, yield its pieces. Raise OSError where fewer can be read.
    """
    at = 0
    for start, end in chain(holes, [(size, size)]):
        while at < start:
            wanted = min(PIECE, start - at)
            data = read(at, wanted)
            # a file that comes out shorter than it is would pass for whole
            if len(data) != wanted:
                raise OSError(f"only {at + len(data)} of {size} bytes can be read")
            yield data
            at += wanted
        if end > at:
            yield end - at
            at = end


def _text(name: bytes) -> str:
    """A name as text; what is no UTF-8 becomes half surrogate pairs, from which it comes back."""
    return name.decode("utf-8", "surrogateescape")
