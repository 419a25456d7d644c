"""What lies in a volume, by the marks that each file system sets, so that a volume is given to one
reader only, and what none reads is called by its name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from backupsvc.archives.filesystems.blocks import Blocks

EXT_JOURNAL, EXT_RECOVER, EXT_ENCRYPT = 0x4, 0x4, 0x10000
# extents, 64bit, flex_bg, and what else came with ext4 (ext4's Documentation, super.rst)
EXT4_INCOMPAT, EXT4_RO = (
    0x40 | 0x80 | 0x200 | 0x2000 | 0x8000 | 0x10000 | 0x20000,
    0x8 | 0x20 | 0x40 | 0x400,
)
READ = ("ext2", "ext3", "ext4", "vfat", "ntfs", "xfs")


@dataclass(frozen=True, slots=True)
class Signature:
    """A file system's name, and ``replay``: whether its journal holds changes that are not yet at
    their place; None if that cannot be told.
    """

    name: str
    replay: bool | None = None
    note: str = ""


# (where, what stands there, what it is)
MARKS = (
    (0, b"XFSB", "xfs"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (3, b"-FVE-FS-", "BitLocker"),
    (3, b"NTFS    ", "ntfs"),
    (3, b"EXFAT   ", "exfat"),
    (3, b"ReFS\0", "ReFS"),
    (4086, b"SWAPSPACE2", "swap"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0x8001, b"CD001", "iso9660"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"),
    (0, b"hsqs", "squashfs"),
    (32, b"NXSB", "APFS"),
)


def recognise(blocks: Blocks) -> Signature | None:
    """Given a volume, return what lies in it, None if that is unknown."""
    # a superblock of ext that was left behind by an older life may stand behind another's mark
    for at, mark, name in MARKS:
        if blocks.read(at, len(mark)) == mark:
            return Signature(name)
    # FAT has no mark that could be relied on: it is told by the numbers that must stand there
    sector = blocks.read(0, 512)
    if len(sector) == 512 and sector[510:] == b"\x55\xaa" and sector[0] in (0xEB, 0xE9):
        size, cluster, reserved, fats = struct.unpack_from("<HBHB", sector, 11)
        if (
            size in (512, 1024, 2048, 4096)
            and cluster in (1, 2, 4, 8, 16, 32, 64, 128)
            and reserved > 0
            and fats in (1, 2)
            and (sector[21] == 0xF0 or sector[21] >= 0xF8)
        ):
            return Signature("vfat", replay=False)
    block = blocks.read(1024, 1024)
    if len(block) < 1024 or block[56:58] != b"\x53\xef":
        return None
    compat, incompat, ro = struct.unpack_from("<III", block, 92)
    name = "ext3" if compat & EXT_JOURNAL else "ext2"
    if incompat & EXT4_INCOMPAT or ro & EXT4_RO:
        name = "ext4"
    note = "files that the guest encrypted come out encrypted" if incompat & EXT_ENCRYPT else ""
    return Signature(name, bool(incompat & EXT_RECOVER), note)
