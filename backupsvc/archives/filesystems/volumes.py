"""Which volumes there are on some disks: whole disks, partitions, and LVM's logical volumes over
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backupsvc.archives.filesystems import lvm, partitions
from backupsvc.archives.filesystems.blocks import Blocks, Disk, Part
from backupsvc.archives.filesystems.signatures import READ, Signature, recognise

MAX_VOLUMES = 1024
BOOT_SECTORS = ("ntfs", "vfat", "exfat", "BitLocker", "ReFS")


@dataclass(slots=True)
class Found:
    """A volume of a disk; ``blocks`` is None if what is in it cannot be put together."""

    disk: str
    number: int
    place: str
    name: str
    size: int
    blocks: Blocks | None
    signature: Signature | None = None
    note: str = ""

    @property
    def readable(self) -> bool:
        """Whether there is a reader for it."""
        return (
            self.blocks is not None and self.signature is not None and self.signature.name in READ
        )

    def as_json(self) -> list[Any]:
        """Return it as it goes over the pipe."""
        filesystem = self.signature.name if self.signature else None
        replay = self.signature.replay if self.signature else None
        return [
            self.disk, self.number, self.place, self.name, self.size, filesystem, self.readable,
            replay, self.note,
        ]  # fmt: skip


def find(disks: Sequence[Disk]) -> list[Found]:
    """Given all disks that are there, return their volumes, those of a disk numbered from 1."""
    found: list[Found] = []
    for disk in disks:
        signature = recognise(disk)
        # the boot sector of these file systems bears the mark of a partition table too
        of_its_own = signature is not None and signature.name in BOOT_SECTORS
        table = None if of_its_own or lvm.physical(disk) else partitions.find(disk)
        if table is None:
            found.append(Found(disk.name, 1, "disk", "", disk.size, disk, signature))
            continue
        kind, parts = table
        for number, part in enumerate(parts[:MAX_VOLUMES], 1):
            blocks = Part(disk, part.start, part.size)
            short = "it reaches beyond the end of the disk" if blocks.size < part.size else ""
            here = recognise(blocks)
            found.append(Found(disk.name, number, kind, part.name, part.size, blocks, here, short))
    physicals: list[tuple[Found, lvm.Physical]] = []
    for one in found:
        if one.blocks and (there := lvm.physical(one.blocks)):
            one.signature, one.note = Signature("LVM"), "a physical volume of LVM"
            if there.group:
                one.note += f", of the group {there.group}"
            physicals.append((one, there))
    home = {there.id: one.disk for one, there in physicals}
    for volume in lvm.logical([there for _, there in physicals]):
        # its begin may lie on a disk that is not there
        name = home.get(volume.first) or physicals[0][0].disk
        number = 1 + sum(one.disk == name for one in found)
        here = recognise(volume.blocks) if volume.blocks else None
        found.append(
            Found(name, number, "lvm", volume.name, volume.size, volume.blocks, here, volume.lack)
        )
        if len(found) >= MAX_VOLUMES:
            break
    for one in found:
        if not one.note and one.signature:
            one.note = one.signature.note
    return sorted(
        found, key=lambda one: ([disk.name for disk in disks].index(one.disk), one.number)
    )
