"""LVM2: labels, the text of the metadata, and logical volumes that are linear or striped, over any
number of segments and physical volumes.

libvslvm reads only volumes of one segment on one physical volume, and a volume that was ever
extended has more.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backupsvc.archives.filesystems.blocks import Blocks, Joined, Part, Striped

SECTOR = 512
LABEL, KIND, MDA = b"LABELONE", b"LVM2 001", b" LVM2 x[5A%r0N*>"
CRC = 0xF597A6CF  # what LVM begins with (lib/misc/crc.h)
MAX_TEXT = 16 * 1024 * 1024
MAX_AREAS, MAX_DEPTH, MAX_SEGMENTS = 16, 16, 65536
TOKEN = re.compile(r'\s+|#[^\n]*|"((?:[^"\\]|\\.)*)"|(-?\d+)|([A-Za-z0-9_.+-]+)|([{}=\[\],])', re.S)


class Unreadable(Exception):
    """The metadata are not what LVM writes."""


@dataclass(frozen=True, slots=True)
class Physical:
    """A physical volume: its id, where it lies, and the newest metadata on it, None without."""

    id: str
    blocks: Blocks
    group: str | None
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Logical:
    """A logical volume; ``blocks`` is None if it cannot be read, and ``lack`` says why.

    ``first`` is the id of the physical volume that holds its begin, or that of the group's first.
    """

    name: str
    size: int
    first: str
    blocks: Blocks | None
    lack: str = ""


def physical(blocks: Blocks) -> Physical | None:
    """Given a disk or a partition, return the physical volume on it, None if there is none."""
    # the label may stand in any of the first four sectors
    for at in range(0, 4 * SECTOR, SECTOR):
        label = blocks.read(at, SECTOR)
        if len(label) == SECTOR and label.startswith(LABEL) and label[24:32] == KIND:
            break
    else:
        return None
    offset = struct.unpack_from("<I", label, 20)[0]
    if _crc(label[20:]) != struct.unpack_from("<I", label, 16)[0] or not 32 <= offset <= 400:
        return None
    name = label[offset : offset + 32].decode("ascii", "replace")
    best: tuple[str, Mapping[str, Any]] | None = None
    # behind it two lists of places, each ended by zeros: the second is that of the metadata
    lists, ended = label[offset + 40 :], 0
    for at in range(0, min(len(lists) - 15, 16 * MAX_AREAS), 16):
        start, size = struct.unpack_from("<QQ", lists, at)
        if not start:
            ended += 1
        if ended > 1:
            break
        if not start or not ended:
            continue
        try:
            found = _metadata(blocks, start, size)
        except Unreadable:
            continue
        if found and (best is None or _number(found[1], "seqno") > _number(best[1], "seqno")):
            best = found
    return Physical(name, blocks, *(best or (None, None)))


def logical(volumes: Sequence[Physical]) -> Iterator[Logical]:
    """Given all physical volumes that are there, yield the visible logical volumes of each group,
    by the newest metadata of the group.
    """
    there = {one.id: one.blocks for one in volumes}
    newest: dict[Any, tuple[str, Mapping[str, Any]]] = {}
    for one in volumes:
        if one.metadata is None or one.group is None:
            continue
        key = one.metadata.get("id")
        key = key if isinstance(key, str) else ""
        if key not in newest or _number(one.metadata, "seqno") > _number(newest[key][1], "seqno"):
            newest[key] = one.group, one.metadata
    for group, metadata in newest.values():
        for name, told in _section(metadata, "logical_volumes").items():
            if isinstance(told, dict) and "VISIBLE" in _list(told, "status"):
                yield _logical(group, metadata, str(name), told, there)


def _logical(
    group: str,
    metadata: Mapping[str, Any],
    name: str,
    told: Mapping[str, Any],
    there: Mapping[str, Blocks],
) -> Logical:
    physicals = _section(metadata, "physical_volumes")
    first = next(iter(_ids(physicals).values()), "")
    extent = _number(metadata, "extent_size") * SECTOR
    size, pieces = 0, []
    try:
        for at in range(1, _number(told, "segment_count") + 1):
            if at > MAX_SEGMENTS:
                raise Unreadable("it has too many segments")
            segment = _section(told, f"segment{at}")
            length = _number(segment, "extent_count") * extent
            if _number(segment, "start_extent") * extent != size or not length:
                raise Unreadable("its segments do not follow one another")
            size += length
            kind = segment.get("type")
            if kind != "striped":
                raise Unreadable(f"it is of LVM's type {kind}, which is not read")
            pieces.append(_striped(segment, physicals, extent, length, there))
            if at == 1:
                first = _ids(physicals).get(str(_list(segment, "stripes")[0]), first)
    except Unreadable as lack:
        return Logical(f"{group}/{name}", size, first, None, str(lack))
    return Logical(f"{group}/{name}", size, first, Joined(pieces))


def _striped(
    segment: Mapping[str, Any],
    physicals: Mapping[str, Any],
    extent: int,
    length: int,
    there: Mapping[str, Blocks],
) -> Striped:
    stripes = _list(segment, "stripes")
    count = _number(segment, "stripe_count")
    if len(stripes) != 2 * count or not count:
        raise Unreadable("its stripes cannot be understood")
    chunk = _number(segment, "stripe_size") * SECTOR if count > 1 else 0
    if count > 1 and (not chunk or length % count):
        raise Unreadable("its stripes cannot be understood")
    parts = []
    for name, start in zip(stripes[::2], stripes[1::2], strict=True):
        wanted = _ids(physicals).get(str(name), "")
        if wanted not in there:
            raise Unreadable("a physical volume of its group is missing: it lies on another disk")
        if not isinstance(start, int) or start < 0:
            raise Unreadable("its stripes cannot be understood")
        base = _number(_section(physicals, str(name)), "pe_start") * SECTOR
        parts.append(Part(there[wanted], base + start * extent, length // count))
    return Striped(parts, chunk, length)


def _ids(physicals: Mapping[str, Any]) -> dict[str, str]:
    """Each physical volume's id, by its name in the metadata; there it is written with dashes."""
    return {
        str(name): str(told.get("id", "")).replace("-", "")
        for name, told in physicals.items()
        if isinstance(told, dict)
    }


