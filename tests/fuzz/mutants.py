"""Mutants: good archives with something wrong in one or several layers, the same ones for the same
number.

A layer is changed first, then the seals of the layers above are made anew (MD5 of VMA headers,
checksums of tar headers, zstd frames), so that what is changed deep inside is reached. At last, in
half of them, bytes of the finished file are changed.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from backports.zstd import CompressionParameter, compress

from tests.fuzz.reference import extents, tar_members
from tests.fuzz.seeds import Seed, seeds
from tests.unit.archives.build import sign
from tests.unit.archives.hostile import sum_up

U16, U32, U64 = 2**16 - 1, 2**32 - 1, 2**64 - 1


@dataclass(frozen=True)
class Mutant:
    """A file to be read. ``sealed`` is the stream that its seals were made for; ``hurt``: bytes
    were changed after that.
    """

    number: int
    what: str
    name: str
    data: bytes
    sealed: bytes
    hurt: bool


def mutant(number: int) -> Mutant:
    """Given a number, return its mutant."""
    dice = random.Random(number)
    seed = seeds()[number % len(seeds())]
    depth = dice.choice(("file", "file", "content", "content", "content", "both"))
    raw, said = seed.raw, [seed.label]
    if depth != "file":
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            raw = _within(seed, raw, dice, said)
    name, data = _wrapped(seed, raw, dice, said)
    before = data
    if depth != "content":
        for _ in range(dice.choice((1, 1, 2, 4))):
            data = _pick(dice, BLIND, said)(data, dice)
    return Mutant(number, ", ".join(said), name, data, raw, data != before)


def _within(seed: Seed, raw: bytes, dice: random.Random, said: list[str]) -> bytes:
    """Change the stream itself and seal it. A second change may find no structure any more: then
    bytes are changed.
    """
    try:
        return _pick(dice, VMA if seed.is_vma else TAR, said)(raw, dice)
    except (struct.error, ValueError, IndexError):
        return _pick(dice, BLIND, said)(raw, dice)


def _wrapped(seed: Seed, raw: bytes, dice: random.Random, said: list[str]) -> tuple[str, bytes]:
    """Return the file's name and the stream as it lies in the file: plain (VMA only) or in zstd
    frames of many kinds.
    """
    if seed.is_vma and dice.random() < 0.4:
        return seed.name, raw
    options: dict[int, int] = {
        CompressionParameter.compression_level: dice.choice((1, 3, 19)) if len(raw) < 10**5 else 1,
        CompressionParameter.checksum_flag: dice.random() < 0.85,
        CompressionParameter.content_size_flag: dice.random() < 0.5,
        CompressionParameter.window_log: dice.choice((10, 17, 21, 27)),
    }
    cuts = sorted(dice.randrange(len(raw) + 1) for _ in range(dice.choice((0, 0, 0, 1, 3))))
    skippable = struct.pack("<II", 0x184D2A50 + dice.randrange(16), 5) + b"hello"
    parts = [
        compress(raw[a:b], options=options)
        for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)
    ]
    said.append(f"zstd in {len(parts)} frames")
    return f"{seed.name}.zst", (skippable if dice.random() < 0.1 else b"").join(parts)


Change = Callable[[bytes, random.Random], bytes]


def _pick(dice: random.Random, changes: tuple[Change, ...], said: list[str]) -> Change:
    change = dice.choice(changes)
    said.append(change.__name__.strip("_"))
    return change


def _span(data: bytes, dice: random.Random) -> tuple[int, int]:
    """Return where a stretch of the data starts and ends, mostly a short one."""
    at = dice.randrange(len(data) + 1)
    return at, min(len(data), at + dice.choice((1, 1, 4, 16, 512, 4096, 70_000)))


# --- bytes of whatever is there -------------------------------------------------------------------


def _flipped(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 3, 20)) if data else 0):
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _flipped_early(data: bytes, dice: random.Random) -> bytes:
    return _flipped(data[:64], dice) + data[64:]


def _truncated(data: bytes, dice: random.Random) -> bytes:
    return data[
        : dice.choice((dice.randrange(len(data) + 1), max(0, len(data) - dice.randrange(1, 9))))
    ]


def _cut_out(data: bytes, dice: random.Random) -> bytes:
    start, end = _span(data, dice)
    return data[:start] + data[end:]


def _zeroed(data: bytes, dice: random.Random) -> bytes:
    start, end = _span(data, dice)
    return data[:start] + bytes(end - start) + data[end:]


def _overwritten(data: bytes, dice: random.Random) -> bytes:
    start, end = _span(data, dice)
    return data[:start] + dice.randbytes(end - start) + data[end:]


def _doubled(data: bytes, dice: random.Random) -> bytes:
    start, end = _span(data, dice)
    return data[:end] + data[start:end] + data[end:]


def _appended(data: bytes, dice: random.Random) -> bytes:
    return data + dice.choice(
        (b"\0", bytes(512), bytes(1024), dice.randbytes(dice.randrange(1, 2000)), data[:5000], data)
    )


BLIND: tuple[Change, ...] = (
    _flipped,
    _flipped,
    _flipped_early,
    _truncated,
    _cut_out,
    _zeroed,
    _overwritten,
    _doubled,
    _appended,
)

# --- a VMA's fields, and its MD5 anew -------------------------------------------------------------


def _number(dice: random.Random, old: int, most: int) -> int:
    """Return another number: a neighbour, a power of two, an end of the range, or any."""
    near = old + dice.choice((-2, -1, 1, 2, 58, 512, 4096, 65536))
    return (
        dice.choice(
            (
                near,
                near,
                0,
                1,
                most,
                most // 2 + 1,
                1 << dice.randrange(most.bit_length()),
                dice.randrange(most),
            )
        )
        & most
    )


def _header(raw: bytes) -> bytearray:
    size = struct.unpack_from(">I", raw, 56)[0]
    if not 12288 < size <= min(len(raw), 10**6):
        raise ValueError("no header")
    return bytearray(raw[:size])


def _header_field(raw: bytes, dice: random.Random) -> bytes:
    header = _header(raw)
    rest = raw[len(header) :]
    slot, number = dice.choice((0, 0, 0, 1, 2, 255)), dice.choice((1, 1, 1, 2, 2, 3, 0, 254, 255))
    at, form, most = dice.choice(
        (
            (4, ">I", U32),
            (24, ">Q", U64),
            (48, ">I", U32),
            (52, ">I", U32),
            (56, ">I", U32),
            (2044 + 4 * slot, ">I", U32),
            (3068 + 4 * slot, ">I", U32),
            (4096 + 32 * number, ">I", U32),
            (4104 + 32 * number, ">Q", U64),
            (4104 + 32 * number, ">Q", U64),
        )
    )
    struct.pack_into(form, header, at, _number(dice, struct.unpack_from(form, header, at)[0], most))
    return sign(header, 32) + rest


def _names(raw: bytes, dice: random.Random) -> bytes:
    """Change bytes of the blob buffer: lengths, names, configs."""
    header = _header(raw)
    rest = raw[len(header) :]
    used = struct.unpack_from(">I", header, 52)[0]
    for _ in range(dice.choice((1, 1, 2, 5))):
        header[12288 + dice.randrange(min(used, len(header) - 12288))] = dice.choice(
            (0, 1, 46, 47, 10, 255, dice.randrange(256))
        )
    return sign(header, 32) + rest


def _device_moved(raw: bytes, dice: random.Random) -> bytes:
    """Give a device another number, or a second one."""
    header = _header(raw)
    rest = raw[len(header) :]
    source, target = 4096 + 32 * dice.choice((1, 2)), 4096 + 32 * dice.choice((1, 2, 3, 254, 255))
    header[target : target + 32] = header[source : source + 32]
    if dice.random() < 0.5:
        header[source : source + 32] = bytes(32)
    return sign(header, 32) + rest


def _extent_field(raw: bytes, dice: random.Random) -> bytes:
    at, _ = dice.choice(list(extents(raw)))
    header = bytearray(raw[at : at + 512])
    slot = 40 + 8 * dice.choice((0, 0, 1, 2, 5, 57, 58))
    where, form, most = dice.choice(
        (
            (6, ">H", U16),
            (4, ">H", U16),
            (slot, ">H", U16),
            (slot + 3, ">B", 255),
            (slot + 4, ">I", U32),
            (slot + 4, ">I", U32),
        )
    )
    struct.pack_into(
        form, header, where, _number(dice, struct.unpack_from(form, header, where)[0], most)
    )
    # the count of blocks as the masks say it, and as many blocks: another good extent
    if dice.random() < 0.5:
        masks = (mask for mask, _, device, _ in struct.iter_unpack(">HBBI", header[40:]) if device)
        blocks = sum(mask.bit_count() for mask in masks)
        old = struct.unpack_from(">H", raw, at + 6)[0] * 4096
        struct.pack_into(">H", header, 6, blocks)
        data = raw[at + 512 : at + 512 + old][: blocks * 4096].ljust(blocks * 4096, b"\x01")
        return raw[:at] + sign(header, 24) + data + raw[at + 512 + old :]
    return raw[:at] + sign(header, 24) + raw[at + 512 :]


def _extents_moved(raw: bytes, dice: random.Random) -> bytes:
    """Drop, double, swap or empty extents, or put in one of nothing."""
    found = [raw[at:end] for at, end in extents(raw)]
    head, at = raw[: struct.unpack_from(">I", raw, 56)[0]], dice.randrange(len(found))
    change = dice.randrange(5)
    if change == 0:
        del found[at]
    elif change == 1:
        found.insert(at, found[dice.randrange(len(found))])
    elif change == 2:
        dice.shuffle(found)
    elif change == 3:
        empty = bytearray(found[at][:512])
        empty[6:8], empty[40:] = bytes(2), bytes(472)
        found.insert(at, sign(empty, 24))
    else:
        del found[at:]
    return head + b"".join(found)


def _payload(raw: bytes, dice: random.Random) -> bytes:
    """Change a disk's content: another good archive, whose disks must come out just so."""
    at, end = dice.choice([(at, end) for at, end in extents(raw) if end > at + 512])
    where = dice.randrange(at + 512, end)
    return raw[:where] + dice.randbytes(1) + raw[where + 1 :]


