"""A second reading of archives, written from the format and not from the code under test: slow, all
in memory, and strict.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator

BLOCK, CLUSTER = 4096, 65536
# bytes of a disk that a mutant of these seeds can fill: whoever claims more lacks clusters
MAX_DISK = 64 * 1024 * 1024


class NotWhole(Exception):
    """The stream is no whole VMA."""


class TooFar(Exception):
    """A memory's stream that may be whole, and would be too large to be held here."""


def need(condition: object, text: str) -> None:
    if not condition:
        raise NotWhole(text)


def md5(data: bytes, at: int) -> bytes:
    return hashlib.md5(data[:at] + bytes(16) + data[at + 16 :]).digest()


def extents(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each extent of a well-formed VMA starts and ends."""
    at = struct.unpack_from(">I", raw, 56)[0]
    while at < len(raw):
        end = at + 512 + BLOCK * struct.unpack_from(">H", raw, at + 6)[0]
        yield at, end
        at = end


def skeleton(raw: bytes) -> list[bytes]:
    """Return all that a VMA's checksums cover: its header and its extents' headers."""
    size = struct.unpack_from(">I", raw, 56)[0]
    return [raw[:size], *(raw[at : at + 512] for at, _ in extents(raw))]


def vma(raw: bytes) -> dict[str, bytes]:
    """Given a VMA stream, return the files that it must become. Raise NotWhole."""
    need(len(raw) > 12288 and raw[:4] == b"VMA\0", "no header")
    size = struct.unpack_from(">I", raw, 56)[0]
    need(
        12288 < size <= len(raw) and md5(raw[:size], 32) == raw[32:48],
        "a header that is cut or unsigned",
    )
    blob_at, blob_size = struct.unpack_from(">II", raw, 48)
    need(
        raw[4:8] == b"\0\0\0\1" and blob_at == 12288 and blob_at + blob_size <= size,
        "another version or buffer",
    )
    blobs = raw[blob_at : blob_at + blob_size]
    disks, files = _devices(raw, blobs), _configs(raw, blobs)
    for at, end in extents(raw):
        need(end <= len(raw), "a short extent")
        _fill(raw[at:end], raw[8:24], disks)
    for name, length, content, seen in disks.values():
        need(
            name == "vmstate" or len(seen) == -(-length // CLUSTER),
            f"clusters of {name} are missing",
        )
        key = f"{_safe(name)}.raw"
        need(key not in files, f"{key} twice")
        files[key] = bytes(content) if name == "vmstate" else bytes(content[:length])
    return files


Disk = tuple[str, int, bytearray, set[int]]


def _devices(raw: bytes, blobs: bytes) -> dict[int, Disk]:
    disks: dict[int, Disk] = {}
    for number in range(256):
        pointer, length = struct.unpack_from(">I4xQ", raw, 4096 + 32 * number)
        if pointer or length:
            need(pointer and length and number, "half a device")
            name = _blob(blobs, pointer).rstrip(b"\0").decode("utf-8", "replace")
            need(
                name == "vmstate" or length <= MAX_DISK,
                f"{length} bytes of {name} cannot all be there",
            )
            need(name not in [disk[0] for disk in disks.values()], "a device twice")
            disks[number] = name, length, bytearray(0 if name == "vmstate" else length), set()
    return disks


def _configs(raw: bytes, blobs: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for slot in range(256):
        name_at, content_at = (
            struct.unpack_from(">I", raw, base + 4 * slot)[0] for base in (2044, 3068)
        )
        if name_at or content_at:
            need(name_at and content_at, "half a config")
            key = _safe(_blob(blobs, name_at).rstrip(b"\0").decode("utf-8", "replace"))
            need(key not in files, "a config twice")
            files[key] = _blob(blobs, content_at)
    return files


def _fill(extent: bytes, uuid: bytes, disks: dict[int, Disk]) -> None:
    need(len(extent) >= 512 and extent[:6] == b"VMAE\0\0", "no extent")
    need(
        md5(extent[:512], 24) == extent[24:40] and extent[8:24] == uuid,
        "an extent that is unsigned or foreign",
    )
    at = 512
    for mask, _, device, cluster in struct.iter_unpack(">HBBI", extent[40:512]):
        if not device:
            continue
        need(device in disks, "a device that the header lacks")
        name, length, content, seen = disks[device]
        need(cluster not in seen, "a cluster twice")
        need(name == "vmstate" or cluster < -(-length // CLUSTER), "a cluster beyond the end")
        need(cluster < 2**26, "a cluster beyond any memory")
        seen.add(cluster)
        for bit in range(16):
            if mask >> bit & 1:
                start = cluster * CLUSTER + bit * BLOCK
                need(name == "vmstate" or start < length, "a block beyond the end")
                if start >= MAX_DISK:
                    raise TooFar
                content.extend(bytes(max(0, start + BLOCK - len(content))))
                content[start : start + BLOCK] = extent[at : at + BLOCK]
                at += BLOCK
    need(at == len(extent), "more or fewer blocks than the masks say")


def _blob(blobs: bytes, at: int) -> bytes:
    need(at + 2 <= len(blobs), "a pointer out of the buffer")
    size = struct.unpack_from("<H", blobs, at)[0]
    need(at + 2 + size <= len(blobs), "a blob out of the buffer")
    return blobs[at + 2 : at + 2 + size]


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "unnamed"


def tar_members(raw: bytes) -> list[tuple[int, int]]:
    """Given a good tar, return where each header stands and where what belongs to it ends;
    extensions count as members.
    """
    found, at = [], 0
    while any(raw[at : at + 512]):
        size = int(raw[at + 124 : at + 136].strip(b" \0") or b"0", 8)
        end = at + 512 + -(-size // 512) * 512
        found.append((at, end))
        at = end
    return found
