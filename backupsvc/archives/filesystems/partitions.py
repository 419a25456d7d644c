"""Partition tables: GPT, with two headers and their checksums, and MBR with its chain of logical
partitions.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from backupsvc.archives.filesystems.blocks import Blocks

SECTORS = (512, 4096)
GPT_HEADER = struct.Struct("<8sIIII4Q16sQIII")
MAX_GPT_ENTRIES = 1024  # 128 are usual
MAX_LOGICAL = 128
EXTENDED = (0x05, 0x0F, 0x85)
PROTECTIVE = 0xEE
EMPTY = bytes(16)


@dataclass(frozen=True, slots=True)
class Partition:
    """Where a partition lies, in bytes; ``name`` is its label in a GPT, else ""."""

    start: int
    size: int
    name: str = ""


def find(disk: Blocks) -> tuple[str, list[Partition]] | None:
    """Given a disk, return the kind of its partition table and its partitions, None if it has
    none.
    """
    for sector in SECTORS:
        if (found := _gpt(disk, sector)) is not None:
            return "gpt", found
    head = disk.read(0, 512)
    # other things end in these two bytes as well: of a table each row is active (0x80) or not (0)
    if (
        len(head) < 512
        or head[510:] != b"\x55\xaa"
        or any(head[446 + 16 * n] & 0x7F for n in range(4))
    ):
        return None
    rows: list[Partition] = []
    for kind, first, count in _rows(head):
        if kind == PROTECTIVE or not first or not count or first * 512 >= disk.size:
            continue
        if kind in EXTENDED:
            rows += _logical(disk, first)
        else:
            rows.append(Partition(first * 512, count * 512))
    return ("mbr", rows) if rows else None


def _gpt(disk: Blocks, sector: int) -> list[Partition] | None:
    """The first of the two headers whose checksums hold says where the partitions are."""
    last = disk.size // sector - 1
    for at in (1, last):
        if at < 1:
            continue
        head = disk.read(at * sector, sector)
        if len(head) < GPT_HEADER.size or not head.startswith(b"EFI PART"):
            continue
        _, _, length, crc, _, _, _, _, _, _, table, count, size, table_crc = GPT_HEADER.unpack(
            head[: GPT_HEADER.size]
        )
        if not GPT_HEADER.size <= length <= sector or not 128 <= size <= 4096 or size % 8:
            continue
        if zlib.crc32(head[:16] + bytes(4) + head[20:length]) != crc or count > MAX_GPT_ENTRIES:
            continue
        entries = disk.read(table * sector, count * size)
        if len(entries) == count * size and zlib.crc32(entries) == table_crc:
            break
    else:
        return None
    found: list[Partition] = []
    for at in range(0, len(entries), size):
        kind, _, first, last, _, name = struct.unpack_from("<16s16sQQQ72s", entries, at)
        if kind != EMPTY and first <= last and first * sector < disk.size:
            text = name.decode("utf-16-le", "replace").partition("\0")[0]
            found.append(Partition(first * sector, (last - first + 1) * sector, text))
    return found


def _rows(sector: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, first sector and number of sectors of each row that is in use."""
    for number in range(4):
        kind, first, count = struct.unpack_from("<4xB3xII", sector, 446 + 16 * number)
        if kind:
            yield kind, first, count


def _logical(disk: Blocks, base: int) -> Iterator[Partition]:
    """Each link of the chain names one partition, relative to itself, and the next link, relative
    to the first.
    """
    # a chain that was made to lead back into itself ends here
    at, seen = base, set[int]()
    while at not in seen and len(seen) < MAX_LOGICAL:
        seen.add(at)
        sector = disk.read(at * 512, 512)
        if len(sector) < 512 or sector[510:] != b"\x55\xaa":
            return
        following = None
        for kind, first, count in _rows(sector):
            if kind in EXTENDED:
                following = base + first
            elif first and count and (at + first) * 512 < disk.size:
                yield Partition((at + first) * 512, count * 512)
        if following is None:
            return
        at = following
