"""Disks as streams of clusters, and what may become of them between two archives: nights of churn, an
upgrade, a format, an encryption.

A disk is a list of contents, one a cluster: 0 for zeros, else a number that tells the kind of its
bytes and which ones. How each kind's bytes look is measured on real ones, once.
"""

from __future__ import annotations

import random
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from backupsvc.archives.signs import BLOCK, DiskSample
from policies.archive_signs import DAY, ReadArchive
from policies.model import DiskSigns

CLUSTERS, CLUSTER = 16_384, 65_536  # a disk of 1 GiB, of which 1,024 places are looked at
TEXT, CODE, PACKED, SEALED = 1, 2, 3, 4
VARIANTS = 64
NAME = "drive-scsi0"


@cache
def blocks(kind: int) -> tuple[bytes, ...]:
    """Real bytes of a kind: text, machine code, compressed and encrypted data."""
    dice = random.Random(kind)
    if kind == SEALED:
        return tuple(dice.randbytes(BLOCK) for _ in range(VARIANTS))
    if kind == CODE:
        with Path(sys.executable).open("rb") as file:
            data = file.read()
        starts = [dice.randrange(len(data) - BLOCK) for _ in range(4 * VARIANTS)]
        found = [data[at : at + BLOCK] for at in starts]
        return tuple([one for one in found if any(one[:512])][:VARIANTS])
    words = ["".join(dice.choices("etaoinshrdlu", k=dice.randint(2, 9))) for _ in range(3000)]
    text = " ".join(dice.choices(words, k=400_000)).encode()
    if kind == PACKED:
        text = zlib.compress(text, 6)
    starts = [dice.randrange(64, len(text) - BLOCK) for _ in range(VARIANTS)]
    return tuple(text[at : at + BLOCK] for at in starts)


def block(content: int) -> bytes:
    """The bytes of a content: those of its kind, with its own number in them."""
    if not content:
        return b""
    found = blocks(content & 7)
    own = (content >> 3).to_bytes(8, "big")
    return found[(content >> 3) % len(found)][:-8] + own


@cache
def _print(content: int) -> tuple[int, float]:
    sample = DiskSample(NAME, level=0)
    sample.take(0, block(content))
    signs = sample.signs()
    return signs.prints[0], signs.entropy or 0.0


@dataclass
class Disk:
    """A disk with an operating system, files of users, and free space, some of it holding what was
    deleted. ``system`` and ``files`` are the clusters of each file.
    """

    dice: random.Random
    clusters: list[int] = field(default_factory=lambda: [0] * CLUSTERS)
    system: list[list[int]] = field(default_factory=list)
    files: list[list[int]] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    serial: int = 0

    def new(self, kind: int) -> int:
        """A content that was never there."""
        self.serial += 1
        return self.serial << 3 | kind

    def put(self, places: Sequence[int], kind: int) -> None:
        for place in places:
            self.clusters[place] = self.new(kind)

    def take(self, count: int) -> list[int]:
        """Clusters of free space, as many as there are, in runs."""
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    @property
    def used(self) -> int:
        return sum(map(len, self.system)) + sum(map(len, self.files))

    def signs(self) -> DiskSigns:
        level = 4
        first = 0x9E3779B1 & 15
        seen = {place: _print(self.clusters[place]) for place in range(first, CLUSTERS, 1 << level)}
        held = [bits for one, bits in seen.values() if one]
        return DiskSigns(
            NAME,
            CLUSTERS * CLUSTER,
            sum(map(bool, self.clusters)) * CLUSTER,
            level,
            sum(held) / len(held) if held else None,
            {place: one for place, (one, _) in seen.items()},
        )

    def size(self) -> int:
        """The archive's size: what looks random does not compress, the rest to two fifths."""
        factors = (0, 0.4, 0.4, 1.0, 1.0)
        return int(CLUSTER * sum(factors[one & 7] for one in self.clusters))


def made(seed: int) -> Disk:
    """A machine of which a tenth to half of the users' data is compressed (media, office files),
    three to eight tenths of the disk are used, and up to a third of the rest was deleted.
    """
    dice = random.Random(seed)
    disk = Disk(dice)
    used = int(CLUSTERS * dice.uniform(0.3, 0.8))
    system, packed = used * dice.uniform(0.1, 0.35), dice.uniform(0.1, 0.5)
    at = 0
    while at < used:
        of_system = at < system
        length = min(used - at, int(dice.lognormvariate(1.5, 1.4)) + 1)
        if not of_system and dice.random() < 0.01:
            length = min(used - at, dice.randint(200, 2000))  # a database, a disk of a guest
        places = list(range(at, at + length))
        share = 0.12 if of_system else packed
        kind = PACKED if dice.random() < share else CODE if of_system else TEXT
        disk.put(places, kind)
        (disk.system if of_system else disk.files).append(places)
        at += length
    disk.free = list(range(used, CLUSTERS))
    deleted = int(len(disk.free) * dice.uniform(0, 0.33))
    disk.put(disk.free[:deleted], PACKED if dice.random() < packed else TEXT)
    return disk


def kind_of(disk: Disk, file: Sequence[int]) -> int:
    return disk.clusters[file[0]] & 7


# --- what is usual --------------------------------------------------------------------------------


