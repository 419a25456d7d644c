"""Small files that ask for much: each is a few hundred kilobytes at most and claims, or swells to,
a thousand times as much.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Iterable

from backports.zstd import CompressionParameter, compress

from .build import CLUSTER, CTIME, UUID, Vma, entry, extent, pattern, sign, zst

CONF = b"hostname: web\n"
VM, CT = "vzdump-qemu-108-2026_03_09-21_00_02.vma", "vzdump-lxc-200-2026_03_09-21_00_02.tar"
MIB = 1024 * 1024


def scattered(step: int, extents: int, size: int = 2**48) -> bytes:
    """Return a VMA of two huge disks whose clusters come ``step`` apart, so that no two of them are
    neighbours.
    """
    numbers = [cluster % (size // CLUSTER) for cluster in range(0, extents * 59 * step, step)]
    disks = {"drive-scsi0": b"", "drive-scsi1": b""}
    each = [(1 + at % 2, number, 0, b"") for at, number in enumerate(numbers)]
    plan = [each[at : at + 59] for at in range(0, len(each), 59)]
    return Vma(disks, sizes=dict.fromkeys(disks, size)).with_extents(plan).bytes()


def repeated(times: int) -> bytes:
    """Return a VMA of one extent again and again."""
    return Vma({"drive-scsi0": bytes(CLUSTER)}).with_extents([[(1, 0, 0, b"")]] * times).bytes()


def overlapping() -> bytes:
    """Return a VMA whose 254 device names and 256 configs all point into one another, each of 64
    KiB.
    """
    size = MIB
    header = bytearray(size)
    struct.pack_into(
        ">4sI16sq16xIII", header, 0, b"VMA\0", 1, UUID, CTIME, 12288, size - 12288, size
    )
    header[12288:] = b"\xff" * (size - 12288)
    header[12288 + 50_000] = 0x41  # at another place of each of them, so that they differ
    for slot in range(256):
        struct.pack_into(">I", header, 2044 + 4 * slot, 1 + slot)
        struct.pack_into(">I", header, 3068 + 4 * slot, 1000 + slot)
    for number in range(1, 255):
        struct.pack_into(">I4xQ", header, 4096 + 32 * number, 2000 + number, CLUSTER)
    return sign(header, 32)


def long_texts() -> bytes:
    """Return a VMA of fifteen configs of 64 KiB, none of whose bytes is text; the largest that its
    header has room for.
    """
    configs = {f"file{number}": b"\xff" * 65535 for number in range(15)}
    return Vma({"drive-scsi0": pattern(CLUSTER)}, configs=configs).bytes()


def repeated_reasons() -> bytes:
    """Return a VMA whose config maps two thousand disks to one device, the first of them under a
    very long name.
    """
    lines = [b"#qmdump#map:scsi0" + b"x" * 30_000 + b":drive-scsi0::"]
    lines += [b"#qmdump#map:a%d:drive-scsi0::" % number for number in range(1100)]
    return Vma(
        {"drive-scsi0": pattern(CLUSTER)}, configs={"qemu-server.conf": b"\n".join(lines)}
    ).bytes()


def blanks() -> bytes:
    """Return a VMA whose config is one line, of a word, 64,000 blanks and another word, as vzdump's
    lines of disks and as any.
    """
    texts = (b"#qmdump#map:scsi0:x" + b" " * 32_000 + b"x:\n", b"name: x" + b" " * 33_000 + b"x\n")
    return Vma(
        {"drive-scsi0": pattern(CLUSTER)}, configs={"qemu-server.conf": b"".join(texts)}
    ).bytes()


def dated(ctime: int) -> bytes:
    """Return a good VMA whose header holds this time."""
    vma = Vma({"drive-scsi0": pattern(CLUSTER)})
    header = bytearray(vma.header())
    struct.pack_into(">q", header, 24, ctime)
    return sign(header, 32) + extent([entry(1, 0, pattern(CLUSTER))])


def named(device: str, config: str = "qemu-server.conf") -> bytes:
    """Return a good VMA of one disk whose device and config have these names."""
    text = f"scsi0: local:108/x.raw\n#qmdump#map:scsi0:{device}:local:raw:\n"
    return Vma(
        {device: pattern(CLUSTER)},
        configs={"qemu-server.conf": text.encode(), config: text.encode()},
    ).bytes()


def tar(members: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """Given members as (name, type, data), return a tar of them after a container's config."""
    out = io.BytesIO()
    for name, kind, data in [(b"./etc/vzdump/pct.conf", b"0", CONF), *members]:
        out.write(member(name, kind, len(data)) + data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024)


def member(name: bytes, kind: bytes, size: int, link: bytes = b"") -> bytes:
    """Return a member's header in GNU's dialect, its checksum right."""
    header = bytearray(512)
    struct.pack_into("100s8s8s8s12s12s8xc100s8s", header, 0, name, b"0000644\0", *[b"0000000\0"] * 2, b"%011o\0" % size,
                     b"%011o\0" % CTIME, kind, link, b"ustar  \0")  # fmt: skip
    return sum_up(header)


