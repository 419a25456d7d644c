"""The files of an encrypted copy: segments of an archive, each encrypted by itself, what stood
beside it, and the manifest that makes them a copy.

PVE lists a file as an archive by how its name ends (pve-facts 5.1); none of these names ends so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.copy_manifest import numbered, sidecar_names

FORMAT = 1
END = ".age"
MANIFEST_END = ".age.json"
LENGTH = 1 << 30  # bytes of the archive in a segment
MOST_SEGMENTS = 10_000
MOST = 4 << 20  # bytes of a manifest; a longer one is none
_LONGEST_LINE = 16 * 1024
# what a segment's encrypted bytes may have beyond the plain ones: a header, 16 bytes each 64 KiB
_OVERHEAD = 64 * 1024
_LARGEST = 1 << 50  # bytes of an archive; PVE's disks end before that
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~+-]{0,239}")
_RECIPIENT = re.compile(r"[a-z0-9]{1,200}")
_VOLID = re.compile(r"[^\x00-\x1f]{1,1024}")
_NUMBER = re.compile(r"[2-9]|[1-9][0-9]{1,5}")
_MOST_ITEMS = 64  # recipients, and files beside the archive
_PACKED = re.compile(r"([0-9]{1,16})(?:~([2-9]|[1-9][0-9]{1,5}))?(?::([0-9a-f]{64}))?")


@dataclass(frozen=True, slots=True)
class Segment:
    """An encrypted file of ``size`` bytes with this SHA-256. It holds ``length`` bytes, of a segment
    the archive's from ``start`` on.
    """

    file: str
    size: int
    sha256: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class SegmentManifest:
    """What makes encrypted files a copy of the archive ``volid``, whose file's name is ``file``, and
    which has ``size`` bytes with this SHA-256.

    ``segments`` are in the archive's order, without a gap; ``sidecars`` hold what stood beside it,
    by the name that PVE has for it. All were encrypted to ``recipients``, and were read back there.
    """

    volid: str
    file: str
    size: int
    sha256: str
    recipients: tuple[str, ...]
    segments: tuple[Segment, ...]
    sidecars: tuple[tuple[str, Segment], ...] = ()

    def text(self) -> bytes:
        """Return it as it is written: a line of JSON, then one for each file. It is whole only if
        all of them are there.
        """
        first = {
            "encrypted_copy": FORMAT,
            "volid": self.volid,
            "file": self.file,
            "size": self.size,
            "sha256": self.sha256,
            "recipients": list(self.recipients),
            "segments": len(self.segments),
            "sidecars": [name for name, _ in self.sidecars],
        }
        files = [*self.segments, *(one for _, one in self.sidecars)]
        lines = [
            {
                "file": one.file,
                "size": one.size,
                "sha256": one.sha256,
                "start": one.start,
                "length": one.length,
            }
            for one in files
        ]
        return b"".join(json.dumps(one).encode() + b"\n" for one in (first, *lines))

    def files(self) -> dict[str, int]:
        """Return all its files but itself, with their sizes."""
        return {one.file: one.size for one in (*self.segments, *(one for _, one in self.sidecars))}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No manifest, and why: a sentence's end. ``later``: it may be one of another release."""

    why: str
    later: bool = False


def read_manifest(text: bytes) -> SegmentManifest | Unreadable:
    """Given what a manifest's file holds, return it, or why it is none. Nothing in what is returned
    leads out of its folder, is larger than an archive may be, or leaves a byte of it out.
    """
    if len(text) > MOST:
        return Unreadable(f"is longer than {MOST} bytes")
    lines = text.split(b"\n", MOST_SEGMENTS + 16)
    # what is cut short lacks the end of its last line
    if lines.pop() != b"" or not lines:
        return Unreadable("is cut short")
    first = _line(lines[0])
    if first is None or "encrypted_copy" not in first:
        return Unreadable("is no manifest of an encrypted copy")
    if first["encrypted_copy"] != FORMAT or type(first["encrypted_copy"]) is not int:
        return Unreadable(f"is of another version than {FORMAT}", later=True)
    try:
        return _read(first, lines[1:])
    except _Wrong as wrong:
        return Unreadable(str(wrong))


class _Wrong(Exception):
    """What is wrong with a manifest."""