VMA: tuple[Change, ...] = (
    *(_header_field, _header_field, _names, _device_moved),
    *(_extent_field, _extent_field, _extent_field, _extents_moved, _payload, *BLIND[2:5]),
)

# --- a tar's fields, and its checksums anew -------------------------------------------------------

FIELDS = (
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (124, 12),
    (136, 12),
    (156, 1),
    (156, 1),
    (157, 100),
    (257, 8),
    (345, 155),
)
VALUES = (
    *(
        b"0",
        b"1",
        b"5",
        b"7",
        b"L",
        b"K",
        b"x",
        b"g",
        b"S",
        b"V",
        b"M",
        b"D",
        b"\0",
        b"zz",
        b"-1",
        b"777777777777",
        b"00000001000\0",
    ),
    *(
        b"\x80" + b"\xff" * 11,
        b"\x80" + bytes(10) + b"\x07",
        b"\xff" * 12,
        b"../../evil",
        b"/etc/passwd",
        b"a/../b",
        b"x" * 155,
    ),
)


def _member_field(raw: bytes, dice: random.Random) -> bytes:
    at, _ = dice.choice(tar_members(raw))
    header = bytearray(raw[at : at + 512])
    start, size = dice.choice(FIELDS)
    old = bytes(header[start : start + size])
    value = dice.choice((*VALUES, _flipped(old, dice), _flipped(old, dice)))[:size]
    header[start : start + size] = value.ljust(size, b"\0")
    return raw[:at] + sum_up(header) + raw[at + 512 :]


