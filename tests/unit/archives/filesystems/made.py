"""Disks with files in them, made by the file systems' own tools, and without the code under test."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
TOOLS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"}
SECTOR, EXTENT = 512, 64 * 1024


def run(*words: object, stdin: bytes = b"") -> None:
    done = subprocess.run(
        [str(word) for word in words], input=stdin, capture_output=True, env=TOOLS, check=False
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that no file system squeezes, the same ones for the same seed."""
    import random

    return random.Random(seed).randbytes(size)


def some_files() -> dict[str, bytes]:
    """What every file system here can hold: empty, small and large files, deep, with all kinds of
    letters.
    """
    deep = "/".join(f"level {number}" for number in range(20))
    return {
        "etc/hosts": b"127.0.0.1 localhost\n",
        "etc/empty": b"",
        "etc/größe ☃ 漢字.conf": "größe = ☃\n".encode(),
        "srv/blob.bin": noise(300_001),
        "srv/exact": noise(65536, 2),
        f"srv/{deep}/end": b"deep\n",
        "srv/zeros": bytes(100_000),
    }


def sparse_file() -> dict[str, bytes]:
    """A file with holes at its begin, in the middle and at its end."""
    data = bytearray(3 * MIB)
    data[MIB : MIB + 70_000] = noise(70_000, 3)
    data[2 * MIB + 12_345 : 2 * MIB + 12_350] = b"hello"
    return {"srv/sparse": bytes(data)}


def write_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(len(data))
            for at in range(0, len(data), 4096):
                if any(block := data[at : at + 4096]):
                    file.seek(at)
                    file.write(block)
    return folder


