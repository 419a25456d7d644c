"""VMA version 1, read in one pass (pve-facts 10.1), and held to more than Proxmox's own ``vma
verify``.

That tool passes an archive that was cut at an extent boundary and never looks for missing clusters.
Here every cluster of every disk must appear exactly once, lie within its disk and the stream must
end where its last extent does. VMA has no checksum over
the data: a flipped bit in it is found by the compression's checksum or not at all.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from backupsvc.archives.clusters import Account, ClusterSet
from backupsvc.archives.files import MAX_NAME, file_names
from backupsvc.archives.signs import DiskSample, block_of
from backupsvc.archives.streams import ByteStream, Damage, Problem

MAGIC, EXTENT_MAGIC = b"VMA\0", b"VMAE"
HEADER, EXTENT = 12288, 512
BLOCK, CLUSTER, SLOTS = 4096, 65536, 59
# The writer's buffer holds 512 KiB; the rest is room for other writers, and a bound for what a
# broken size can make us read.
MAX_HEADER = 1024 * 1024
MAX_CLUSTERS = 2**32  # a blockinfo has 32 bits for a cluster's number
VMSTATE = "vmstate"
# A guest's memory is 4 TiB at most (qemu-server, the schema of ``memory``); its stream tells no
# size that could be relied on.
VMSTATE_CLUSTERS = 2**26
# Bytes for the account of seen clusters: 16 million of them scattered at a time, where vzdump reads
# disks in order.
MAX_ACCOUNT = 32 * 1024 * 1024
EXTENT_STEPS = 2  # of work, for the bound in content.py: its 59 words are gone through twice
INFOS = struct.Struct(f">{SLOTS}Q")
INFOS_AT = 40


@dataclass(frozen=True, slots=True)
class Device:
    """A disk (or the ``vmstate`` stream) in the archive; ``size`` in bytes."""

    id: int
    name: str
    size: int

    @property
    def clusters(self) -> int:
        """How many 64 KiB clusters its size makes."""
        return -(-self.size // CLUSTER)


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the first extent. ``ctime`` in epoch seconds (any 64 bits), ``size`` in
    bytes of the stream.
    """

    uuid: UUID
    ctime: int
    size: int
    devices: Mapping[int, Device]
    configs: Mapping[str, bytes]


class Sink(Protocol):
    """Takes the disks' content while the pass goes on."""

    def begin(self, header: Header, files: Sequence[str]) -> None:
        """The header is good; its devices will follow. ``files`` are the names for its devices,
        then for its configs.
        """
        ...

    def write(self, device: Device, offset: int, data: memoryview) -> None:
        """Bytes of a device at an offset; what is never written is zero."""
        ...


def read_header(stream: ByteStream) -> Header:
    """Given a VMA stream at its start, return its header. Raise Damage if it is none or is
    broken.
    """
    fixed = stream.take(HEADER)
    if not fixed.startswith(MAGIC) and not MAGIC.startswith(fixed):
        raise _damage(0, "not a vma file - wrong magic number")
    if len(fixed) < HEADER:
        raise _damage(len(fixed), "can't read vma header - got EOF")
    version, uuid, ctime, digest, blobs_at, blobs_size, size = struct.unpack_from(
        ">I16sq16sIII", fixed, 4
    )
    # its size must be believed before its checksum can be taken, so it is bounded
    if not HEADER < size <= MAX_HEADER:
        raise _damage(56, f"wrong vma header size {size}")
    header = fixed + stream.take(size - HEADER)
    if len(header) < size:
        raise _damage(len(header), "can't read vma header - got EOF")
    if _digest(header, 32) != digest:
        raise _damage(32, "wrong vma header checksum")
    # of a header that is broken no other field means anything
    if version != 1:
        raise _damage(4, f"wrong vma version {version}")
    if blobs_at != HEADER or blobs_at + blobs_size > size:
        raise _damage(48, "wrong vma blob buffer offset")
    blobs = _Blobs(memoryview(header)[HEADER : HEADER + blobs_size])
    return Header(UUID(bytes=uuid), ctime, size, _devices(header, blobs), _configs(header, blobs))


