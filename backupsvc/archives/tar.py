"""Container archives: a tar stream as vzdump writes it, read in one pass (POSIX ustar and pax, GNU
long names and sparse files).

``tarfile`` is no choice here: it takes a stream that stops between two members for complete. What
GNU tar, with which PVE restores a container, could not extract is a problem too.
"""

from __future__ import annotations

from collections.abc import Callable

from backupsvc.archives import pax
from backupsvc.archives.linked import Names
from backupsvc.archives.pax import BLOCK, Told, cut, skip
from backupsvc.archives.signs import BLOCK as LOOKED_AT
from backupsvc.archives.signs import PIECE, DiskSample, block_of, number
from backupsvc.archives.sparse import Map
from backupsvc.archives.streams import ByteStream, Damage, Problem

CONFIG_FOLDER = b"etc/vzdump/"
CONFIGS = ("pct.conf", "vps.conf")
# What vzdump puts there (PVE/VZDump/LXC.pm); whatever else lies in that folder is the guest's own.
KEPT = {CONFIG_FOLDER + name.encode(): name for name in (*CONFIGS, "pct.fw")}
# A container's config is some hundred bytes, and pmxcfs takes no file above 1 MiB.
MAX_CONFIG = 1024 * 1024
USTAR = b"ustar\0"
HARD_LINK, SYMLINK, FOLDER, SPARSE = b"1", b"2", b"5", b"S"
# NUL is what tar wrote before POSIX, 7 a contiguous file, which is extracted as any other
FILES = frozenset((b"0", b"\0", b"7"))
WITHOUT_DATA = frozenset((b"2", b"3", b"4", b"5", b"6"))
KINDS = WITHOUT_DATA | frozenset((b"0", b"\0", b"7", HARD_LINK, SPARSE))
MAX_COMPONENT = 255  # NAME_MAX
# Mode, owner, group and time: where they stand, and which values Linux has for them.
OWN_NUMBERS = (
    (100, 108, range(2**32)),
    (108, 116, range(2**32)),
    (116, 124, range(2**32)),
    (136, 148, range(-(2**63), 2**63)),
)


def looks_like_tar(head: bytes) -> bool:
    """Given a stream's first 512 bytes, return whether a tar header stands there."""
    return len(head) == BLOCK and _checksum_holds(head)


