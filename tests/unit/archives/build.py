"""Makes VMA and zstd files for the tests, good ones and wrong ones, byte by byte and without the
code under test.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from backports.zstd import CompressionParameter, compress
from hypothesis import settings

BLOCK, CLUSTER = 4096, 65536
UUID = bytes(range(16))
CTIME = 1773086402

# On a machine that boots guests at the same time, a test of a millisecond can take a second.
unhurried = settings(deadline=None)

Entry = tuple[int, int, int, bytes]  # device id, cluster number, mask, stored blocks


@dataclass(frozen=True)
class Vma:
    """A VMA file to be: disks by name, configs by name, and its extents' entries (made from the
    disks by ``plan``).
    """

    disks: Mapping[str, bytes] = field(default_factory=dict)
    configs: Mapping[str, bytes] | None = None  # None: what vzdump would write for these disks
    sizes: Mapping[str, int] = field(default_factory=dict)
    per_extent: int = 58
    version: int = 1
    extents: Sequence[Sequence[Entry]] | None = None

    def with_extents(self, extents: Sequence[Sequence[Entry]]) -> Vma:
        return replace(self, extents=extents)

    def config_files(self) -> Mapping[str, bytes]:
        """Return the configs: those given, or one that maps every disk as vzdump does."""
        if self.configs is not None:
            return self.configs
        keys = [
            (name.removeprefix("drive-").removesuffix("-backup"), name)
            for name in self.disks
            if name != "vmstate"
        ]
        lines = [f"{key}: local:108/{key}.raw\n" for key, _ in keys] + [
            f"#qmdump#map:{key}:{name}:local:raw:\n" for key, name in keys
        ]
        return {"qemu-server.conf": ("name: lab\nmemory: 512\n" + "".join(lines)).encode()}

    def plan(self) -> list[list[Entry]]:
        """Return the entries of each extent, disk after disk."""
        entries = [
            entry(number, cluster, disk)
            for number, disk in enumerate(self.disks.values(), 1)
            for cluster in clusters(disk)
        ]
        return [
            entries[at : at + self.per_extent] for at in range(0, len(entries), self.per_extent)
        ]

    def header(self) -> bytes:
        blobs, names, contents, devices = bytearray(b"\0"), [], [], []
        for name, data in self.config_files().items():
            names.append(blob(blobs, name.encode() + b"\0"))
            contents.append(blob(blobs, data))
        for name, disk in self.disks.items():
            devices.append((blob(blobs, name.encode() + b"\0"), self.sizes.get(name, len(disk))))
        size = 12288 + -(-len(blobs) // 512) * 512
        header = bytearray(size)
        struct.pack_into(
            ">4sI16sq16xIII",
            header,
            0,
            b"VMA\0",
            self.version,
            UUID,
            CTIME,
            12288,
            len(blobs),
            size,
        )
        struct.pack_into(f">{len(names)}I", header, 2044, *names)
        struct.pack_into(f">{len(contents)}I", header, 3068, *contents)
        for number, (pointer, length) in enumerate(devices, 1):
            struct.pack_into(">I4xQ", header, 4096 + 32 * number, pointer, length)
        header[12288 : 12288 + len(blobs)] = blobs
        return sign(header, 32)

    def bytes(self) -> bytes:
        plan = self.plan() if self.extents is None else self.extents
        return self.header() + b"".join(extent(entries) for entries in plan)


def blob(blobs: bytearray, data: bytes) -> int:
    """Append a blob and return its offset."""
    at = len(blobs)
    blobs += struct.pack("<H", len(data)) + data
    return at


def clusters(disk: bytes) -> range:
    return range(-(-len(disk) // CLUSTER))


def entry(device: int, cluster: int, disk: bytes) -> Entry:
    """Return a disk's cluster as vzdump stores it: only the blocks that are not zero."""
    data = disk[cluster * CLUSTER : (cluster + 1) * CLUSTER]
    mask, stored = 0, b""
    for bit in range(-(-len(data) // BLOCK)):
        part = data[bit * BLOCK : (bit + 1) * BLOCK]
        if any(part):
            mask |= 1 << bit
            stored += part.ljust(BLOCK, b"\0")
    return device, cluster, mask, stored


def extent(entries: Sequence[Entry], *, uuid: bytes = UUID, blocks: int | None = None) -> bytes:
    header = bytearray(512)
    data = b"".join(stored for *_, stored in entries)
    struct.pack_into(
        ">4sHH16s", header, 0, b"VMAE", 0, len(data) // BLOCK if blocks is None else blocks, uuid
    )
    for slot, (device, cluster, mask, _) in enumerate(entries):
        struct.pack_into(">HBBI", header, 40 + 8 * slot, mask, 0, device, cluster)
    return sign(header, 24) + data


def sign(header: bytearray, at: int) -> bytes:
    """Return a header with its MD5 where it goes."""
    header[at : at + 16] = bytes(16)
    header[at : at + 16] = hashlib.md5(header).digest()
    return bytes(header)


def zst(data: bytes, *, checksum: bool = True) -> bytes:
    return compress(
        data,
        options={
            CompressionParameter.checksum_flag: checksum,
            CompressionParameter.content_size_flag: False,
        },
    )


def pattern(size: int, holes: bool = True) -> bytes:
    """Return a disk's content: every third block zero, the others different from each other."""
    parts = [
        bytes(BLOCK) if holes and number % 3 == 1 else hashlib.sha512(b"%d" % number).digest() * 64
        for number in range(-(-size // BLOCK))
    ]
    return b"".join(parts)[:size]
