"""Files with holes: whether the map of a sparse member and the data that is stored for it agree.

GNU tar knows four dialects ("Storing Sparse Files" in its manual): its own, in the header and
blocks behind it; pax 0.0 and 0.1, in records; pax 1.0, before the data. A map may be as long as the
archive, so it is judged piece by piece, and no piece is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from backupsvc.archives.streams import ByteStream

BLOCK = 512
DIGITS = 20  # of the longest number of 64 bits
AT_ONCE = 64 * 1024  # bytes of a map's text that are taken apart at a time
MAX_SIZE = 2**63  # no file reaches so far


@dataclass(slots=True)
class Map:
    """What the pieces of a file come to that were read so far: how many, their bytes, and where in
    the file the last one ends.

    ``wrong`` is what was wrong with one of them, "" if nothing. ``offset``: where the piece begins
    whose size comes next.
    """

    pieces: int = 0
    stored: int = 0
    end: int = 0
    wrong: str = ""
    offset: int | None = None
    ragged: bool = False

    def add(self, offset: int, size: int) -> None:
        """Add the next piece. Each is stored in whole blocks, so that only the last one with data
        may end within one.
        """
        if offset < self.end:
            self.broken("its pieces overlap, or are out of order")
        if self.ragged and size:
            self.broken("a piece before the last ends within a block")
        self.ragged = self.ragged or size % BLOCK != 0
        self.pieces, self.stored, self.end = (
            self.pieces + 1,
            self.stored + size,
            max(self.end, offset + size),
        )

    def number(self, value: int) -> None:
        """Add the next number of a map that tells where each piece begins, and how long it is, in
        turns.
        """
        if self.offset is None:
            self.offset = value
        else:
            self.add(self.offset, value)
            self.offset = None

    def broken(self, why: str) -> None:
        """Keep what is wrong; the first counts."""
        self.wrong = self.wrong or why

    def lack(self, size: int, stored: int) -> str:
        """Given the file's size and the bytes that the archive holds of it, return why it could not
        be restored, or "".
        """
        if self.wrong:
            return self.wrong
        if self.offset is not None:
            return "its last piece has no length"
        if self.stored != stored:
            return "its pieces are not as long together as the data that is stored"
        # tar writes an empty piece behind a hole at the end, and makes no file longer
        if self.end != size or size >= MAX_SIZE:
            return "its pieces do not end where the file does"
        return ""


@dataclass(slots=True)
class Sparse:
    """What pax records tell of a sparse member: its version, its size with the holes, the number of
    its pieces, and its map.
    """

    version: list[int] = field(default_factory=lambda: [0, 0])
    size: int | None = None
    count: int | None = None
    map: Map = field(default_factory=Map)

    def tell(self, what: str, value: int) -> None:
        """Given a record's key behind ``GNU.sparse.`` and its number, keep it."""
        if what in ("major", "minor"):
            self.version[what == "minor"] = value
        elif what in ("size", "realsize"):
            self.size = value
        elif what == "numblocks":
            self.count = value
        elif (what == "offset") != (self.map.offset is None) or self.count is None:
            self.map.broken("its pieces are told in no order that tar knows")
        else:
            self.map.number(value)

    def read_record(self, stream: ByteStream, size: int) -> int:
        """Given a stream where the value of a map's record (0.1) begins, and its size, read it.

        Return how many bytes it took: all that there are, whatever stands there.
        """
        if self.count is None:
            self.map.broken("its pieces are told before their number")
        rest, left = b"", size
        while left and (part := stream.some(min(left, AT_ONCE))):
            stream.step()
            left -= len(part)
            # behind what is wrong all is passed over: the record's end is needed
            if not self.map.wrong:
                *numbers, rest = (rest + part).split(b",")
                self._numbers(numbers, rest)
        if not self.map.wrong:
            self._numbers([rest])
        return size - left

    def read_before_data(self, stream: ByteStream, most: int) -> int:
        """Given a stream where a member's data begin, and their size, read the map that stands
        there in version 1.0.

        Return how many bytes it took: all, to the last whole block, where it does not end or is no
        map.
        """
        if self.version[0] != 1:
            return 0
        taken, rest, left = 0, b"", None
        while left != 0 and not self.map.wrong:
            block = stream.take(BLOCK) if taken + BLOCK <= most else b""
            if len(block) < BLOCK:
                self.map.broken("it has no end")
                return taken + len(block)
            stream.step()
            taken += BLOCK
            *numbers, rest = (rest + block).split(b"\n")
            if left is None and numbers:
                digits = numbers.pop(0)
                self.count = int(digits) if _is_number(digits) else 0
                if not _is_number(digits):
                    self.map.broken("it holds something that is no number")
                left = 2 * self.count
            wanted = numbers if left is None else numbers[:left]
            left = None if left is None else left - len(wanted)
            self._numbers(wanted, rest if left != 0 else b"")
        return taken

    def lack(self, stored: int) -> str:
        """Given how many bytes the archive holds of the file, return why it could not be restored,
        "" if it could.
        """
        if self.version not in ([0, 0], [0, 1], [1, 0]):
            return "it is of a version that tar does not know"
        if self.size is None:
            return "the file's size is not told"
        if not self.map.wrong and self.count != self.map.pieces:
            return "it has not as many pieces as it says"
        return self.map.lack(self.size, stored)

    def _numbers(self, numbers: list[bytes], rest: bytes = b"") -> None:
        for digits in numbers:
            if not _is_number(digits):
                self.map.broken("it holds something that is no number")
                return
            self.map.number(int(digits))
        if len(rest) > DIGITS:
            self.map.broken("it holds something that is no number")


def _is_number(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) <= DIGITS