def _member_data(raw: bytes, dice: random.Random) -> bytes:
    """Change the data of a member, which for an extension are its records or its name."""
    at, end = dice.choice([(at, end) for at, end in tar_members(raw) if end > at + 512])
    data = dice.choice((_flipped, _zeroed, _overwritten))(raw[at + 512 : end], dice)
    return raw[: at + 512] + data + raw[end:]


def _records(raw: bytes, dice: random.Random) -> bytes:
    """Put a pax header, global or not, or a long name before a member."""
    at = dice.choice(tar_members(raw))[0]
    key = dice.choice(
        (
            b"path",
            b"size",
            b"linkpath",
            b"mtime",
            b"uid",
            b"comment",
            b"GNU.sparse.name",
            b"k" * 900,
            b"",
        )
    )
    value = dice.choice(
        (
            b"",
            b"0",
            b"12",
            b"-1",
            b"99999999999999999999999",
            b"../x",
            b"y" * 300,
            b"z/" * 3000,
            b"a\0b",
            b"\xff\xfe",
        )
    )
    length = len(key) + len(value) + 3
    digits = next(count for count in range(1, 9) if len(str(length + count)) == count)
    data = b"%d %s=%s\n" % (length + digits + dice.choice((0, 0, 0, 0, 1, -1, 99)), key, value)
    kind = dice.choice((b"x", b"x", b"x", b"g", b"L", b"K"))
    data = data if kind in (b"x", b"g") else value + b"\0"
    header = bytearray(512)
    struct.pack_into("100s8s8s8s12s12s8xc100s8s", header, 0, b"ext", b"0000644\0", *[b"0000000\0"] * 2, b"%011o\0" % len(data),
                     b"%011o\0" % 0, kind, b"", b"ustar\x0000")  # fmt: skip
    return raw[:at] + sum_up(header) + data + bytes(-len(data) % 512) + raw[at:]


def _members_moved(raw: bytes, dice: random.Random) -> bytes:
    found = [raw[at:end] for at, end in tar_members(raw)]
    rest, at, change = raw[sum(map(len, found)) :], dice.randrange(len(found)), dice.randrange(4)
    if change == 0:
        del found[at]
    elif change == 1:
        found.insert(at, found[dice.randrange(len(found))])
    elif change == 2:
        dice.shuffle(found)
    else:
        found, rest = found[:at], dice.choice((b"", rest, bytes(512)))
    return b"".join(found) + rest


TAR: tuple[Change, ...] = (
    _member_field,
    _member_field,
    _member_field,
    _member_data,
    _records,
    _records,
    _members_moved,
    *BLIND[2:5],
)
