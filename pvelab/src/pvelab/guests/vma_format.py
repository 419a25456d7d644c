"""The VMA archive format, version 1, as the lab's own writer and reader know it (pve-facts 10.1;
big endian, blob lengths not).

A header names configurations and devices; extents of at most 59 clusters follow, each cluster of 64
KiB with a mask of its stored 4 KiB blocks. Nothing here is shared with the service's own reader:
two readings of one format, so that one mistake shows.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CLUSTER = 64 * 1024
BLOCK = 4096
BLOCKS_PER_CLUSTER = CLUSTER // BLOCK
SECTOR = 512
EXTENT_HEADER = 512
# a reader must accept 59 clusters in an extent; Proxmox's writer flushes once 58 are in
EXTENT_SLOTS = 59
WRITER_SLOTS = 58
MAGIC, EXTENT_MAGIC = b"VMA\0", b"VMAE"
FIXED_HEADER = 12288
LARGEST_HEADER = 512 * 1024

HEAD = struct.Struct(">4sI16sQ16sIII")
EXTENT_HEAD = struct.Struct(">4sHH16s16s")
ENTRY = struct.Struct(">HBBI")
DEVICE = struct.Struct(">IIQ16x")
# little endian, unlike all else (pve-facts 10.1)
_BLOB_LENGTH = struct.Struct("<H")
_NAMES_AT, _DATA_AT, _DEVICES_AT, _MD5_AT = 2044, 3068, 4096, 32
_SLOTS = 256


class VmaError(Exception):
    """An archive cannot be written or read; the text is that of Proxmox's ``vma`` tool where that
    tool has one.
    """


@dataclass(frozen=True)
class Device:
    """A disk in an archive: its ``dev_id`` (1-254), name (``drive-scsi0``) and size in bytes."""

    id: int
    name: str
    size: int

    @property
    def clusters(self) -> int:
        """How many clusters hold it."""
        return -(-self.size // CLUSTER)


@dataclass(frozen=True)
class Header:
    """What an archive says of itself. ``ctime`` in epoch seconds; ``configs`` are files by name."""

    uuid: bytes
    ctime: int
    configs: Mapping[str, bytes]
    devices: Sequence[Device]


def pack_header(header: Header) -> bytes:
    """Given a header, return its bytes. Raise VmaError if a config is too large or there are too
    many entries.
    """
    blobs = bytearray(b"\0")  # offset 0 means "none", so the first blob starts at 1
    names, data, devices = (
        bytearray(_SLOTS * 4),
        bytearray(_SLOTS * 4),
        bytearray(_SLOTS * DEVICE.size),
    )
    for slot, (name, content) in enumerate(header.configs.items()):
        struct.pack_into(">I", names, slot * 4, _add_blob(blobs, name.encode() + b"\0"))
        struct.pack_into(">I", data, slot * 4, _add_blob(blobs, content))
    for device in header.devices:
        DEVICE.pack_into(
            devices,
            device.id * DEVICE.size,
            _add_blob(blobs, device.name.encode() + b"\0"),
            0,
            device.size,
        )
    size = FIXED_HEADER + -(-len(blobs) // SECTOR) * SECTOR
    if size > LARGEST_HEADER:
        raise VmaError(f"vma header too large ({size} bytes)")
    out = bytearray(size)
    HEAD.pack_into(
        out, 0, MAGIC, 1, header.uuid, header.ctime, bytes(16), FIXED_HEADER, len(blobs), size
    )
    out[_NAMES_AT : _NAMES_AT + len(names)] = names
    out[_DATA_AT : _DATA_AT + len(data)] = data
    out[_DEVICES_AT : _DEVICES_AT + len(devices)] = devices
    out[FIXED_HEADER : FIXED_HEADER + len(blobs)] = blobs
    out[_MD5_AT : _MD5_AT + 16] = md5(out)
    return bytes(out)


def unpack_header(raw: bytes) -> Header:
    """Given the bytes of a whole header, return what it says. Raise VmaError with the tool's text
    if it is damaged.
    """
    _, version, uuid, ctime, digest, blob_offset, blob_size, size = HEAD.unpack_from(raw)
    zeroed = raw[:_MD5_AT] + bytes(16) + raw[_MD5_AT + 16 : size]
    if md5(zeroed) != digest:
        # spelled as vma spells it
        raise VmaError("wrong vma header chechsum")
    if version != 1:
        raise VmaError(f"wrong vma version {version}")
    if blob_offset != FIXED_HEADER:
        raise VmaError("wrong vma blob buffer offset")
    blobs = raw[blob_offset : blob_offset + blob_size]
    configs = {}
    for slot in range(_SLOTS):
        (name,) = struct.unpack_from(">I", raw, _NAMES_AT + slot * 4)
        (data,) = struct.unpack_from(">I", raw, _DATA_AT + slot * 4)
        if name:
            configs[_blob(blobs, name).rstrip(b"\0").decode()] = _blob(blobs, data)
    devices = []
    for number in range(1, 255):
        name, _, length = DEVICE.unpack_from(raw, _DEVICES_AT + number * DEVICE.size)
        if name:
            devices.append(Device(number, _blob(blobs, name).rstrip(b"\0").decode(), length))
    return Header(uuid, ctime, configs, tuple(devices))


def md5(data: bytes | bytearray) -> bytes:
    """Return the MD5 that the format uses as a checksum of headers."""
    return hashlib.md5(data, usedforsecurity=False).digest()


def _add_blob(blobs: bytearray, content: bytes) -> int:
    if len(content) > 0xFFFF:
        raise VmaError(f"vma config blob too large ({len(content)} bytes)")
    offset = len(blobs)
    blobs += _BLOB_LENGTH.pack(len(content)) + content
    return offset


def _blob(blobs: bytes, offset: int) -> bytes:
    if offset + 2 > len(blobs):
        raise VmaError("vma contains invalid data pointers")
    (length,) = _BLOB_LENGTH.unpack_from(blobs, offset)
    if offset + 2 + length > len(blobs):
        raise VmaError("vma contains invalid data pointers")
    return blobs[offset + 2 : offset + 2 + length]
