"""What a vzdump archive's name says: guest, kind, local time, extension (pve-facts 5.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from backupsvc.errors import UsageError
from policies.model import GuestType

EXTENSION = re.compile(r"\.(tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)$")
STANDARD = re.compile(r"vzdump-(lxc|openvz|qemu)-([1-9][0-9]{2,8})-(\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)\.(.+)")
PBS = re.compile(r"(vm|ct)/([1-9][0-9]{2,8})/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
PBS_KINDS = {"vm": (GuestType.QEMU, "pbs-vm"), "ct": (GuestType.LXC, "pbs-ct")}


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """What a name says. ``extension`` is PVE's format (``vma.zst``, ``tgz``, ``pbs-vm`` ...).

    ``standard`` is true for vzdump's own pattern; only then are ``vmid`` and ``time`` set. ``time`` is naive, in the local time
    of the node that wrote it, except on a Proxmox Backup Server (``utc``). ``type`` is None for OpenVZ and for foreign names.
    """

    file: str
    storage: str | None
    vmid: int | None
    type: GuestType | None
    time: datetime | None
    extension: str
    standard: bool
    utc: bool = False

    def ctime(self, timezone: str) -> int | None:
        """Given the node's time zone, return the name's time in epoch seconds as PVE's ``timelocal`` does, or None.

        The hour that autumn repeats counts as the first one, the hour that spring leaves out moves forward (pve-facts 5.2):
        both are what ``fold=0`` means.
        """
        if self.time is None:
            return None
        zone = UTC if self.utc else ZoneInfo(timezone)
        return int(self.time.replace(tzinfo=zone, fold=0).timestamp())


def parse_volid(volid: str) -> ArchiveName:
    """Given a volume id (``local:backup/vzdump-...``), return what it says. Raise UsageError if it names no archive."""
    storage, colon, path = volid.partition(":")
    folder, slash, name = path.partition("/")
    if not (storage and colon and slash and folder == "backup"):
        raise UsageError(f"{volid!r} is not the volume id of an archive", "It looks like STORAGE:backup/vzdump-....")
    return _parse_pbs(name, storage) or parse_name(name, storage)


def parse_name(name: str, storage: str | None = None) -> ArchiveName:
    """Given a file name without its folder, return what it says. Raise UsageError if PVE would not list it as an archive."""
    extension = EXTENSION.search(name)
    if not extension or "/" in name:
        raise UsageError(
            f"{name!r} is not the name of an archive",
            "It ends in .vma or .tar with .zst, .gz, .lzo, .bz2 or nothing, or in .tgz.",
        )
    time = None
    if standard := STANDARD.fullmatch(name):
        time = _time(standard[3], "%Y_%m_%d-%H_%M_%S")
    if not standard or time is None or standard[4] != extension[1]:
        return ArchiveName(name, storage, None, None, None, extension[1], standard=False)
    kind = GuestType(standard[1]) if standard[1] in set(GuestType) else None
    return ArchiveName(name, storage, int(standard[2]), kind, time, extension[1], standard=True)


def _parse_pbs(name: str, storage: str) -> ArchiveName | None:
    match = PBS.fullmatch(name)
    time = _time(match[3], "%Y-%m-%dT%H:%M:%SZ") if match else None
    if match is None or time is None:
        return None
    kind, extension = PBS_KINDS[match[1]]
    return ArchiveName(name, storage, int(match[2]), kind, time, extension, standard=True, utc=True)


def _time(text: str, pattern: str) -> datetime | None:
    """Given digits that may be no date (February 30th), return the naive time or None."""
    try:
        return datetime.strptime(text, pattern)
    except ValueError:
        return None
