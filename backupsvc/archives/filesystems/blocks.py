"""Bytes by position: a disk, a part of it, and what is pieced together of parts."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Blocks(Protocol):
    """Something of ``size`` bytes that can be read at any place."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes there, fewer where it ends."""
        ...


@dataclass(frozen=True, slots=True)
class Disk:
    """An opened image of a disk; ``size`` in bytes."""

    name: str
    descriptor: int
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes there, fewer where the disk ends."""
        size = min(size, self.size - offset)
        parts = []
        while size > 0 and offset >= 0:
            # pread may return less than asked for, and moves no position: others read the same disk
            part = os.pread(self.descriptor, size, offset)
            if not part:
                break
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of something larger, from ``start`` on; it ends where that ends, if that is sooner."""

    whole: Blocks
    start: int
    length: int

    @property
    def size(self) -> int:
        """Bytes that are really there."""
        # a partition table and LVM's metadata may promise more than the disk has
        return max(0, min(self.length, self.whole.size - self.start))

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes there, fewer where it ends."""
        size = min(size, self.size - offset)
        return self.whole.read(self.start + offset, size) if size > 0 and offset >= 0 else b""


@dataclass(frozen=True, slots=True)
class Striped:
    """Several parts by turns, ``chunk`` bytes of each. One part, or a chunk of 0, is that part."""

    parts: Sequence[Part]
    chunk: int
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes there, fewer where it ends or a part does."""
        if len(self.parts) == 1:
            return self.parts[0].read(offset, min(size, self.size - offset))
        found = bytearray()
        end = min(offset + size, self.size)
        while offset < end:
            row, within = divmod(offset, self.chunk)
            wanted = min(self.chunk - within, end - offset)
            turn, column = divmod(row, len(self.parts))
            part = self.parts[column].read(turn * self.chunk + within, wanted)
            found += part
            if len(part) < wanted:
                break
            offset += wanted
        return bytes(found)


class Joined:
    """Pieces one after the other."""

    def __init__(self, pieces: Sequence[Striped]) -> None:
        self._pieces = pieces
        self._starts = [0]
        for piece in pieces:
            self._starts.append(self._starts[-1] + piece.size)
        self.size = self._starts.pop()

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes there, fewer where it ends or a piece lacks some."""
        found = bytearray()
        end = min(offset + size, self.size)
        while 0 <= offset < end:
            at = bisect_right(self._starts, offset) - 1
            piece, start = self._pieces[at], self._starts[at]
            wanted = min(piece.size - (offset - start), end - offset)
            part = piece.read(offset - start, wanted)
            found += part
            # a hole in the middle must not pull what is behind it forward
            if len(part) < wanted:
                break
            offset += wanted
        return bytes(found)
