"""Container archives: a tar stream as vzdump writes it, read in one pass (POSIX ustar and pax, GNU long names and sparse files).

``tarfile`` is no choice here: it takes a stream that stops between two members for complete.
"""

from __future__ import annotations

from collections.abc import Callable

from backupsvc.archives.streams import ByteStream, Damage, Problem

BLOCK = 512
CONFIG_FOLDER = "etc/vzdump/"
CONFIGS = ("etc/vzdump/pct.conf", "etc/vzdump/vps.conf")
# A container's config is some hundred bytes; a member of this name but of another size is not one to keep in memory.
MAX_CONFIG = 1024 * 1024
PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK, SPARSE = b"x", b"g", b"L", b"K", b"S"
WITHOUT_DATA = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
MAX_EXTRA = 16 * 1024 * 1024


def looks_like_tar(head: bytes) -> bool:
    """Given a stream's first 512 bytes, return whether a tar header stands there."""
    return len(head) == BLOCK and _checksum_holds(head)


class TarPass:
    """One pass over a tar stream. ``configs`` and ``problems`` hold what was found so far, also after Damage was raised."""

    kind = "tar"

    def __init__(self) -> None:
        self.configs: dict[str, bytes] = {}
        self.members = 0
        self.problems: list[Problem] = []

    def read(self, stream: ByteStream, until: Callable[[str], bool] = lambda name: False) -> None:
        """Given a tar stream, read it to its end, or to a member whose name ``until`` picks. Raise Damage where it breaks off."""
        name, size = "", None
        while True:
            offset = stream.offset
            header = stream.take(BLOCK)
            if len(header) == BLOCK and not any(header):
                return self._end(stream)
            _check(header, offset)
            kind = header[156:157]
            if kind in (PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK):
                name, size = self._extra(stream, header, offset, name, size)
                continue
            name = (name or _header_name(header)).removeprefix("./")
            if until(name):
                return None
            self._member(stream, header, offset, name, size)
            name, size = "", None

    def _extra(self, stream: ByteStream, header: bytes, offset: int, name: str, size: int | None) -> tuple[str, int | None]:
        """Read a member that only describes the next one; return that one's name and size as far as they are known."""
        length = _number(header, 124, offset)
        if length > MAX_EXTRA:
            raise Damage(offset + 124, f"a tar header extension of {length} bytes", "tar")
        data = _content(stream, length)
        kind = header[156:157]
        if kind == LONG_NAME:
            return data.rstrip(b"\0").decode("utf-8", "replace"), size
        if kind == PAX:
            records = _pax(data, offset)
            return records.get("GNU.sparse.name") or records.get("path") or name, _pax_size(records, offset, size)
        return name, size

    def _member(self, stream: ByteStream, header: bytes, offset: int, name: str, size: int | None) -> None:
        self.members += 1
        kind = header[156:157]
        if kind == SPARSE and header[482]:
            _skip_sparse_maps(stream)
        length = _number(header, 124, offset) if size is None else size
        if kind in WITHOUT_DATA:
            return
        if name.startswith(CONFIG_FOLDER) and length <= MAX_CONFIG:
            self.configs[name.removeprefix(CONFIG_FOLDER)] = _content(stream, length)
        elif stream.skip(_padded(length)) < _padded(length):
            raise _cut(stream)

    def _end(self, stream: ByteStream) -> None:
        """After a first block of zeros: a second must follow, and nothing but zeros after it (tar fills its last record)."""
        second = stream.take(BLOCK)
        if len(second) < BLOCK:
            raise Damage(stream.offset, "the tar stream ends without its second end-of-archive block", "tar")
        start = stream.offset - BLOCK
        while second and not any(second):
            start = stream.offset
            second = stream.some(1024 * 1024)
        if second:
            raise Damage(start, "data after the end of the tar archive", "tar")
        if not any(self.configs.get(name.removeprefix(CONFIG_FOLDER), b"").strip() for name in CONFIGS):
            self.problems.append(
                Problem(stream.offset, "no etc/vzdump/pct.conf inside: PVE cannot restore a container from it alone", "tar")
            )


def _check(header: bytes, offset: int) -> None:
    if not header:
        raise Damage(offset, "the tar stream ends without its end-of-archive blocks", "tar")
    if len(header) < BLOCK:
        raise Damage(offset, f"the tar stream ends inside a header ({len(header)} of {BLOCK} bytes)", "tar")
    if not _checksum_holds(header):
        raise Damage(offset, "wrong tar header checksum", "tar")


def _checksum_holds(header: bytes) -> bool:
    """Return whether the checksum field equals the sum of all bytes with that field taken as blanks."""
    field = header[148:156].strip(b" \0")
    if not field or any(digit not in b"01234567" for digit in field):
        return False
    return int(field, 8) == sum(header[:148]) + sum(header[156:]) + 8 * 0x20


def _number(header: bytes, at: int, offset: int) -> int:
    """Given a header and where a 12-byte number stands, return it: octal digits, or GNU's base 256 when the top bit is set."""
    field = header[at : at + 12]
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if any(digit not in b"01234567" for digit in digits):
        raise Damage(offset + at, "wrong number in a tar header", "tar")
    return int(digits or b"0", 8)


def _header_name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _pax(data: bytes, offset: int) -> dict[str, str]:
    """Given a pax extension's data (``LENGTH KEY=VALUE\\n`` records, the length counting itself), return it as a dict."""
    records: dict[str, str] = {}
    while data:
        digits, blank, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        record = data[len(digits) + 1 : length - 1]
        if not blank or length > len(data) or data[length - 1 : length] != b"\n" or b"=" not in record:
            raise Damage(offset + BLOCK, "broken pax extension", "tar")
        key, _, value = record.partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[length:]
    return records


def _pax_size(records: dict[str, str], offset: int, size: int | None) -> int | None:
    text = records.get("size")
    if text is None:
        return size
    if not text.isdecimal() or len(text) > 20:
        raise Damage(offset + BLOCK, "broken pax extension", "tar")
    return int(text)


def _skip_sparse_maps(stream: ByteStream) -> None:
    """Pass over the extra blocks in which GNU's old sparse format continues its map; byte 504 says whether one more follows."""
    more = 1
    while more:
        block = stream.take(BLOCK)
        if len(block) < BLOCK:
            raise _cut(stream)
        more = block[504]


def _content(stream: ByteStream, size: int) -> bytes:
    data = stream.take(_padded(size))
    if len(data) < _padded(size):
        raise _cut(stream)
    return data[:size]


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _cut(stream: ByteStream) -> Damage:
    return Damage(stream.offset, "the tar stream ends inside a member", "tar")
