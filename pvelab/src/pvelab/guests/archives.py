"""The archives on a directory storage: listing, sidecar files, removing, pruning (pve-facts 5,
6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pvelab.guests.names import ArchiveName, parse_name
from pvelab.guests.prune import Candidate, parse_keep, prune
from pvelab.kernel import Lab, LabError

_PROTECTED_DEFAULT = 5


@dataclass(frozen=True)
class Archive:
    """One archive file of a storage. Its sidecars bear its full name, but for the log, which loses
    the extension.
    """

    volid: str
    place: Path
    name: ArchiveName

    @property
    def path(self) -> Path:
        """Its file."""
        return self.place / self.name.file

    @property
    def ctime(self) -> int:
        """When it was begun, in epoch seconds: from its name, else the file's own time."""
        return self.name.ctime if self.name.ctime is not None else int(self.path.stat().st_ctime)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.path.stat().st_size

    @property
    def notes(self) -> str:
        """All lines of its notes, empty when it has none."""
        return read_notes(self.path)

    @property
    def protected(self) -> bool:
        """Say whether it is protected."""
        return sidecar(self.path, "protected").exists()

    def remove(self, tz: str) -> bool:
        """Remove it with its notes and log; say whether it was there."""
        return remove(self.path, tz)


def archives(lab: Lab, node: str, storage: str, vmid: int | None = None) -> list[Archive]:
    """Return a storage's archives (with ``vmid``, those whose name holds ``-<vmid>-``), by file
    name.
    """
    # those that are only computed come first: one that is made a file meanwhile is then found
    # twice, and not missed
    computed: list[Archive] = [*lab.history.archives(node, storage, vmid)] if lab.history else []
    found: list[Archive] = []
    place = directory(lab, node, storage)
    for path in sorted(place.glob("*" if vmid is None else f"*-{vmid}-*")):
        name = parse_name(path.name, lab.tz)
        if name and path.is_file():
            found.append(Archive(f"{storage}:backup/{path.name}", place, name))
    files = {archive.name.file for archive in found}
    found += [archive for archive in computed if archive.name.file not in files]
    return sorted(found, key=lambda archive: archive.name.file) if computed else found


def directory(lab: Lab, node: str, storage: str) -> Path:
    """Return where a storage keeps its archives."""
    return lab.storage_dir(node, storage) / "dump"


def sidecar(path: Path, kind: str) -> Path:
    """Return the file ``<archive>.notes`` or ``<archive>.protected``."""
    return path.with_name(f"{path.name}.{kind}")


def read_notes(path: Path) -> str:
    """Return an archive's notes."""
    notes = sidecar(path, "notes")
    return notes.read_text(encoding="utf-8") if notes.is_file() else ""


def write_notes(path: Path, text: str) -> None:
    """Set an archive's notes; empty ones remove the file. A missing archive is no error (pve-facts
    5.5).
    """
    notes = sidecar(path, "notes")
    if text:
        notes.write_text(text, encoding="utf-8")
    else:
        notes.unlink(missing_ok=True)


def set_protected(path: Path, protected: bool) -> None:
    """Protect an archive, or lift that. A missing archive is no error (pve-facts 5.5)."""
    marker = sidecar(path, "protected")
    if protected:
        marker.touch()
    else:
        marker.unlink(missing_ok=True)


def remove(path: Path, tz: str) -> bool:
    """Remove an archive with its notes and log; say whether the archive was there."""
    there = path.exists()
    path.unlink(missing_ok=True)
    sidecar(path, "notes").unlink(missing_ok=True)
    name = parse_name(path.name, tz)
    if name:
        path.with_name(name.log).unlink(missing_ok=True)
    return there


def check_protection_limit(
    lab: Lab, node: str, storage: str, name: ArchiveName | None, unlimited: bool
) -> None:
    """Raise LabError 500 if one more protected archive of this guest and type would exceed the
    storage's limit.

    Without a limit of its own a storage allows five, any number to holders of Datastore.Allocate
    (``unlimited``).
    """
    own = lab.storage(storage).options.get("max-protected-backups")
    limit = int(own) if own is not None else (-1 if unlimited else _PROTECTED_DEFAULT)
    if name is None or limit < 0:
        return
    held = archives(lab, node, storage, name.vmid)
    same = [a for a in held if (a.name.vmid, a.name.type) == (name.vmid, name.type) and a.protected]
    if len(same) >= limit:
        raise LabError(
            500,
            f"The number of protected backups per guest is limited to {limit} on storage "
            f"'{storage}'",
        )


def retention(lab: Lab, storage: str, asked: str | None) -> str | None:
    """Return the retention in force: what was asked for, else the storage's own, None when there is
    neither.
    """
    return asked if asked is not None else lab.storage(storage).options.get("prune-backups")


def prune_marks(
    lab: Lab,
    node: str,
    storage: str,
    keep: str,
    *,
    vmid: int | None = None,
    type: str | None = None,
) -> list[tuple[Archive, str]]:
    """Return the archives (of one guest, one type) with their marks, by file name."""
    chosen = [
        archive
        for archive in archives(lab, node, storage, vmid)
        if vmid in (None, archive.name.vmid) and type in (None, archive.name.type)
    ]
    candidates = []
    for archive in chosen:
        kind, guest = archive.name.type, archive.name.vmid
        group = (kind, guest) if kind is not None and guest is not None else None
        candidates.append(Candidate(group, archive.ctime, archive.protected))
    return list(zip(chosen, prune(candidates, parse_keep(keep), lab.tz), strict=True))


def removable(marked: Iterable[tuple[Archive, str]]) -> list[Archive]:
    """Return the archives marked for removal."""
    return [archive for archive, mark in marked if mark == "remove"]
