"""Names on storages: volids, vzdump's file names and the local time in them (libpve-storage
Storage/Plugin.pm; pve-facts 5.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

_EXTENSION = r"(?P<extension>tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)"
_STANDARD = re.compile(
    r"vzdump-(?P<type>lxc|openvz|qemu)-(?P<vmid>[1-9][0-9]{2,8})-(?P<time>\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)\."
    + _EXTENSION
)
_BACKUP = re.compile(r".+\." + _EXTENSION)
_LOOSE_OWNER = re.compile(r"vzdump-(?:lxc|openvz|qemu)-(\d+)-.+")
_TIME = "%Y_%m_%d-%H_%M_%S"


@dataclass(frozen=True)
class ArchiveName:
    """A backup's file name taken apart. ``type`` and ``ctime`` (epoch seconds) only when it is one
    that vzdump writes.
    """

    file: str
    extension: str
    type: str | None = None
    vmid: int | None = None
    ctime: int | None = None

    @property
    def standard(self) -> bool:
        """Say whether vzdump could have written this name: only such archives are pruned."""
        return self.ctime is not None

    @property
    def log(self) -> str:
        """The name of the log file next to it, which loses the archive's extension."""
        return self.file[: -len(self.extension) - 1] + ".log"


def parse_name(file: str, tz: str) -> ArchiveName | None:
    """Given a file name and the node's time zone, return its parts, None if no backup is called
    so.
    """
    found = _STANDARD.fullmatch(file)
    if found:
        return ArchiveName(
            file,
            found["extension"],
            found["type"],
            int(found["vmid"]),
            local_epoch(found["time"], tz),
        )
    loose = _BACKUP.fullmatch(file)
    if loose is None:
        return None
    # renamed: listed as of its guest, but in no group (pve-facts 6.1)
    owner = _LOOSE_OWNER.fullmatch(file)
    return ArchiveName(file, loose["extension"], None, int(owner[1]) if owner else None)


def archive_name(vmid: int, when: int, tz: str, suffix: str, type: str = "qemu") -> str:
    """Return the name that vzdump gives an archive begun at ``when`` (epoch seconds); ``suffix``
    like ``.zst`` or empty.
    """
    form = "tar" if type == "lxc" else "vma"
    return f"vzdump-{type}-{vmid}-{datetime.fromtimestamp(when, ZoneInfo(tz)).strftime(_TIME)}.{form}{suffix}"


def local_epoch(text: str, tz: str) -> int:
    """Given a name's local time, return epoch seconds: the first of two in autumn, one hour later
    where spring has none.
    """
    # fold 0 is Python's first of two, and lies an hour later where there is none (pve-facts 5.2)
    return int(datetime.strptime(text, _TIME).replace(tzinfo=ZoneInfo(tz)).timestamp())


def stamp(when: int, tz: str) -> str:
    """Return ``YYYY-MM-DD HH:MM:SS`` in the node's local time, as logs write it."""
    return datetime.fromtimestamp(when, ZoneInfo(tz)).strftime("%Y-%m-%d %H:%M:%S")


def split_volid(volid: str) -> tuple[str, str] | None:
    """Given ``storage:name``, return both, None for anything else (a path, say)."""
    storage, colon, name = volid.partition(":")
    return (
        (storage, name)
        if colon and name and re.fullmatch(r"(?i)[a-z][a-z0-9\-_.]*[a-z0-9]", storage)
        else None
    )