def churn(disk: Disk, least: float = 0.01, most: float = 0.05) -> None:
    """A night: some of the files are written anew, a log grows, a file or two come."""
    wanted = disk.used * disk.dice.uniform(least, most)
    while wanted > 0:
        file = disk.dice.choice(disk.files)
        part = file[: max(1, int(wanted))]
        disk.put(part, kind_of(disk, file))
        wanted -= len(part)
    for kind, count in ((TEXT, 8), (PACKED, disk.dice.randint(0, 60))):
        if file := disk.take(count):
            disk.put(file, kind)
            disk.files.append(file)


def upgrade(disk: Disk) -> None:
    """An upgrade of the operating system: a fifth to two fifths of what the disk holds is new, in
    place or beside it, packages included.
    """
    wanted = disk.used * disk.dice.uniform(0.2, 0.4)
    order = disk.dice.sample(disk.system, len(disk.system))
    for file in order:
        if wanted <= 0:
            break
        disk.put(file, kind_of(disk, file))
        wanted -= len(file)
    while wanted > 0 and disk.free:
        file = disk.take(disk.dice.randint(1, 40))
        disk.put(file, PACKED if disk.dice.random() < 0.3 else CODE)
        disk.system.append(file)
        wanted -= len(file)


def media_stored(disk: Disk) -> None:
    """A database, or a share, takes in a twentieth to a third of the disk in compressed media."""
    file = disk.take(int(CLUSTERS * disk.dice.uniform(0.05, 0.33)))
    disk.put(file, PACKED)
    if file:
        disk.files.append(file)


def defragment(disk: Disk) -> None:
    """A third to all of the files move; what lay there stays in what is free now."""
    moving = [one for one in disk.files if disk.dice.random() < disk.dice.uniform(0.3, 1.0)]
    before = [place for file in moving for place in file]
    contents = [disk.clusters[place] for place in before]
    after = disk.dice.sample(before, len(before))
    for place, content in zip(after, contents, strict=True):
        disk.clusters[place] = content
    places = iter(after)
    for file in moving:
        file[:] = [next(places) for _ in file]


def trim(disk: Disk) -> None:
    """What is free is given back, and reads as zeros."""
    for place in disk.free:
        disk.clusters[place] = 0


def cleaned(disk: Disk) -> None:
    """A third to two thirds of the files are deleted, and given back."""
    share = disk.dice.uniform(0.33, 0.66)
    gone = [one for one in disk.files if disk.dice.random() < share]
    disk.files = [one for one in disk.files if one not in gone] or disk.files[:1]
    for file in gone:
        disk.free += file
    trim(disk)


# --- what is not ----------------------------------------------------------------------------------


def encrypt(disk: Disk, share: float = 1.0) -> None:
    """A share of the users' files is encrypted in place."""
    wanted = share * sum(map(len, disk.files))
    for file in disk.dice.sample(disk.files, len(disk.files)):
        if wanted <= 0:
            break
        disk.put(file, SEALED)
        wanted -= len(file)


def encrypt_beside(disk: Disk, *, trimmed: bool) -> None:
    """Each file is encrypted into a new one, the old one is deleted and its space used again or, if
    ``trimmed``, given back in the end.
    """
    for file in disk.files:
        new = disk.take(len(file))
        disk.free += file[: len(new)]
        file[: len(new)] = new
        disk.put(file, SEALED)
    if trimmed:
        trim(disk)


def format_disk(disk: Disk) -> None:
    """Another, empty file system: its tables are written, the rest is given back."""
    disk.clusters = [0] * CLUSTERS
    disk.put(disk.dice.sample(range(CLUSTERS), CLUSTERS // 80), CODE)


def format_and_keep(disk: Disk) -> None:
    """The same on a disk that cannot give back: only the tables are written."""
    disk.put(disk.dice.sample(range(CLUSTERS), CLUSTERS // 80), CODE)


def reinstall(disk: Disk) -> None:
    """Another machine's disk under the same name."""
    other = made(disk.dice.randrange(1 << 30) + (1 << 40))
    disk.clusters = [one + (1 << 40 << 3) if one else 0 for one in other.clusters]


def seal(disk: Disk) -> None:
    """All that the disk holds looks random: an encrypted disk (LUKS, BitLocker) from the outside."""
    disk.put([place for place, one in enumerate(disk.clusters) if one], SEALED)


def churn_sealed(disk: Disk) -> None:
    """A night of an encrypted disk."""
    for file in disk.dice.sample(disk.files, max(1, len(disk.files) // 40)):
        disk.put(file, SEALED)


Event = Callable[[Disk], None]


def history(disk: Disk, events: Sequence[Event]) -> list[ReadArchive]:
    """The archives of a guest: one before all events, and one after each, a night apart."""
    found = [_archive(disk, 0)]
    for night, event in enumerate(events, 1):
        event(disk)
        found.append(_archive(disk, night))
    return found


def _archive(disk: Disk, night: int) -> ReadArchive:
    volid = f"local:backup/vzdump-qemu-108-night-{night}.vma.zst"
    return ReadArchive(volid, night * DAY, disk.size(), "vma.zst", (disk.signs(),))


def cluster_bytes(content: int) -> bytes:
    """A whole cluster of a content, for a real archive."""
    data = block(content)
    return data * (CLUSTER // BLOCK)
