"""Write VMA archives from raw disks: streaming, extents of all disks interleaved, holes never read.

A sparse disk costs what its data costs: SEEK_DATA and SEEK_HOLE name the clusters that hold
something, all others are written as a zero mask without being read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from pvelab.guests.vma_format import (
    BLOCK,
    BLOCKS_PER_CLUSTER,
    CLUSTER,
    ENTRY,
    EXTENT_HEAD,
    EXTENT_HEADER,
    EXTENT_MAGIC,
    WRITER_SLOTS,
    Device,
    Header,
    md5,
    pack_header,
)

Sink = Callable[[bytes], object]
_ZERO_CLUSTER = bytes(CLUSTER)
_ZERO_BLOCK = bytes(BLOCK)
_READ_CLUSTERS = 16
_MD5_AT = 24


@dataclass(frozen=True)
class Source:
    """A disk to store: its name in the archive (``drive-scsi0``), the raw file and its size in
    bytes.
    """

    name: str
    path: Path
    size: int


@dataclass
class Written:
    """What went into an archive so far, in bytes: disks read, of these all-zero, stored blocks."""

    read: int = 0
    zero: int = 0
    stored: int = 0


class VmaWriter:
    """Collects clusters into extents and hands them to ``sink``, header first."""

    def __init__(self, sink: Sink, header: Header) -> None:
        self._sink, self._uuid = sink, header.uuid
        self._entries: list[bytes] = []
        self._data: list[bytes] = []
        self._blocks = 0
        self.written = Written()
        sink(pack_header(header))

    def add(self, device: int, number: int, data: bytes | None) -> None:
        """Add one cluster of a device: up to 64 KiB, None for one that is all zero."""
        mask = 0
        if data is not None and data != _ZERO_CLUSTER[: len(data)]:
            # the blocks that hold something are kept, the last one padded to its full length
            view = memoryview(data)
            for index in range(-(-len(data) // BLOCK)):
                block = view[index * BLOCK : (index + 1) * BLOCK]
                if block != _ZERO_BLOCK[: len(block)]:
                    mask |= 1 << index
            if mask == (1 << BLOCKS_PER_CLUSTER) - 1:
                self._data.append(data.ljust(CLUSTER, b"\0"))
            else:
                chosen = (
                    data[i * BLOCK : (i + 1) * BLOCK]
                    for i in range(BLOCKS_PER_CLUSTER)
                    if mask >> i & 1
                )
                self._data.extend(block.ljust(BLOCK, b"\0") for block in chosen)
            self._blocks += mask.bit_count()
        self.written.read += CLUSTER
        self.written.zero += CLUSTER - mask.bit_count() * BLOCK
        self.written.stored += mask.bit_count() * BLOCK
        self._entries.append(ENTRY.pack(mask, 0, device, number))
        if len(self._entries) == WRITER_SLOTS:
            self.flush()

    def flush(self) -> None:
        """Write the extent collected so far; nothing happens when it is empty."""
        if not self._entries:
            return
        header = bytearray(EXTENT_HEADER)
        EXTENT_HEAD.pack_into(header, 0, EXTENT_MAGIC, 0, self._blocks, self._uuid, bytes(16))
        table = b"".join(self._entries)
        header[EXTENT_HEAD.size : EXTENT_HEAD.size + len(table)] = table
        header[_MD5_AT : _MD5_AT + 16] = md5(header)
        self._sink(b"".join([header, *self._data]))
        self._entries, self._data, self._blocks = [], [], 0


def write_vma(
    sink: Sink,
    *,
    uuid: bytes,
    ctime: int,
    configs: Mapping[str, bytes],
    sources: Sequence[Source],
    progress: Callable[[Written], None] = lambda _: None,
) -> Written:
    """Given raw disks and configs, write one archive to ``sink`` and return what went in.

    ``progress`` is called about every MiB read; whatever it raises ends the dump. Raise VmaError if
    a config is too large.
    """
    devices = tuple(Device(n, source.name, source.size) for n, source in enumerate(sources, 1))
    writer = VmaWriter(sink, Header(uuid, ctime, configs, devices))
    # PVE's order: a cluster of each disk in turn
    streams = [clusters(source.path, source.size) for source in sources]
    for count, row in enumerate(zip_longest(*streams)):
        for device, cluster in zip(devices, row, strict=True):
            if cluster is not None:
                writer.add(device.id, *cluster)
        if count % _READ_CLUSTERS == 0:
            progress(writer.written)
    writer.flush()
    progress(writer.written)
    return writer.written


def clusters(path: Path, size: int) -> Iterator[tuple[int, bytes | None]]:
    """Given a raw disk, yield each cluster's number and bytes, None where the file has a hole."""
    total, number = -(-size // CLUSTER), 0
    with path.open("rb", buffering=0) as file:
        for first, last in _data_ranges(file.fileno(), size):
            for hole in range(number, first):
                yield hole, None
            for start in range(first, last, _READ_CLUSTERS):
                stop, begin = min(start + _READ_CLUSTERS, last), start * CLUSTER
                chunk = os.pread(file.fileno(), min(stop * CLUSTER, size) - begin, begin)
                for number in range(start, stop):
                    at = number * CLUSTER - begin
                    yield number, chunk[at : at + CLUSTER]
            number = last
    for hole in range(number, total):
        yield hole, None


def _data_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield [first, last) ranges of clusters that hold data, in order and without overlap."""
    at, done = 0, 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        at = min(os.lseek(fd, data, os.SEEK_HOLE), size)
        first, last = max(data // CLUSTER, done), -(-at // CLUSTER)
        if data < size and first < last:
            yield first, last
            done = last