def _crc(data: bytes) -> int:
    return zlib.crc32(data, CRC ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _metadata(blocks: Blocks, start: int, size: int) -> tuple[str, Mapping[str, Any]] | None:
    """Given a metadata area, return the group's name and what it tells, None if it is empty. Raise
    Unreadable.
    """
    head = blocks.read(start, SECTOR)
    if (
        len(head) < SECTOR
        or head[4:20] != MDA
        or _crc(head[4:]) != struct.unpack_from("<I", head)[0]
    ):
        raise Unreadable("the metadata's header is broken")
    offset, length, crc = struct.unpack_from("<QQI", head, 40)
    if not offset:
        return None
    if not SECTOR <= offset < size or not 0 < length <= min(MAX_TEXT, size - SECTOR):
        raise Unreadable("the metadata lie outside of their area")
    text = blocks.read(start + offset, min(length, size - offset))
    if len(text) < length:  # the area is used round and round, behind its header
        text += blocks.read(start + SECTOR, length - len(text))
    if len(text) < length or _crc(text) != crc:
        raise Unreadable("the metadata's checksum is wrong")
    for name, told in parse(text.rstrip(b"\0").decode("utf-8", "replace")).items():
        if isinstance(told, dict):
            return name, told
    return None


def parse(text: str) -> dict[str, Any]:
    """Given LVM's text, return its sections as dictionaries. Raise Unreadable."""
    tokens = _tokens(text)
    found, closed = _read(tokens, 0)
    if closed:
        raise Unreadable("a bracket too many in LVM's metadata")
    return found


def _tokens(text: str) -> Iterator[tuple[str, Any]]:
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise Unreadable("LVM's metadata cannot be understood")
        at = match.end()
        string, number, word, sign = match.groups()
        if string is not None:
            yield "value", re.sub(r"\\(.)", r"\1", string)
        elif number is not None and not (
            text[at : at + 1].isalnum() or text[at : at + 1] in "_-+."
        ):
            # none of LVM's is so long, and int() refuses thousands of digits
            yield "value", int(number[:40])
        # a name may begin with digits
        elif number is not None:
            rest = re.compile(r"[A-Za-z0-9_.+-]*").match(text, at)
            at = rest.end() if rest else at
            yield "word", number + (rest[0] if rest else "")
        elif word is not None:
            yield "word", word
        elif sign is not None:
            yield sign, sign


def _read(tokens: Iterator[tuple[str, Any]], depth: int) -> tuple[dict[str, Any], bool]:
    """Return a section, and whether a closing bracket ended it."""
    if depth > MAX_DEPTH:
        raise Unreadable("LVM's metadata are nested too deep")
    found: dict[str, Any] = {}
    for kind, key in tokens:
        if kind == "}":
            return found, True
        if kind not in ("word", "value"):
            raise Unreadable("LVM's metadata cannot be understood")
        sign, _ = next(tokens, ("", None))
        if sign == "{":
            found[str(key)], closed = _read(tokens, depth + 1)
            if not closed:
                raise Unreadable("LVM's metadata end too soon")
        elif sign == "=":
            found[str(key)] = _value(tokens)
        else:
            raise Unreadable("LVM's metadata cannot be understood")
    return found, False


def _value(tokens: Iterator[tuple[str, Any]]) -> Any:
    kind, value = next(tokens, ("", None))
    if kind == "value":
        return value
    if kind != "[":
        raise Unreadable("LVM's metadata cannot be understood")
    values: list[Any] = []
    for kind, value in tokens:
        if kind == "]":
            return values
        if kind == "value":
            values.append(value)
        elif kind != ",":
            break
    raise Unreadable("LVM's metadata cannot be understood")


def _section(told: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = told.get(key)
    return value if isinstance(value, dict) else {}


def _list(told: Mapping[str, Any], key: str) -> list[Any]:
    value = told.get(key)
    return value if isinstance(value, list) else []


def _number(told: Mapping[str, Any], key: str) -> int:
    """A number that is told, 0 if it is not: what must not be 0 is looked at where it is used."""
    value = told.get(key)
    return value if isinstance(value, int) and 0 <= value < 2**63 else 0