class TarPass:
    """One pass over a tar stream. ``configs`` and ``problems`` hold what was found so far, also
    after Damage was raised.

    With ``sampled``, ``samples`` hold what some places of its files look like: a place is 64 KiB of
    a file, told by its name.
    """

    kind = "tar"

    def __init__(self, *, sampled: bool = False) -> None:
        self.samples = [DiskSample("files")] if sampled else []
        self.configs: dict[str, bytes] = {}
        self.members = 0
        self._found: dict[str, list[int]] = {}
        self._lacks: list[Problem] = []
        self._names = Names()

    @property
    def problems(self) -> list[Problem]:
        """What is wrong but did not end the pass; the same problem is told once, with the number of
        times.
        """
        repeated = [
            Problem(offset, what + (f" (and {count - 1} more)" if count > 1 else ""), "tar")
            for what, (offset, count) in self._found.items()
        ]
        return repeated + self._lacks

    def read(self, stream: ByteStream, until: Callable[[bytes], bool] = lambda name: False) -> None:
        """Given a tar stream, read it to its end, or to a member whose name ``until`` picks. Raise
        Damage where it breaks off.
        """
        told: Told | None = None
        while True:
            offset = stream.offset
            stream.step()
            header = stream.take(BLOCK)
            if told is None and len(header) == BLOCK and not any(header):
                return self._end(stream)
            if not header:
                raise Damage(offset, "the tar stream ends without its end-of-archive blocks", "tar")
            if len(header) < BLOCK:
                text = f"the tar stream ends inside a header ({len(header)} of {BLOCK} bytes)"
                raise Damage(offset, text, "tar")
            if not _checksum_holds(header):
                raise Damage(offset, "wrong tar header checksum", "tar")
            kind = header[156:157]
            if kind in pax.KINDS:
                told = told or Told()
                pax.read(stream, kind, _number(header, 124, offset), told)
                continue
            told = told or Told()
            name = told.sparse_name or told.name
            if not name:
                name = header[:100].partition(b"\0")[0]
                # a prefix is POSIX's alone: GNU's own dialect keeps times and a map in its place
                prefix = header[345:500].partition(b"\0")[0] if header[257:263] == USTAR else b""
                name = prefix + b"/" + name if prefix else name
            name = name.removeprefix(b"./")
            if until(name):
                return None
            self._member(stream, header, offset, name, told)
            told = None

    def _member(
        self, stream: ByteStream, header: bytes, offset: int, name: bytes, told: Told
    ) -> None:
        self.members += 1
        kind = header[156:157]
        length = _number(header, 124, offset) if told.size is None else told.size
        reason = _unextractable(header, kind, name, told.link)
        if not reason and kind == HARD_LINK and _target(header, told.link) not in self._names:
            reason = "a hard link to a file that is not in the archive before it"
        elif not reason and kind != FOLDER:  # to a folder there is no hard link
            self._names.add(name)
        self._tell(reason, offset)
        if kind == HARD_LINK:
            return
        if kind in WITHOUT_DATA and length:
            raise Damage(
                offset + 124,
                f"a tar member that holds no data says that it has {length} bytes of it",
                "tar",
            )
        taken = self._map(stream, header, offset, length, told)
        kept = KEPT.get(name)
        # The first one counts, as for PVE (``tar --occurrence``): what comes later is a file of the
        # guest's own.
        if kept is not None and kept not in self.configs and length <= MAX_CONFIG:
            left = length - taken
            data = stream.take(_padded(left))
            if len(data) < _padded(left):
                raise cut(stream)
            self.configs[kept] = data[:left]
        else:
            for sample in self.samples:
                taken += _look(stream, sample, name, length - taken)
            skip(stream, _padded(length) - taken)

    def _tell(self, reason: str, offset: int) -> None:
        if reason:
            self._found.setdefault(reason, [offset, 0])[1] += 1

    def _map(self, stream: ByteStream, header: bytes, offset: int, length: int, told: Told) -> int:
        """Read the map of a member with holes, and hold it against what is stored; return how many
        bytes of its data it took.
        """
        kind, taken, lack = header[156:157], 0, ""
        if kind == SPARSE:
            # GNU's own dialect: four pieces stand in the header, and 21 in each block behind it
            # that it announces
            found = Map()
            ended, more = _pieces(header, 386, 4, offset, found), header[482]
            while more:
                if ended:
                    found.broken("it goes on behind its end")
                stream.step()
                start, block = stream.offset, stream.take(BLOCK)
                if len(block) < BLOCK:
                    raise cut(stream)
                ended, more = _pieces(block, 0, 21, start, found), block[504]
            lack = found.lack(_number(header, 483, offset), length)
        elif told.sparse and kind in FILES:
            taken = told.sparse.read_before_data(stream, length)
            lack = told.sparse.lack(length - taken)
        self._tell(f"a file with holes whose map is wrong: {lack}" if lack else "", offset)
        return taken

    def _end(self, stream: ByteStream) -> None:
        """After a first block of zeros: a second must follow, and nothing but zeros after it (tar
        fills its last record).
        """
        second = stream.take(BLOCK)
        if len(second) < BLOCK:
            raise Damage(
                stream.offset, "the tar stream ends without its second end-of-archive block", "tar"
            )
        start = stream.offset - BLOCK
        while second and not any(second):
            start = stream.offset
            second = stream.some(1024 * 1024)
        if second:
            raise Damage(start, "data after the end of the tar archive", "tar")
        if not any(self.configs.get(name, b"").strip() for name in CONFIGS):
            self._lacks.append(
                Problem(
                    stream.offset,
                    "no etc/vzdump/pct.conf inside: PVE cannot restore a container from it alone",
                    "tar",
                )
            )


