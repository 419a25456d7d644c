"""Read VMA archives for a restore, as Proxmox's ``vma extract`` does: its checks, its error texts,
its figures.

Damage inside a disk's data is not noticed here, as it is not by the real tool: VMA has no checksum
over data (pve-facts 10.2).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pvelab.guests.vma_format import (
    BLOCK,
    BLOCKS_PER_CLUSTER,
    CLUSTER,
    ENTRY,
    EXTENT_HEAD,
    EXTENT_HEADER,
    EXTENT_MAGIC,
    EXTENT_SLOTS,
    FIXED_HEADER,
    HEAD,
    LARGEST_HEADER,
    MAGIC,
    Device,
    Header,
    VmaError,
    md5,
    unpack_header,
)

_FULL = (1 << BLOCKS_PER_CLUSTER) - 1
_MD5_AT = 24


class Readable(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, fewer only at the end."""
        ...


@dataclass
class Extracted:
    """What was read, in bytes: whole clusters, and of these zero clusters and zero blocks of other
    clusters.
    """

    read: int = 0
    zero_clusters: int = 0
    zero_blocks: int = 0

    @property
    def sparse(self) -> int:
        """All that was zero."""
        return self.zero_clusters + self.zero_blocks


def read_header(stream: Readable) -> Header:
    """Given a stream at its start, return the archive's header. Raise VmaError with the tool's text
    if there is none.
    """
    start = stream.read(HEAD.size)
    if len(start) < HEAD.size:
        raise VmaError("can't read vma header - got EOF")
    if start[:4] != MAGIC:
        raise VmaError("not a vma file - wrong magic number")
    size = HEAD.unpack(start)[-1]
    if not FIXED_HEADER < size <= LARGEST_HEADER:
        raise VmaError(f"wrong vma header size {size}")
    raw = start + stream.read(size - HEAD.size)
    if len(raw) < size:
        raise VmaError("can't read vma header - got EOF")
    return unpack_header(raw)


class Extraction:
    """One pass over the extents behind a header, writing each disk to its target (an open file
    descriptor by ``dev_id``).
    """

    def __init__(
        self, header: Header, targets: Mapping[int, int], progress: Callable[[Extracted], None]
    ) -> None:
        self._uuid, self._targets, self._progress = header.uuid, targets, progress
        self._devices = {device.id: device for device in header.devices}
        self._seen = {device.id: bytearray(device.clusters) for device in header.devices}
        self.figures = Extracted()

    def run(self, stream: Readable) -> Extracted:
        """Read all extents. Raise VmaError if one is damaged or a cluster is missing at the end."""
        while head := stream.read(EXTENT_HEADER):
            if len(head) < EXTENT_HEADER:
                raise VmaError(f"read short extent ({len(head)} bytes)")
            magic, reserved, blocks, uuid, digest = EXTENT_HEAD.unpack_from(head)
            if magic != EXTENT_MAGIC or reserved:
                raise VmaError("wrong vma extent header magic")
            if uuid != self._uuid:
                raise VmaError("wrong vma extent uuid")
            # the digest is of the header with zeroes in the digest's own place
            if md5(head[:_MD5_AT] + bytes(16) + head[_MD5_AT + 16 :]) != digest:
                # spelled as vma spells it
                raise VmaError("wrong vma extent header chechsum")
            if blocks > EXTENT_SLOTS * BLOCKS_PER_CLUSTER:
                raise VmaError("short vma extent - too many blocks")
            data = stream.read(blocks * BLOCK)
            if len(data) < blocks * BLOCK:
                raise VmaError(
                    f"short vma extent ({EXTENT_HEADER + len(data)} < "
                    f"{EXTENT_HEADER + blocks * BLOCK})"
                )
            self._extent(head, memoryview(data))
        for device in self._devices.values():
            # each cluster of each disk stands in the file exactly once (pve-facts 10.1)
            missing = self._seen[device.id].find(0)
            if missing >= 0:
                raise VmaError(f"detected missing cluster {missing} for stream {device.name}")
        return self.figures

    def _extent(self, head: bytes, data: memoryview) -> None:
        at = 0
        for slot in range(EXTENT_SLOTS):
            mask, _, number, cluster = ENTRY.unpack_from(head, EXTENT_HEAD.size + slot * ENTRY.size)
            if not number:
                continue
            stored = mask.bit_count() * BLOCK
            if at + stored > len(data):
                raise VmaError("vma extent error - missing blocks")
            device = self._devices.get(number)
            if device is None:
                raise VmaError(f"got wrong dev id {number}")
            if cluster >= device.clusters:
                raise VmaError("got wrong block address - write beyond end")
            if self._seen[number][cluster]:
                raise VmaError(f"found duplicated cluster {cluster} for stream {device.name}")
            self._seen[number][cluster] = 1
            target = self._targets.get(number)
            if mask and target is not None:
                self._write(device, target, cluster * CLUSTER, mask, data[at : at + stored])
            self.figures.read += CLUSTER
            if mask:
                self.figures.zero_blocks += CLUSTER - stored
            else:
                self.figures.zero_clusters += CLUSTER
            self._progress(self.figures)
            at += stored
        if at != len(data):
            raise VmaError("vma extent error - missing blocks")

    def _write(self, device: Device, target: int, offset: int, mask: int, data: memoryview) -> None:
        if mask == _FULL:
            _write_at(target, data[: device.size - offset], offset)
            return
        at = 0
        for block in range(BLOCKS_PER_CLUSTER):
            if mask >> block & 1:
                where = offset + block * BLOCK
                if where >= device.size:
                    raise VmaError("got wrong block address - write beyond end")
                _write_at(target, data[at : at + BLOCK][: device.size - where], where)
                at += BLOCK


def _write_at(target: int, data: memoryview, offset: int) -> None:
    while data:
        try:
            done = os.pwrite(target, data, offset)
        except OSError as error:
            raise VmaError(f"blk_pwrite to  failed (-{error.errno})") from error
        data, offset = data[done:], offset + done