def _devices(header: bytes, blobs: _Blobs) -> dict[int, Device]:
    devices: dict[int, Device] = {}
    for number in range(256):
        at = 4096 + 32 * number
        pointer, size = struct.unpack_from(">I4xQ", header, at)
        if not pointer and not size:
            continue
        # none has the number 0: in an extent it stands for nothing stored
        if not (pointer and size and number):
            raise _damage(at, "vma contains invalid data pointers")
        name = blobs.name(pointer, at)
        if -(-size // CLUSTER) > MAX_CLUSTERS:
            raise _damage(at, f"wrong size {size} of device {name}: more than 2^32 clusters")
        if any(name == other.name for other in devices.values()):
            raise _damage(at, f"device name {name} appears twice")
        devices[number] = Device(number, name, size)
    return devices


def _configs(header: bytes, blobs: _Blobs) -> dict[str, bytes]:
    configs: dict[str, bytes] = {}
    names, contents = (
        struct.unpack_from(">256I", header, 2044),
        struct.unpack_from(">256I", header, 3068),
    )
    for slot, (name_at, content_at) in enumerate(zip(names, contents, strict=True)):
        if not name_at and not content_at:
            continue
        at = 2044 + 4 * slot
        if not (name_at and content_at):
            raise _damage(at, "vma contains invalid data pointers")
        name = blobs.name(name_at, at)
        if name in configs:
            raise _damage(at, f"config name {name} appears twice")
        configs[name] = blobs.content(content_at, at)
    return configs


class _Blobs:
    """The blob buffer: at an offset lies a little-endian length, then as many bytes.

    Two pointers may name the same blob, but what all of them name is at most twice what there is: a
    writer puts blob after blob, and 510 pointers into one would make 32 MiB of it.
    """

    def __init__(self, buffer: memoryview) -> None:
        self._buffer, self._left = buffer, 2 * len(buffer)

    def content(self, at: int, pointer_at: int) -> bytes:
        """Given an offset and where it was read, return what lies there. Raise Damage."""
        size = int.from_bytes(self._buffer[at : at + 2], "little")
        self._left -= size
        if at + 2 + size > len(self._buffer):
            raise _damage(pointer_at, "vma contains invalid data pointers")
        if self._left < 0:
            raise _damage(pointer_at, "vma contains data pointers that overlap")
        return bytes(self._buffer[at + 2 : at + 2 + size])

    def name(self, at: int, pointer_at: int) -> str:
        """Given an offset and where it was read, return the name that lies there. Raise Damage,
        also if no file could have it.
        """
        name = self.content(at, pointer_at).rstrip(b"\0")
        if len(name) > MAX_NAME:
            raise _damage(
                pointer_at, f"vma contains a name of {len(name)} bytes, which no file can have"
            )
        return name.decode("utf-8", "replace")


def _digest(header: bytes, at: int) -> bytes:
    """Given a header and where its own MD5 stands in it, return the MD5 that it should have."""
    digest = hashlib.md5(header[:at], usedforsecurity=False)
    digest.update(bytes(16))
    digest.update(header[at + 16 :])
    return digest.digest()


def _damage(offset: int, text: str) -> Damage:
    return Damage(offset, text, "vma")


@dataclass(frozen=True, slots=True)
class _Extent:
    """One extent's header: where it starts, its 59 blockinfos as 64-bit words, and how many bytes
    of data follow.
    """

    offset: int
    infos: tuple[int, ...]
    data: int


def _extents(stream: ByteStream, uuid: bytes) -> Iterator[_Extent]:
    """Yield each extent's header; the caller passes over its data before asking for the next. Raise
    Damage.
    """
    while True:
        offset = stream.offset
        stream.step(EXTENT_STEPS)
        header = stream.take(EXTENT)
        if not header:
            return
        if len(header) < EXTENT:
            raise _damage(offset, f"read short extent ({len(header)} bytes)")
        if _digest(header, 24) != header[24:40]:
            raise _damage(offset, "wrong vma extent header checksum")
        if header[8:24] != uuid:
            raise _damage(offset + 8, "wrong vma extent uuid")
        if header[:6] != EXTENT_MAGIC + b"\0\0":
            raise _damage(offset, "wrong vma extent header magic")
        blocks = int.from_bytes(header[6:8], "big")
        infos = INFOS.unpack_from(header, INFOS_AT)
        stored = sum((info >> 48).bit_count() for info in infos if info >> 32 & 0xFF)
        if stored != blocks:
            words = "too many blocks" if stored > blocks else "missing blocks"
            raise _damage(
                offset + 6, f"vma extent error - {words} (header says {blocks}, masks say {stored})"
            )
        yield _Extent(offset, infos, blocks * BLOCK)


class VmaPass:
    """One pass over a VMA stream. ``header`` and ``problems`` hold what was found so far, also
    after Damage was raised.

    With ``sampled`` and without a sink, ``samples`` hold what some places of each disk look like.
    """

    kind = "vma"

    def __init__(self, sink: Sink | None = None, *, sampled: bool = False) -> None:
        self.header: Header | None = None
        self._sink, self._sampled = sink, sampled
        self._samples: dict[int, DiskSample] = {}
        self._account = Account()
        self._seen: dict[int, ClusterSet] = {}
        self._found: dict[tuple[str, str], list[int]] = {}
        self._missing: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        """What is wrong but did not end the pass; the same problem of the same device is told once,
        with the number of times.
        """
        repeated = [
            Problem(offset, f"{what} {number}{where}{_more(count)}", "vma")
            for (what, where), (offset, number, count) in self._found.items()
        ]
        return repeated + self._missing

    @property
    def samples(self) -> list[DiskSample]:
        """The sample of each disk; a guest's memory is none."""
        return list(self._samples.values())

    def read(self, stream: ByteStream) -> None:
        """Given a VMA stream, read it to its end. Raise Damage where it cannot be followed any
        further.
        """
        self.header = header = read_header(stream)
        files = file_names(
            (device.name for device in header.devices.values()), header.configs, HEADER
        )
        for device in header.devices.values():
            count = VMSTATE_CLUSTERS if device.name == VMSTATE else device.clusters
            self._seen[device.id] = ClusterSet(count, self._account)
            if self._sampled and device.name != VMSTATE:
                self._samples[device.id] = DiskSample.of_disk(device.name, device.size)
        if self._sink:
            self._sink.begin(header, files)
        for extent in _extents(stream, header.uuid.bytes):
            if self._sink:
                data = stream.take(extent.data)
                got = len(data)
            else:
                data, got = b"", self._look(stream, extent)
                got += stream.skip(extent.data - got)
            if got < extent.data:
                raise _damage(
                    extent.offset, f"short vma extent ({EXTENT + got} < {EXTENT + extent.data})"
                )
            self._extent(extent, header.devices, memoryview(data))
            if self._account.bytes > MAX_ACCOUNT:
                raise _damage(
                    extent.offset,
                    "the clusters come too scattered to keep account of them: no vzdump writes "
                    "them so",
                )
        for dev_id, seen in self._seen.items():
            first, missing = seen.missing()
            # a guest's memory has no size of which clusters could be missing
            if missing and header.devices[dev_id].name != VMSTATE:
                text = (
                    f"detected missing cluster {first} for stream "
                    f"{header.devices[dev_id].name}{_more(missing)}"
                )
                self._missing.append(Problem(stream.offset, text, "vma"))

    def _look(self, stream: ByteStream, extent: _Extent) -> int:
        """Given a stream before an extent's data, pass over them as far as places are looked at in
        them; return how many bytes that was.

        What is wrong with the extent shows afterwards: of a damaged archive no sample is kept.
        """
        samples = self._samples
        at = passed = 0
        for info in extent.infos if samples else ():
            sample = samples.get(info >> 32 & 0xFF)
            stored = (info >> 48).bit_count()
            if sample is not None:
                sample.stored += stored * BLOCK
                place = info & 0xFFFFFFFF
                if sample.wants(place):
                    block = block_of(place)
                    if info >> 48 + block & 1:
                        before = (info >> 48 & (1 << block) - 1).bit_count()
                        start = at + before * BLOCK
                        passed += stream.skip(start - passed)
                        data = stream.take(BLOCK)
                        passed += len(data)
                        sample.take(place, data)
                    else:
                        sample.take(place, b"")
            if info >> 32 & 0xFF:
                at += stored * BLOCK
        return passed

    def _extent(self, extent: _Extent, devices: Mapping[int, Device], data: memoryview) -> None:
        """Given an extent and its data (none without a sink), account for its clusters, and hand
        over those that are good.
        """
        at = 0
        for slot, info in enumerate(extent.infos):
            dev_id = info >> 32 & 0xFF
            if not dev_id:
                continue
            cluster, mask = info & 0xFFFFFFFF, info >> 48
            device, stored = devices.get(dev_id), at
            at += mask.bit_count() * BLOCK
            good = self._accept(device, dev_id, cluster, mask, extent.offset + INFOS_AT + 8 * slot)
            if not good or not self._sink or device is None:
                continue
            # stored blocks that are neighbours are so on the disk too: one write for all of them
            block = 0
            while mask >> block:
                if not mask >> block & 1:
                    block += 1
                    continue
                rest = mask >> block
                run = (~rest & (rest + 1)).bit_length() - 1  # lowest bits set without a gap
                self._sink.write(
                    device, cluster * CLUSTER + block * BLOCK, data[stored : stored + run * BLOCK]
                )
                stored, block = stored + run * BLOCK, block + run

    def _accept(self, device: Device | None, dev_id: int, cluster: int, mask: int, at: int) -> bool:
        """Given one blockinfo and where it stands, return whether its cluster is good and new; note
        what is wrong.
        """
        if device is None:
            return self._note("got wrong dev id", "", at, dev_id)
        seen = self._seen[dev_id]
        stream = f" for stream {device.name}"
        if cluster >= seen.count:
            return self._note(
                "got wrong block address - write beyond end, cluster", stream, at, cluster
            )
        if not seen.add(cluster):
            return self._note("found duplicated cluster", stream, at, cluster)
        last = cluster == seen.count - 1 and device.name != VMSTATE
        if last and (mask.bit_length() - 1) * BLOCK >= device.size - cluster * CLUSTER:
            return self._note(
                "got wrong block address - write beyond end, cluster", stream, at, cluster
            )
        return True

    def _note(self, what: str, where: str, offset: int, number: int) -> bool:
        self._found.setdefault((what, where), [offset, number, 0])[2] += 1
        return False


def _more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""
