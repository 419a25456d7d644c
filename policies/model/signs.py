"""What a reading of an archive's bytes tells of each of its disks, and what made an archive
suspicious.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

ZEROS = 0  # the print of a place that holds nothing but zeros
RANDOM = 1 << 15  # the bit of a print that says: its bytes look random


@dataclass(frozen=True, slots=True)
class DiskSigns:
    """A disk (or all files of a container) in an archive, as its sample shows it.

    Args:
        name: the disk's name in the archive.
        size: of the disk in bytes, zeros included.
        stored: how many bytes of it are in blocks that are not all zeros.
        level: of the places that a disk has, each 2**level-th was looked at.
        entropy: mean of the places that hold data, in bits a byte; None where none does.
        prints: of each place that was looked at, ZEROS or 15 bits of its bytes' checksum, with
        RANDOM where they look random.
    """

    name: str
    size: int
    stored: int
    level: int
    entropy: float | None = None
    prints: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def random_share(self) -> float | None:
        """Of the places that hold data, the share that looks random; None where none does."""
        held = sum(one != ZEROS for one in self.prints.values())
        random = sum(one >= RANDOM for one in self.prints.values())
        return random / held if held else None


class SuspicionKind(StrEnum):
    """What is unusual of a disk. The values are written down in catalogs.

    ``sealed``: much of what was readable looks random now, as encrypted data do. ``emptied``:
    nearly all of it is gone. ``replaced``: nearly all of it is other data. ``rewritten``: of data
    that looked random before, encrypted or compressed, much is other random data. ``swollen``: the
    archive grew by far more than was added, as data that no longer compress let it.
    """

    SEALED = "sealed"
    EMPTIED = "emptied"
    REPLACED = "replaced"
    REWRITTEN = "rewritten"
    SWOLLEN = "swollen"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something unusual of a disk ("": of the whole archive) beside an earlier archive of the
    guest, ``since``, by its volid.

    ``was`` and ``now`` are what it is told by: of ``emptied`` and ``swollen`` bytes, else shares
    from 0 to 1.
    """

    kind: SuspicionKind
    disk: str
    was: float
    now: float
    since: str