def sum_up(header: bytearray) -> bytes:
    """Return a tar header with its checksum where it goes."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def many_configs() -> bytes:
    return tar((b"./etc/vzdump/%d.conf" % number, b"0", bytes(MIB)) for number in range(400))


def short_records() -> bytes:
    return tar([(b"x", b"x", b"5 a=\n" * (4 * MIB // 5)), (b"./f", b"0", b"")])


def distinct_records() -> bytes:
    records = b"".join(b"15 k%07d=vv\n" % number for number in range(MIB // 2))
    return tar([(b"x", b"x", records), (b"./f", b"0", b"")])


def long_names() -> bytes:
    return tar([(b"x", b"L", b"\xff" * (15 * MIB)) for _ in range(4)] + [(b"./f", b"0", b"")])


def long_value() -> bytes:
    value = b" path=" + b"\xff" * (14 * MIB) + b"\n"
    return tar([(b"x", b"x", b"%d" % (len(value) + 8) + value), (b"./f", b"0", b"")])


def pieces(count: int, separator: bytes) -> bytes:
    """Return the text of a map of so many pieces of no length."""
    return separator.join(b"%d%s0" % (number, separator) for number in range(count))


def record(key: bytes, value: bytes) -> bytes:
    """Return a pax record."""
    rest = len(key) + len(value) + 3
    size = next(rest + digits for digits in range(1, 12) if len(str(rest + digits)) == digits)
    return b"%d %s=%s\n" % (size, key, value)


def long_map_in_a_record(count: int = MIB) -> bytes:
    records = record(b"GNU.sparse.size", b"%d" % (count - 1)) + record(
        b"GNU.sparse.numblocks", b"%d" % count
    )
    return tar(
        [
            (b"x", b"x", records + record(b"GNU.sparse.map", pieces(count, b","))),
            (b"./f", b"0", b""),
        ]
    )


def long_map_before_data(count: int = MIB) -> bytes:
    told = {b"major": b"1", b"minor": b"0", b"realsize": b"%d" % (count - 1)}
    records = b"".join(record(b"GNU.sparse." + key, value) for key, value in told.items())
    text = b"%d\n%s\n" % (count, pieces(count, b"\n"))
    return tar([(b"x", b"x", records), (b"./f", b"0", text + bytes(-len(text) % 512))])


def long_map_in_blocks(blocks: int = MIB // 21) -> bytes:
    header = bytearray(member(b"./f", b"S", 0))
    each = [b"%011o\0%011o\0" % (number, 0) for number in range(4 + 21 * blocks)]
    header[386:495] = b"".join(each[:4]) + b"\1" + b"%011o\0" % (len(each) - 1)
    map = [b"".join(each[at : at + 21]) + b"\1" + bytes(7) for at in range(4, len(each), 21)]
    map[-1] = map[-1][:504] + bytes(8)
    return tar([])[:-1024] + sum_up(header) + b"".join(map) + bytes(1024)


def many_links(count: int = 200_000) -> bytes:
    headers = [
        member(b"./%d" % number, b"1", 0, b"./%d" % (number - 1)) for number in range(1, count)
    ]
    return tar([(b"./0", b"0", b"")])[:-1024] + b"".join(headers) + bytes(1024)


def wide_window(data: bytes = bytes(160 * MIB)) -> bytes:
    options: dict[int, int] = {
        CompressionParameter.window_log: 27,
        CompressionParameter.checksum_flag: True,
        CompressionParameter.content_size_flag: False,
    }
    return compress(data, options=options)


FILES: dict[str, Callable[[], tuple[str, bytes]]] = {
    "clusters scattered over pages": lambda: (f"{VM}.zst", zst(scattered(4097, 2600))),
    "clusters scattered farther": lambda: (f"{VM}.zst", zst(scattered(32771, 2600))),
    "blobs that overlap": lambda: (f"{VM}.zst", zst(overlapping())),
    "configs of no text": lambda: (f"{VM}.zst", zst(long_texts())),
    "one long name in a thousand reasons": lambda: (f"{VM}.zst", zst(repeated_reasons())),
    "a config of blanks": lambda: (VM, blanks()),
    "a time that no calendar has": lambda: (VM, dated(2**62)),
    "four hundred configs": lambda: (f"{CT}.zst", zst(many_configs())),
    "a million pax records": lambda: (f"{CT}.zst", zst(short_records())),
    "half a million pax keys": lambda: (f"{CT}.zst", zst(distinct_records())),
    "long names one after the other": lambda: (f"{CT}.zst", zst(long_names())),
    "a pax path of 14 MiB": lambda: (f"{CT}.zst", zst(long_value())),
    "a map of a million pieces in a record": lambda: (f"{CT}.zst", zst(long_map_in_a_record())),
    "a map of a million pieces before the data": lambda: (f"{CT}.zst", zst(long_map_before_data())),
    "a map of a million pieces in blocks": lambda: (f"{CT}.zst", zst(long_map_in_blocks())),
    "a hard link to a hard link, and so on": lambda: (f"{CT}.zst", zst(many_links())),
    "a window of 128 MiB": lambda: (f"{VM}.zst", wide_window()),
    "a hundred thousand gzip members": lambda: (f"{VM}.gz", gzip.compress(b"") * 100_000),
}


def dialects() -> dict[str, bytes]:
    """Return good container archives by the dialect of tar."""
    found = {}
    for word, number in (
        ("ustar", tarfile.USTAR_FORMAT),
        ("gnu", tarfile.GNU_FORMAT),
        ("pax", tarfile.PAX_FORMAT),
    ):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=number) as packed:
            for name, data in (("./etc/vzdump/pct.conf", CONF), ("./bin/sh", b"\x7fELF" * 500)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                packed.addfile(info, io.BytesIO(data))
        found[word] = out.getvalue()
    return found
