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
    found = [one for disk in disks for one in _of_disk(disk)]
    physicals: list[tuple[Found, lvm.Physical]] = []
    for one in found:
        if one.blocks and (there := lvm.physical(one.blocks)):
            one.signature, one.note = Signature("LVM"), "a physical volume of LVM"
            if there.group:
                one.note += f", of the group {there.group}"
            physicals.append((one, there))
    home = {there.id: one.disk for one, there in physicals}
    for volume in lvm.logical([there for _, there in physicals]):
        disk = home.get(volume.first) or physicals[0][0].disk
        number = 1 + sum(one.disk == disk for one in found)
        signature = recognise(volume.blocks) if volume.blocks else None
        found.append(
            Found(
                disk, number, "lvm", volume.name, volume.size, volume.blocks, signature, volume.lack
            )
        )
        if len(found) >= MAX_VOLUMES:
            break
    for one in found:
        if not one.note and one.signature:
            one.note = one.signature.note
    return sorted(
        found, key=lambda one: ([disk.name for disk in disks].index(one.disk), one.number)
    )


def _of_disk(disk: Disk) -> list[Found]:
    signature = recognise(disk)
    # the boot sector of these file systems bears the mark of a partition table too
    of_its_own = signature is not None and signature.name in BOOT_SECTORS
    table = None if of_its_own or lvm.physical(disk) else partitions.find(disk)
    if table is None:
        return [Found(disk.name, 1, "disk", "", disk.size, disk, signature)]
    kind, parts = table
    found = []
    for number, part in enumerate(parts[:MAX_VOLUMES], 1):
        blocks = Part(disk, part.start, part.size)
        short = "it reaches beyond the end of the disk" if blocks.size < part.size else ""
        here = recognise(blocks)
        found.append(Found(disk.name, number, kind, part.name, part.size, blocks, here, short))
    return found