def _read(first: Mapping[str, Any], lines: list[bytes]) -> SegmentManifest:
    volid = _text(first.get("volid"), _VOLID, "names no archive")
    # a name, not a path: nothing leads out of the folder
    file = _text(first.get("file"), _NAME, "names no file in its own folder")
    size = _count(first.get("size"), _LARGEST, "tells no size that an archive can have")
    sha256 = _text(first.get("sha256"), _SHA256, "tells no SHA-256 of the archive")
    recipients = tuple(
        _text(one, _RECIPIENT, "tells no recipients")
        for one in _items(first.get("recipients"), "tells no recipients")
    )
    _must(bool(recipients), "tells no recipients")
    foreign = "names other files beside the archive than PVE has there"
    beside = [_text(one, _NAME, foreign) for one in _items(first.get("sidecars"), foreign)]
    _must(len(set(beside)) == len(beside) and set(beside) <= set(sidecar_names(file)), foreign)
    count = _count(first.get("segments"), MOST_SEGMENTS, "tells no number of segments")
    _must(0 < count == len(lines) - len(beside), "is cut short, or has too much in it")
    files = []
    wrong = "has a line that describes no segment"
    for line in lines:
        told = _line(line) or {}
        held, start, length = (
            _count(told.get(key), 2 * _LARGEST, wrong) for key in ("size", "start", "length")
        )
        its_file = _text(told.get("file"), _NAME, wrong)
        # age adds a header, and 16 bytes to each 64 KiB: what grew by more holds something else
        _must(length < held <= length + length // 1024 + _OVERHEAD, "tells sizes that cannot be")
        its_sha256 = _text(told.get("sha256"), _SHA256, wrong)
        files.append(Segment(its_file, held, its_sha256, start, length))
    segments, sidecars = tuple(files[:count]), tuple(zip(beside, files[count:], strict=True))
    start = 0
    for number, one in enumerate(segments, 1):
        _must(_is_attempt(segment_name(file, number), one.file), "names a segment wrongly")
        _must(one.start == start and (one.length > 0 or size == 0), "has a gap between segments")
        start += one.length
    _must(start == size, "does not cover the archive")
    for name, one in sidecars:
        _must(_is_attempt(f"{name}{END}", one.file), "names a file beside the archive wrongly")
    return SegmentManifest(volid, file, size, sha256, recipients, segments, sidecars)


def _line(line: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(line) if len(line) <= _LONGEST_LINE else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _must(holds: bool, why: str) -> None:
    if not holds:
        raise _Wrong(why)


def _text(value: object, pattern: re.Pattern[str], why: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _Wrong(why)
    return value


def _count(value: object, most: int, why: str) -> int:
    # True is an int to isinstance
    if type(value) is not int or not 0 <= value <= most:
        raise _Wrong(why)
    return value


def _items(value: object, why: str) -> list[object]:
    if not isinstance(value, list) or len(value) > _MOST_ITEMS:
        raise _Wrong(why)
    return value


def _is_attempt(name: str, file: str) -> bool:
    """Whether a file has a name, numbered or not, as ``copy_manifest.attempts`` finds it."""
    return file == name or (
        file.startswith(f"{name}~") and bool(_NUMBER.fullmatch(file[len(name) + 1 :]))
    )


# --- names ----------------------------------------------------------------------------------------


def segment_name(name: str, number: int) -> str:
    """Given an archive's name and a segment's number from 1, return the segment's name."""
    return f"{name}.{number:05d}{END}"


def manifest_name(name: str) -> str:
    """Given an archive's name, return that of the manifest of its encrypted copy."""
    return f"{name}{MANIFEST_END}"


def own_files(name: str, files: Iterable[str]) -> list[str]:
    """Given an archive's name and those of files, return the files of its encrypted copy, sorted:
    segments, what stood beside it, and manifests, of whichever attempt.
    """
    beside = "|".join(re.escape(one) for one in sidecar_names(name))
    pattern = re.compile(
        rf"(?:{re.escape(name)}\.[0-9]{{5}}|{beside}){re.escape(END)}(?:~(?:[2-9]|[1-9][0-9]{{1,5}}))?"
        rf"|{re.escape(manifest_name(name))}(?:~(?:[2-9]|[1-9][0-9]{{1,5}}))?"
    )
    return sorted(one for one in files if pattern.fullmatch(one))


def ranges(size: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Given an archive's size and that of a segment's plain bytes, yield each segment's number from
    1, where it begins, and how many bytes are in it. Also nothing at all has a segment.
    """
    for number, start in enumerate(range(0, max(size, 1), length), 1):
        yield number, start, min(length, size - start)


# --- as the catalog keeps them ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment as the catalog knows it: its file and size, and its SHA-256 while the copy is under
    way ("" afterwards: the manifest has it).
    """

    file: str
    size: int
    sha256: str = field(default="")


def packed(segments: Iterable[Segment | Stored], *, hashes: bool) -> str:
    """Given an archive's segments in their order, return them as the catalog keeps them: each one's
    size, which attempt it was, and its SHA-256 if ``hashes``.
    """
    return " ".join(
        f"{one.size}"
        + (f"~{found[1]}" if (found := re.search(r"~([0-9]+)$", one.file)) else "")
        + (f":{one.sha256}" if hashes else "")
        for one in segments
    )


def unpacked(name: str, text: str) -> list[Stored]:
    """Given an archive's name and what ``packed`` made of its segments, return them; none if that
    is nothing of the kind.
    """
    found = [_PACKED.fullmatch(one) for one in text.split()]
    if not all(found):
        return []
    return [
        Stored(numbered(segment_name(name, number), int(one[2] or 1)), int(one[1]), one[3] or "")
        for number, one in enumerate(found, 1)
        if one
    ]
