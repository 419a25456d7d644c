"""A sample of an archive's disks, taken while they are read anyway: how much of each holds data, and
of some places what their bytes look like.

The same places are looked at in each archive of a guest, so that two samples tell which of them
changed. Only these are taken out of the stream; how much a disk holds is told by the masks alone.
Per place a block of 4 KiB is hashed, and the randomness of its first half kilobyte counted, which
costs some twenty microseconds: at most one place a mebibyte is looked at.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from policies.archive_signs import looked_at
from policies.model import RANDOM, ZEROS, DiskSigns

BLOCK, PIECE = 4096, 65536  # bytes: what is looked at of a place, and a place
FINEST = 4  # each 16th place, however small the disk is
MOST = 1024  # places of a disk; its prints take at most 6 KiB
TAKEN = 512  # bytes that the randomness is counted over
# Bits a byte. Of 512 random bytes one counts 7.60, give or take 0.03; of machine code 5 to 6.5, of
# base64 5.8, of text 4.
LOOKS_RANDOM = 7.4
_LOG2 = [0.0, *(count * math.log2(count) for count in range(1, TAKEN + 1))]
_ZEROS = bytes(BLOCK)


def entropy(data: bytes) -> float:
    """Given up to ``TAKEN`` bytes, return their entropy in bits a byte, as their histogram tells
    it.
    """
    size = len(data)
    return math.log2(size) - sum(map(_LOG2.__getitem__, Counter(data).values())) / size


def level_of(places: int) -> int:
    """Given how many places a disk has, return the level at which about ``MOST`` are looked at."""
    return max(FINEST, (-(-places // MOST) - 1).bit_length())


def number(name: bytes, piece: int) -> int:
    """Given a file's name in a container and which piece of it, return the number of that place."""
    return zlib.crc32(piece.to_bytes(8, "big"), zlib.crc32(name)) & 0xFFFFFFFF


def block_of(place: int, blocks: int = PIECE // BLOCK) -> int:
    """Given a place, return which of its blocks is looked at: the same one in each archive, another
    one at the next place.
    """
    return (place * 0x9E3779B1 >> 12 & 0xFFFFF) % blocks


@dataclass(slots=True)
class DiskSample:
    """What is being seen of one disk. Where more places come than ``MOST``, as in a container,
    whose size nobody tells before its end, each second one is dropped, and of those that follow
    only as many are looked at.
    """

    name: str
    size: int = 0
    stored: int = 0
    level: int = FINEST
    prints: dict[int, int] = field(default_factory=dict)
    _entropies: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of_disk(cls, name: str, size: int) -> DiskSample:
        """Given a disk's name and size in bytes, return its sample, empty."""
        return cls(name, size, level=level_of(-(-size // PIECE)))

    def wants(self, place: int) -> bool:
        """Whether a place is looked at."""
        return looked_at(place, self.level)

    def take(self, place: int, block: bytes) -> None:
        """Given a place that is looked at and its block's bytes (b"" for zeros), note it."""
        if not block or block == _ZEROS[: len(block)]:
            self.prints[place] = ZEROS
            self._entropies.pop(place, None)
        else:
            random = entropy(block[:TAKEN])
            # fewer bytes cannot look random: 256 of them have 8 bits at most if all differ
            looks = len(block) >= TAKEN and random >= LOOKS_RANDOM
            self.prints[place] = (zlib.crc32(block) % (RANDOM - 1) + 1) | (RANDOM * looks)
            self._entropies[place] = random
        while len(self.prints) > MOST:
            self.level += 1
            for seen in [one for one in self.prints if not self.wants(one)]:
                del self.prints[seen]
                self._entropies.pop(seen, None)

    def signs(self) -> DiskSigns:
        """Return what was seen."""
        values = self._entropies.values()
        mean = round(sum(values) / len(values), 3) if values else None
        return DiskSigns(self.name, self.size, self.stored, self.level, mean, dict(self.prints))


def signs_of(samples: Iterable[DiskSample]) -> tuple[DiskSigns, ...]:
    """Given the samples of an archive's disks, return what they tell."""
    return tuple(sample.signs() for sample in samples)