def _look(stream: ByteStream, sample: DiskSample, name: bytes, length: int) -> int:
    """Given a stream where the stored data of a file begin, pass over them as far as places are
    looked at in them; return how many bytes that was.
    """
    sample.size += length
    sample.stored += length
    passed = 0
    for piece in range(-(-length // PIECE)):
        # a header may call any number a length: whether there is so much is seen now and then
        if not piece % 64 and piece:
            passed += stream.skip(piece * PIECE - passed)
            if passed < piece * PIECE:
                break
        place = number(name, piece)
        if not sample.wants(place):
            continue
        start, left = piece * PIECE, min(PIECE, length - piece * PIECE)
        start += LOOKED_AT * block_of(place, max(1, left // LOOKED_AT))
        wanted = min(LOOKED_AT, length - start)
        passed += stream.skip(start - passed)
        data = stream.take(wanted)
        passed += len(data)
        sample.take(place, data)
        if len(data) < wanted:
            break
    return passed


def _checksum_holds(header: bytes) -> bool:
    """Return whether the checksum field equals the sum of all bytes with that field taken as
    blanks.
    """
    field = header[148:156].strip(b" \0")
    if not field or any(digit not in b"01234567" for digit in field):
        return False
    return int(field, 8) == sum(header[:148]) + sum(header[156:]) + 8 * 0x20


def _unextractable(header: bytes, kind: bytes, name: bytes, link: bytes) -> str:
    """Given a member's header, kind, name and told link, return why GNU tar would not extract it,
    "" if it would.
    """
    if kind not in KINDS:
        return "a member of a kind that no file system has"
    for start, end, values in OWN_NUMBERS:
        field = header[start:end]
        # octal digits, or GNU's base 256: positive behind 0x80, negative from 0xFF on
        if field[0] == 0x80:
            right = int.from_bytes(field[1:], "big") in values
        elif field[0] == 0xFF:
            right = int.from_bytes(field, "big", signed=True) in values
        else:
            right = not field.strip(b" \0").strip(b"01234567")
        if not right:
            return "a member whose owner, rights or time is no number that Linux has"
    if kind in (HARD_LINK, SYMLINK):
        target = _target(header, link)
        if not target or len(target) > pax.MAX_NAME:
            return "a link to nothing, or to a name that is too long"
        if kind == HARD_LINK and b".." in target.split(b"/"):
            return "a hard link that leads out of the folder into which it is extracted"
    if not name.strip(b"/") and kind != b"5":
        return "a member without a name"
    if len(name) > pax.MAX_NAME or (
        len(name) > MAX_COMPONENT and max(map(len, name.split(b"/"))) > MAX_COMPONENT
    ):
        return "a member whose name is longer than Linux takes"
    if b"\0" in name or (b".." in name and b".." in name.split(b"/")):
        return "a member whose name leads out of the folder into which it is extracted"
    return ""


def _target(header: bytes, link: bytes) -> bytes:
    """Given a link's header and the target that was told before it, return where it leads."""
    return link or header[157:257].partition(b"\0")[0]


def _number(header: bytes, at: int, offset: int) -> int:
    """Given a header and where a 12-byte number stands, return it: octal digits, or GNU's base 256
    when the top bit is set.
    """
    field = header[at : at + 12]
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if any(digit not in b"01234567" for digit in digits):
        raise Damage(offset + at, "wrong number in a tar header", "tar")
    return int(digits or b"0", 8)


def _pieces(block: bytes, first: int, most: int, offset: int, found: Map) -> bool:
    """Add the pieces that stand in a block, two numbers of twelve bytes each; return whether an
    empty one ends the map there.
    """
    for at in range(first, first + 24 * most, 24):
        if not block[at + 12]:
            return True
        found.add(_number(block, at, offset), _number(block, at + 12, offset))
    return False


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