def blank(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def ext(path: Path, source: Path, *options: str, kind: str = "ext4", size: int = 16 * MIB) -> Path:
    run(f"mkfs.{kind}", "-q", "-F", *options, "-d", source, blank(path, size))
    return path


def fat(path: Path, source: Path, *options: str, size: int = 8 * MIB) -> Path:
    run("mkfs.vfat", *options, blank(path, size))
    for one in sorted(source.iterdir()):
        run("mcopy", "-s", "-m", "-i", path, one, "::")
    return path


def xfs(path: Path, files: Mapping[str, bytes], source: Path, more: str = "") -> Path:
    """A file system with some files, whose contents lie in a folder; ``more`` are lines of the
    prototype for its root. A name there has no blanks, so they are written as dots.
    """
    lines = ["boot", "0 0", "d--755 0 0", *_prototype(files, source), *more.split("\n"), "$"]
    proto = path.with_suffix(".proto")
    proto.write_text("".join(f"{line}\n" for line in lines if line))
    run("mkfs.xfs", "--unsupported", "-q", "-p", proto, blank(path, 64 * MIB))
    return path


def _prototype(files: Mapping[str, bytes], source: Path) -> list[str]:
    names = sorted({name.partition("/")[0] for name in files})
    lines = []
    for name in names:
        plain = name.replace(" ", ".")
        if name in files:
            content = source / f"content-{zlib.crc32(str(source / name).encode()):08x}"
            content.write_bytes(files[name])
            lines.append(f"{plain} ---644 0 0 {content}")
        else:
            inside = {
                key.removeprefix(f"{name}/"): value
                for key, value in files.items()
                if key.startswith(f"{name}/")
            }
            folder = source / f"in-{zlib.crc32(name.encode()):08x}"
            folder.mkdir(exist_ok=True)
            lines += [f"{plain} d--755 0 0", *_prototype(inside, folder), "$"]
    return lines


def ntfs(path: Path, files: Mapping[str, bytes], *, size: int = 16 * MIB) -> Path:
    run("mkntfs", "-q", "-F", "-s", "512", blank(path, size))
    with Ntfs(path) as volume:
        for name, data in files.items():
            volume.file(name, data)
    return path


class Ntfs:
    """libntfs-3g, for use in a ``with`` statement: Debian's tools copy files, but make no folder."""

    DATA, FILE, FOLDER = 0x80, 0o100000, 0o040000

    def __init__(self, path: Path) -> None:
        self._path, self._folders = path, {"": 5}
        self._lib = ctypes.CDLL("libntfs-3g.so.89")
        for name in ("ntfs_mount", "ntfs_inode_open", "ntfs_create", "ntfs_attr_open"):
            getattr(self._lib, name).restype = ctypes.c_void_p
        self._lib.ntfs_attr_pwrite.restype = ctypes.c_int64

    def __enter__(self) -> Ntfs:
        mounted = self._lib.ntfs_mount(str(self._path).encode(), ctypes.c_ulong(0))
        assert mounted
        self._volume = ctypes.c_void_p(mounted)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._lib.ntfs_umount(self._volume, ctypes.c_bool(False)) == 0

    def file(self, name: str, data: bytes, *, reparse: bytes = b"") -> None:
        node = self._make(name, self.FILE)
        if data:
            attribute = ctypes.c_void_p(
                self._lib.ntfs_attr_open(node, self.DATA, None, ctypes.c_uint32(0))
            )
            assert attribute.value
            for at in range(0, len(data), MIB):
                part = data[at : at + MIB]
                done = self._lib.ntfs_attr_pwrite(
                    attribute, ctypes.c_int64(at), ctypes.c_int64(len(part)), part
                )
                assert done == len(part)
            self._lib.ntfs_attr_close(attribute)
        if reparse:
            size = ctypes.c_size_t(len(reparse))
            assert self._lib.ntfs_set_ntfs_reparse_data(node, reparse, size, 0) == 0
        assert self._lib.ntfs_inode_close(node) == 0

    def _make(self, name: str, kind: int) -> ctypes.c_void_p:
        parent, _, last = name.rpartition("/")
        if parent not in self._folders:
            made = self._make(parent, self.FOLDER)
            assert made.value
            # a node begins with its number
            self._folders[parent] = ctypes.cast(made, ctypes.POINTER(ctypes.c_uint64))[0]
            assert self._lib.ntfs_inode_close(made) == 0
        folder = ctypes.c_void_p(
            self._lib.ntfs_inode_open(self._volume, ctypes.c_uint64(self._folders[parent]))
        )
        text = last.encode("utf-16-le")
        node = ctypes.c_void_p(
            self._lib.ntfs_create(folder, 0, text, ctypes.c_uint8(len(text) // 2), kind)
        )
        assert node.value and self._lib.ntfs_inode_close(folder) == 0
        return node


def partitioned(path: Path, label: str, parts: Sequence[Path], script: str = "") -> Path:
    """A disk with a partition table (``gpt`` or ``dos``) and what lies in its partitions, each from
    a whole MiB on. ``script`` is sfdisk's, if the partitions are not to be made one for one.
    """
    starts, at = [], MIB
    for part in parts:
        starts.append(at)
        at += -(-part.stat().st_size // MIB) * MIB + MIB
    lines = script or "\n".join(
        f"start={start // SECTOR}, size={part.stat().st_size // SECTOR}"
        + (f", name=part-{number}" if label == "gpt" else "")
        for number, (start, part) in enumerate(zip(starts, parts, strict=True), 1)
    )
    run("sfdisk", "-q", blank(path, at + MIB), stdin=f"label: {label}\n{lines}\n".encode())
    with path.open("r+b") as disk:
        for start, part in zip(starts, parts, strict=True):
            lay(disk.fileno(), start, part.read_bytes())
    return path


def lay(descriptor: int, start: int, data: bytes) -> None:
    """Write what is not zero, so that the file stays sparse."""
    for at in range(0, len(data), EXTENT):
        if any(piece := data[at : at + EXTENT]):
            os.pwrite(descriptor, piece, start + at)


@dataclass(frozen=True)
class Lv:
    """A logical volume to be: its segments are lists of (physical volume, first extent), one for
    each stripe, and the number of extents.
    """

    name: str
    data: bytes
    segments: Sequence[tuple[Sequence[tuple[int, int]], int]]
    kind: str = "striped"


CHUNK = 4096  # bytes of a stripe


def lvm(paths: Sequence[Path], extents: int, volumes: Sequence[Lv], *, seqno: int = 7) -> None:
    """Physical volumes of one group ``vg``, each of so many extents of 64 KiB, and what lies in its
    logical volumes: by LVM's own on-disk format (lib/format_text/layout.h).
    """
    text = _group(len(paths), extents, volumes, seqno)
    for number, path in enumerate(paths):
        blank(path, MIB + extents * EXTENT)
        with path.open("r+b") as file:
            _label(file.fileno(), _id(number), MIB + extents * EXTENT, text)
    for volume in volumes:
        _fill([path.open("r+b") for path in paths], volume)


def _id(number: int) -> str:
    return f"{number:06d}" + "a" * 26


def _dashed(plain: str) -> str:
    cuts = (6, 4, 4, 4, 4, 4, 6)
    starts = [sum(cuts[:at]) for at in range(len(cuts))]
    return "-".join(plain[start : start + cut] for start, cut in zip(starts, cuts, strict=True))


def _group(count: int, extents: int, volumes: Sequence[Lv], seqno: int) -> bytes:
    physicals = "".join(
        f'pv{n} {{\nid = "{_dashed(_id(n))}"\ndevice = "/dev/sd{n}"\nstatus = ["ALLOCATABLE"]\n'
        f"flags = []\ndev_size = {(MIB + extents * EXTENT) // SECTOR}\npe_start = {MIB // SECTOR}\n"
        f"pe_count = {extents}\n}}\n"
        for n in range(count)
    )
    return (
        f'vg {{\nid = "{_dashed("g" * 32)}"\nseqno = {seqno}\nformat = "lvm2" # informational\n'
        f'status = ["RESIZEABLE", "READ", "WRITE"]\nflags = []\nextent_size = {EXTENT // SECTOR}\n'
        f"max_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\nphysical_volumes {{\n{physicals}}}\n\n"
        f"logical_volumes {{\n{''.join(map(_logical, volumes))}}}\n}}\n"
        '# Generated by LVM2 version 2.03.16(2)\ncontents = "Text Format Volume Group"\nversion = 1\n'
        'description = "Write from \\"lvcreate\\"."\ncreation_host = "guest"\ncreation_time = 1773086402\n'
    ).encode() + b"\0"


def _logical(volume: Lv) -> str:
    segments, start = "", 0
    for number, (stripes, count) in enumerate(volume.segments, 1):
        placed = ", ".join(f'"pv{pv}", {first}' for pv, first in stripes)
        size = f"stripe_size = {CHUNK // SECTOR}\n" if len(stripes) > 1 else ""
        segments += (
            f"segment{number} {{\nstart_extent = {start}\nextent_count = {count}\n\n"
            f'type = "{volume.kind}"\nstripe_count = {len(stripes)}\t# linear\n{size}\n'
            f"stripes = [\n{placed}\n]\n}}\n"
        )
        start += count
    return (
        f'{volume.name} {{\nid = "{_dashed("l" * 32)}"\nstatus = ["READ", "WRITE", "VISIBLE"]\n'
        f"flags = []\ncreation_time = 1773086402\nsegment_count = {len(volume.segments)}\n\n"
        f"{segments}}}\n"
    )


def crc(data: bytes) -> int:
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _label(descriptor: int, id: str, size: int, text: bytes) -> None:
    pv = id.encode() + struct.pack("<Q", size) + struct.pack("<QQ", MIB, 0) + bytes(16)
    pv += struct.pack("<QQ", 4096, MIB - 4096) + bytes(16)
    label = bytearray(SECTOR)
    label[32 : 32 + len(pv)] = pv
    struct.pack_into("<8sQII8s", label, 0, b"LABELONE", 1, 0, 32, b"LVM2 001")
    struct.pack_into("<I", label, 16, crc(bytes(label[20:])))
    os.pwrite(descriptor, label, SECTOR)
    # the text begins near the end of its area, and goes on behind the area's header
    area, at = MIB - 4096, MIB - 4096 - SECTOR
    head = bytearray(SECTOR)
    head[4:20] = b" LVM2 x[5A%r0N*>"
    struct.pack_into("<IQQ", head, 20, 1, 4096, area)
    struct.pack_into("<QQII", head, 40, at, len(text), crc(text), 0)
    struct.pack_into("<I", head, 0, crc(bytes(head[4:])))
    os.pwrite(descriptor, head, 4096)
    os.pwrite(descriptor, text[: area - at], 4096 + at)
    os.pwrite(descriptor, text[area - at :], 4096 + SECTOR)


def _fill(files: Sequence[object], volume: Lv) -> None:
    at = 0
    for stripes, count in volume.segments:
        length = count * EXTENT
        data = volume.data[at : at + length].ljust(length, b"\0")
        for number, (pv, first) in enumerate(stripes):
            mine = data
            if len(stripes) > 1:
                rows = range(number * CHUNK, length, CHUNK * len(stripes))
                mine = b"".join(data[row : row + CHUNK] for row in rows)
            lay(files[pv].fileno(), MIB + first * EXTENT, mine)  # type: ignore[attr-defined]
        at += length
    for file in files:
        file.close()  # type: ignore[attr-defined]
