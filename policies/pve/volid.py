"""Volume ids, such as ``local:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst``, and what a
vzdump archive's name says.

PVE reads guest, kind and time of an archive from its file's name and from nothing else (pve-facts
5.1).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from policies.model import GuestType

EXTENSION = re.compile(r"\.(tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)$")
_ANY = re.compile(r"vzdump-(lxc|openvz|qemu)-.+")
_STANDARD = re.compile(
    r"vzdump-(lxc|openvz|qemu)-([1-9][0-9]{2,8})-([0-9]{4}_[0-9]{2}_[0-9]{2}-[0-9]{2}_[0-9]{2}_[0-9]{2})"
    r"\.(tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)"
)
# the same, for the hour of its time, minutes and seconds
_TIMED = re.compile(
    r"vzdump-(lxc|openvz|qemu)-([1-9][0-9]{2,8})-([0-9]{4}_[0-9]{2}_[0-9]{2}-[0-9]{2})_([0-9]{2})_([0-9]{2})"
    r"\.(?:tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)"
)
_SIXTY = {f"{number:02}": number for number in range(60)}
_PBS = re.compile(
    r"(vm|ct)/([1-9][0-9]{2,8})/([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)"
)
_PBS_KINDS = {"vm": ("qemu", "pbs-vm"), "ct": ("lxc", "pbs-ct")}


class ArchiveName(NamedTuple):
    """What an archive's name says. ``extension`` is PVE's format (``vma.zst``, ``tgz``, ``pbs-vm``
    ...).

    ``standard`` is true for vzdump's own pattern; only then are ``vmid`` and ``time`` set. ``time``
    is naive, in the local time of the node that wrote it, except on a Proxmox Backup Server
    (``utc``). ``kind`` is PVE's word for the guest's kind, which may be ``openvz``; it is None for
    a name that tells none, such as a foreign one.
    """

    file: str
    vmid: int | None
    kind: str | None
    time: datetime | None
    extension: str
    standard: bool
    utc: bool = False

    @property
    def type(self) -> GuestType | None:
        """The kind of guest, None for OpenVZ and where the name is not vzdump's own."""
        return GuestType(self.kind) if self.standard and self.kind in set(GuestType) else None

    def ctime(self, zone: ZoneInfo) -> int | None:
        """Given the node's time zone, return the name's time in epoch seconds as PVE's
        ``timelocal`` does, or None.

        The hour that autumn repeats counts as the first one, the hour that spring leaves out moves
        forward (pve-facts 5.2): both are what ``fold=0`` means.
        """
        if self.time is None:
            return None
        return _epoch(self.time, UTC if self.utc else zone)


def is_volid(text: str) -> bool:
    """Given the volume of a drive, return whether it lies on a storage: it may also be ``none``,
    ``cdrom`` or a path.
    """
    return ":" in text


def storage_of(volid: str) -> str:
    """Given a volume id, return the storage that it lies on."""
    return volid.partition(":")[0]


def kind_of(volid: str) -> str:
    """Given a volume id, return the kind of file that it is as a storage lists it (``iso``,
    ``snippets`` ...); of a disk's it is no word of PVE's.
    """
    return volid.partition(":")[2].partition("/")[0]


def file_of(volid: str) -> str:
    """Given an archive's volume id, return its file's name without folders."""
    return volid.rpartition("/")[2]


def parse_archive(volid: str) -> ArchiveName | None:
    """Given a volume id, return what the archive's name says, None if it is that of something
    else.
    """
    storage, _, path = volid.partition(":")
    folder, slash, name = path.partition("/")
    if not (storage and slash and folder == "backup"):
        return None
    if (found := _PBS.fullmatch(name)) and (time := _time(found[3])):
        kind, extension = _PBS_KINDS[found[1]]
        return ArchiveName(name, int(found[2]), kind, time, extension, standard=True, utc=True)
    return parse_name(name)


def parse_name(file: str) -> ArchiveName | None:
    """Given a file's name without its folder, return what it says, None if PVE would not list it as
    an archive.
    """
    if (plain := _STANDARD.fullmatch(file)) and (time := _time(plain[3])):
        return ArchiveName(file, int(plain[2]), plain[1], time, plain[4], standard=True)
    extension = EXTENSION.search(file)
    if not extension or "/" in file:
        return None
    # A renamed archive is nobody's, but PVE still takes its kind from its name where it filters by
    # kind.
    kind = found[1] if (found := _ANY.fullmatch(file)) else None
    if plain:  # of a time such as month 13: PVE's own reading of the name fails altogether
        kind = None
    return ArchiveName(file, None, kind, None, extension[1], standard=False)


class Names:
    """The names of the archives that nodes of one time zone wrote, read for guest and time alone.

    A million archives began in a few thousand hours: each is worked out once.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        # "2026_03_09-21" -> its first second, and that in local time; None where the clock was
        # set within it, or it is none
        self._hours: dict[str, tuple[int, datetime] | None] = {}

    def began(self, volid: str) -> tuple[str, str, int, datetime] | None:
        """Given an archive's volume id, return the guest's kind and VMID as its name has them, when
        it was dumped as ``ArchiveName.ctime`` has it (epoch seconds), and the local time at the
        beginning of that hour; None if the name is not vzdump's own, or of no time.
        """
        if not (plain := _TIMED.fullmatch(volid, volid.rfind("/") + 1)):
            return None
        kind, vmid, text, minutes, seconds = plain.groups()
        if text not in self._hours:
            first, last = self._one(f"{text}_00_00"), self._one(f"{text}_59_59")
            # an hour in which the clock was set has another length, and is worked out each time
            even = first and last and last[0] - first[0] == 3599 and first[1] == last[1]
            self._hours[text] = first if even else None
        hour = self._hours[text]
        minute, second = _SIXTY.get(minutes), _SIXTY.get(seconds)
        if hour and minute is not None and second is not None:
            return kind, vmid, hour[0] + minute * 60 + second, hour[1]
        one = self._one(f"{text}_{minutes}_{seconds}")
        return (kind, vmid, *one) if one else None

    def _one(self, text: str) -> tuple[int, datetime] | None:
        if not (named := _time(text)):
            return None
        ctime = _epoch(named, self._zone)
        try:
            local = datetime.fromtimestamp(ctime, self._zone)
        except (ValueError, OverflowError):  # of the first or the last day that there is
            return None
        return ctime, local.replace(minute=0, second=0)


def _epoch(time: datetime, zone: tzinfo) -> int:
    # fold=0: see ArchiveName.ctime
    return int(time.replace(tzinfo=zone, fold=0).timestamp())


def _time(text: str) -> datetime | None:
    """Given year, month, day, hour, minute and second, which may be no time at all (February 30th),
    return it or None.
    """
    try:
        return datetime(
            int(text[:4]),
            int(text[5:7]),
            int(text[8:10]),
            int(text[11:13]),
            int(text[14:16]),
            int(text[17:19]),
        )
    except ValueError:
        return None
