"""What a tar's extension members say of the member behind them: pax records (POSIX) and GNU's long
names, in little memory.

Records are read one by one from the stream. What is not needed is passed over, so neither their
number nor their length matters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backupsvc.archives.sparse import Sparse
from backupsvc.archives.streams import ByteStream, Damage

BLOCK = 512
PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK = b"x", b"g", b"L", b"K"
KINDS = frozenset((PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK))
NAMES = (b"path", b"linkpath", b"GNU.sparse.name")
SPARSE, MAP = b"GNU.sparse.", b"GNU.sparse.map"
NUMBERS = re.compile(
    rb"size|uid|gid|[acm]time|GNU\.sparse\.(?:major|minor|size|realsize|numblocks|offset|numbytes)"
)
NUMBER = re.compile(rb"(-?\d{1,20})(?:\.\d+)?")
TIMES = (b"atime", b"ctime", b"mtime")
OWNERS = (b"uid", b"gid")
# bytes of a path that Linux takes (PATH_MAX, with its NUL); one byte more tells that it is longer
MAX_NAME = 4095
# bytes in which a record's length and key stand: that of an extended attribute has up to 255,
# %-escaped
HEAD = 1024


@dataclass(slots=True)
class Told:
    """What is known so far of the next member: its name, what it links to, its size in the stream,
    and what it says of its holes.

    None or b"": not told.
    """

    name: bytes = b""
    link: bytes = b""
    sparse_name: bytes = b""
    size: int | None = None
    sparse: Sparse | None = None

    def holes(self) -> Sparse:
        """Return what is told of the holes, begun where nothing was told yet."""
        self.sparse = self.sparse or Sparse()
        return self.sparse


def read(stream: ByteStream, kind: bytes, length: int, told: Told) -> None:
    """Given a stream behind an extension's header, its kind and its length, read it and add to
    ``told``. Raise Damage.
    """
    start = stream.offset
    if kind in (PAX, PAX_GLOBAL):
        for key, value in _records(stream, length, told):
            if kind == PAX_GLOBAL:
                raise _broken(
                    start,
                    f"a global pax header sets {key.decode()} of all members, as no vzdump does",
                )
            if key == b"path":
                told.name = value
            elif key == b"linkpath":
                told.link = value
            elif key == b"GNU.sparse.name":
                told.sparse_name = value
            else:
                found = NUMBER.fullmatch(value)
                most = 2**32 if key in OWNERS else 2**63
                # only a time may be negative, or have a fraction
                if found is None or not (-most if key in TIMES else 0) <= int(found[1]) < most:
                    raise _broken(start)
                if key not in TIMES and not value.isdigit():
                    raise _broken(start)
                if key == b"size":
                    told.size = int(value)
                elif key.startswith(SPARSE):
                    told.holes().tell(key.removeprefix(SPARSE).decode(), int(value))
    else:
        name = _some(stream, length).partition(b"\0")[0]
        if kind == LONG_NAME:
            told.name = name
        else:
            told.link = name
    skip(stream, -length % BLOCK)


def skip(stream: ByteStream, size: int) -> None:
    """Pass over bytes of a member. Raise Damage if the stream ends before."""
    if stream.skip(size) < size:
        raise cut(stream)


def cut(stream: ByteStream) -> Damage:
    """Return the Damage of a stream that has ended here."""
    return Damage(stream.offset, "the tar stream ends inside a member", "tar")


def _records(stream: ByteStream, length: int, told: Told) -> Iterator[tuple[bytes, bytes]]:
    """Given the length of a pax extension's data, yield what matters of its records (``LENGTH
    KEY=VALUE\\n``). Raise Damage.

    A map of holes is read here, since it may be longer than all else that is kept.
    """
    left = length
    while left:
        stream.step()
        start = stream.offset
        head = stream.peek(min(left, HEAD))
        if len(head) < min(left, HEAD):
            raise cut(stream)
        digits, blank, rest = head.partition(b" ")
        key, equals, _ = rest.partition(b"=")
        size = int(digits) if digits.isdigit() and len(digits) <= 20 else 0
        value = size - len(digits) - len(key) - 3
        if not (blank and equals and key) or b"\0" in key or value < 0 or size > left:
            raise _broken(start)
        stream.skip(size - value - 1)
        if key in NAMES or NUMBERS.fullmatch(key):
            yield key, _some(stream, value)
        elif key == MAP:
            if told.holes().read_record(stream, value) < value:
                raise cut(stream)
        else:
            skip(stream, value)
        end = stream.take(1)
        if end != b"\n":
            raise _broken(start) if end else cut(stream)
        left -= size


def _some(stream: ByteStream, size: int) -> bytes:
    """Given a size, pass over as many bytes and return the first of them, enough to tell that they
    are too many for a name.
    """
    wanted = min(size, MAX_NAME + 1)
    data = stream.take(wanted)
    if len(data) < wanted:
        raise cut(stream)
    skip(stream, size - wanted)
    return data


def _broken(offset: int, text: str = "broken pax extension") -> Damage:
    return Damage(offset, text, "tar")
