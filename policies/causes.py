"""Who is to blame when an archive could not be read or restored, decided by what PVE said.

A full target and a corrupt archive share the exit status ``exit code 133``: only the log's own lines tell them apart. What no
text here explains is blamed on the platform, never on the archive: a good archive must not lose its proof because a node was
rebooted.

Sources: qemu-server 9.0.23 and 9.2.6, pve-storage 9.0.13 and 9.1.7, pve-cluster 9.0.6, pve-qemu's vma; the texts marked
"recorded" were answered by a Proxmox VE 9.0.11 (tests/golden/recorded_real, 06_restore_errors).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Where a failure comes from."""

    ARCHIVE = "archive"
    STORAGE = "storage"
    CONFIG = "config"
    BOOT = "boot"
    SERVICE = "service"
    NETWORK = "network"
    TIME = "time"
    CAPACITY = "capacity"
    PLATFORM = "platform"
    OURS = "ours"

    @property
    def against_the_archive(self) -> bool:
        """Whether a restore test that failed for this has failed the archive. All else is tried again."""
        return self in (Cause.ARCHIVE, Cause.CONFIG, Cause.BOOT, Cause.SERVICE)

    @property
    def of_the_place(self) -> bool:
        """Whether it lay in where the test ran, so that another node may do better."""
        return self in (Cause.STORAGE, Cause.NETWORK, Cause.CAPACITY, Cause.PLATFORM)


@dataclass(frozen=True, slots=True)
class Blame:
    """The cause, PVE's words that decided it ("" if none did), and whether they name the archive's bytes as damaged."""

    cause: Cause
    text: str = ""
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """One of PVE's texts: searched for in each line of a task's log and in its exit status."""

    pattern: re.Pattern[str]
    cause: Cause
    source: str
    damaged: bool = False


def _text(pattern: str, cause: Cause, source: str, *, damaged: bool = False) -> Text:
    return Text(re.compile(pattern), cause, source, damaged)


# In their order: the first that any line holds decides. What names the data comes first, then who stopped it, then the lines of
# vma, of which those about the target come before all others.
TEXTS = (
    _text(r"Restored data doesn't match checksum", Cause.ARCHIVE, "zstd, recorded", damaged=True),
    _text(r"interrupted by signal", Cause.PLATFORM, "pve-common Tools.pm, recorded"),
    _text(r"vma: restore failed - blk_pwrite to .* failed \(-(28|122)\)", Cause.CAPACITY, "pve-qemu vma, recorded"),
    _text(r"vma: restore failed - (blk_pwrite to|bdrv_open|unexpected size)", Cause.STORAGE, "pve-qemu vma"),
    _text(r"vma blk_flush .* failed", Cause.STORAGE, "pve-qemu vma"),
    _text(r"No space left on device|Disk quota exceeded|insufficient free space|out of space", Cause.CAPACITY, "pve-storage"),
    _text(r"not enough free space \(", Cause.CAPACITY, "pve-storage"),
    _text(r"zstd: .*: (Decoding error|Read error \(39\))", Cause.ARCHIVE, "zstd", damaged=True),
    _text(r"Read error \(39\) : premature end", Cause.ARCHIVE, "zstd, recorded", damaged=True),
    _text(r"(zstd|gzip|lzop): .*unexpected end of file", Cause.ARCHIVE, "zstd, recorded; gzip, lzop", damaged=True),
    _text(r"(zstd|gzip|lzop): .*(unsupported format|crc error|[Cc]hecksum error)", Cause.ARCHIVE, "zstd, recorded", damaged=True),
    _text(r"gzip: .*not in gzip format|lzop: .*not a lzop file", Cause.ARCHIVE, "gzip, lzop", damaged=True),
    _text(r"vma: restore failed - ", Cause.ARCHIVE, "pve-qemu vma, recorded", damaged=True),
    _text(r"got timeout reading VMA header - corrupted\?", Cause.ARCHIVE, "qemu-server QemuServer.pm, recorded", damaged=True),
    _text(r"archive does not contain data for drive", Cause.ARCHIVE, "qemu-server QemuServer.pm"),
    _text(r"found no device mapping information for device", Cause.ARCHIVE, "qemu-server QemuServer.pm"),
    _text(r"unable to read qemu-server\.conf", Cause.ARCHIVE, "qemu-server QemuServer.pm"),
    _text(r"Failed to extract config from VMA archive: ", Cause.ARCHIVE, "pve-storage Storage.pm, recorded", damaged=True),
    _text(r"config extraction failed with exit code", Cause.ARCHIVE, "pve-storage Storage.pm"),
    _text(r"archive contains no configuration file", Cause.ARCHIVE, "pve-storage Storage.pm"),
    _text(r"couldn't determine archive info from", Cause.ARCHIVE, "pve-storage Storage.pm"),
    _text(r"cluster not ready - no quorum\?", Cause.PLATFORM, "pve-cluster Cluster.pm"),
    _text(r"can't lock file .* - got timeout|(VM|CT) is locked \(", Cause.PLATFORM, "pve-common Tools.pm, recorded"),
    _text(r"(VM|CT) \d+ already exists|already exists on node", Cause.PLATFORM, "pve-cluster Cluster.pm"),
    _text(r"(disk image|volume) .* already exists|Logical Volume .* already exists", Cause.PLATFORM, "pve-storage"),
    _text(r"got timeout (preparing|during) VMA restore", Cause.PLATFORM, "qemu-server QemuServer.pm"),
    _text(r"Permission check failed|only root can set|missing privileges to access", Cause.PLATFORM, "pve-access-control"),
    _text(r"storage '.*' (does not exist|is disabled|is not available|is not online)", Cause.STORAGE, "pve-storage, recorded"),
    _text(r"connection check for storage '.*' failed|unable to activate storage", Cause.STORAGE, "pve-storage"),
    _text(r"Content type '.*' is not available on storage|mount error: ", Cause.STORAGE, "qemu-server, pve-storage; recorded"),
)
AFTER_THE_DATA = "error after data was restored, VM disks should be OK"  # qemu-server QemuServer.pm: every byte was written


def blame(exitstatus: str, log: Iterable[str] = ()) -> Blame:
    """Given how a PVE task or call ended and its log's lines, return who is to blame: the platform, unless a text says other."""
    lines = [*log, exitstatus]
    written = any(AFTER_THE_DATA in line for line in lines)
    for text in TEXTS:
        if written and text.cause is Cause.ARCHIVE:
            continue
        for line in lines:
            if text.pattern.search(line):
                return Blame(text.cause, line.strip(), text.damaged)
    return Blame(Cause.PLATFORM)
