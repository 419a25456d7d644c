"""Files and folders of a volume, copied into a folder. What cannot be copied is told, each with its
reason, and the rest is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from backupsvc.archives.filesystems.entries import FILE, FOLDER, SYMLINK
from backupsvc.archives.filesystems.landing import TAKEN, Landing, NotLanded
from backupsvc.archives.filesystems.names import landing_name, parts_of, shown
from backupsvc.archives.filesystems.reader import NotRead, Reader, ReaderLost
from backupsvc.archives.filesystems.told import Entry, Volume
from backupsvc.errors import ArchiveError, UsageError

MAX_ENTRIES = 500_000
MAX_DEPTH = 128
LACKS = {
    "damaged": "what its name points to is not in use: the file system is damaged",
    "reparse": "Windows keeps its content elsewhere (a reparse point): a link, or compressed",
    "encrypted": "it is encrypted (EFS)",
}
# on these file systems names differ in more than the case of their letters
NO_CASE = ("vfat", "ntfs")


@dataclass(slots=True)
class Copied:
    """What was copied, or would be. ``files`` are (path in the guest, file, size in bytes)."""

    directory: Path
    files: list[tuple[str, str, int]] = field(default_factory=list)
    folders: int = 0
    renamed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, _, size in self.files)

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "directory": str(self.directory),
            "files": [
                {"path": path, "file": file, "size": size} for path, file, size in self.files
            ],
            "folders": self.folders,
            "size": self.size,
            "renamed": [{"path": path, "name": name} for path, name in self.renamed],
            "skipped": [{"path": path, "reason": reason} for path, reason in self.skipped],
            "problems": [{"path": path, "reason": reason} for path, reason in self.problems],
        }


def find(reader: Reader, volume: Volume, path: str) -> tuple[tuple[str, ...], Entry | None]:
    """Given a volume and a path in it, return the path's parts as they are written there, and its
    entry, None for the root. Raise UsageError if there is no such file or folder.
    """
    entry: Entry | None = None
    parts: tuple[str, ...] = ()
    for part in parts_of(path):
        if entry is not None and entry.kind == SYMLINK:
            raise UsageError(
                f"{shown(parts)} is a symlink to {entry.target}, which is not followed",
                "Name the path that it leads to.",
            )
        if entry is not None and (entry.kind != FOLDER or entry.lack):
            raise UsageError(f"{shown(parts)} is no folder", "Name a path that is there.")
        listed = reader.entries(volume, entry.id if entry else None)
        entry = next((one for one in listed if one.name == part), None)
        if entry is None and volume.filesystem in NO_CASE:
            # as Windows finds it, unless two names there differ in nothing but their case
            alike = [one for one in listed if one.name.casefold() == part.casefold()]
            entry = alike[0] if len(alike) == 1 else None
        if entry is None:
            raise UsageError(
                f"there is no {shown((*parts, part))} on volume {volume.number} of {volume.disk}",
                "`backupsvc archive files FILE PATH` tells what there is.",
            )
        parts = (*parts, entry.name)
    return parts, entry


def listing(reader: Reader, volume: Volume, path: str) -> list[Entry]:
    """Given a volume and a path in it, return what is in that folder, or the file itself, by name.
    Raise UsageError if there is none.
    """
    _, entry = find(reader, volume, path)
    if entry is not None and (entry.kind != FOLDER or entry.lack):
        return [entry]
    listed = reader.entries(volume, entry.id if entry else None)
    return sorted(listed, key=lambda one: one.name)


def copy_out(
    reader: Reader,
    volume: Volume,
    paths: Sequence[str],
    directory: Path,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Copied:
    """Given a volume, paths in it and a folder, copy them there, each under its own name; of the
    root its content. With ``dry_run`` nothing is written.

    Raise UsageError if one does not exist or its name is taken, NoRoom, ReaderLost. What was copied
    whole until then stays.
    """
    wanted: list[list[tuple[tuple[str, ...], Entry]]] = []
    for path in paths:
        parts, entry = find(reader, volume, path)
        if entry is None:
            wanted.append([((one.name,), one) for one in reader.entries(volume)])
            continue
        if entry.kind not in (FILE, FOLDER) and not entry.lack:
            what = f"a symlink to {entry.target}" if entry.kind == SYMLINK else "no file"
            raise UsageError(
                f"{shown(parts)} is {what}, which is not copied", "Name a file or a folder."
            )
        wanted.append([(parts, entry)])
    # before anything is written: a name that is taken would leave half of what was asked for
    names: set[Path] = set()
    for _, entry in chain(*wanted):
        to = directory / landing_name(entry.name)
        if to in names:
            raise UsageError(f"two of the paths would become {to}", "Copy them one by one.")
        if to.exists() or to.is_symlink():
            raise UsageError(
                f"{to} exists already and is not overwritten", "Name another directory."
            )
        names.add(to)
    walk = _Walk(reader, volume, directory, on_progress)
    with nullcontext() if dry_run else walk.landing.opened() as descriptor:
        for entries in wanted:
            walk.begin()
            walk.all(descriptor, entries, directory)
    return walk.done


class _Walk:
    """Goes through the wanted folders, and writes where there is a descriptor to write to."""

    def __init__(
        self, reader: Reader, volume: Volume, directory: Path, on_progress: Callable[[int], None]
    ) -> None:
        self._reader, self._volume = reader, volume
        self._folders: set[int] = set()
        self._entries = 0
        self.landing, self.done = Landing(directory, on_progress), Copied(directory)

    def begin(self) -> None:
        """A path begins that may lie in, or hold, an earlier one."""
        self._folders.clear()

    def all(
        self, parent: int | None, wanted: Sequence[tuple[tuple[str, ...], Entry]], at: Path
    ) -> None:
        """Copy entries, each told with its path in the guest, into a folder."""
        taken: set[str] = set()
        for parts, entry in wanted:
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                raise ArchiveError(
                    f"there are more than {MAX_ENTRIES} files and folders",
                    "Copy one folder at a time.",
                )
            name = landing_name(entry.name)
            if name != entry.name:
                self.done.renamed.append((shown(parts), name))
            try:
                # two names of the guest's may become one of ours
                if name in taken:
                    raise NotLanded(TAKEN)
                taken.add(name)
                self._one(parent, parts, entry, name, at / name)
            except NotLanded as error:
                self.done.problems.append((shown(parts), f"{at / name}: {error}"))
            except NotRead as error:
                self.done.problems.append((shown(parts), error.message))
            except ReaderLost as error:
                # at which file it was lost is known where that file was asked for
                if error.path:
                    raise
                raise ReaderLost(error.message, error.hint, path=shown(parts)) from error

    def _one(
        self, parent: int | None, parts: tuple[str, ...], entry: Entry, name: str, at: Path
    ) -> None:
        if entry.lack:
            self.done.problems.append((shown(parts), LACKS.get(entry.lack, entry.lack)))
        elif entry.kind == FOLDER and entry.id in self._folders:
            # a damaged or a hostile disk would lead in circles
            self.done.problems.append((shown(parts), "this folder is in two places, or in itself"))
        elif entry.kind == FOLDER and len(parts) > MAX_DEPTH:
            self.done.problems.append((shown(parts), f"deeper than {MAX_DEPTH} folders"))
        elif entry.kind == FOLDER:
            self._folders.add(entry.id)
            # listed before it is made: of one that cannot be read nothing is left behind
            inside = [
                ((*parts, one.name), one) for one in self._reader.entries(self._volume, entry.id)
            ]
            self.done.folders += 1
            made = self.landing.folder(parent, name, entry.mtime) if parent is not None else None
            with made or nullcontext() as descriptor:
                self.all(descriptor, inside, at)
        elif entry.kind == FILE:
            if parent is not None:
                self.landing.file(
                    parent,
                    name,
                    entry.size,
                    self._reader.content(self._volume, entry),
                    # FAT and NTFS keep no such right
                    runs=bool(entry.mode & 0o100) and self._volume.filesystem not in NO_CASE,
                    mtime=entry.mtime,
                )
            self.done.files.append((shown(parts), str(at), entry.size))
        elif entry.kind == SYMLINK:
            self.done.skipped.append((shown(parts), f"a symlink to {entry.target}"))
        else:
            self.done.skipped.append((shown(parts), "neither file nor folder nor symlink"))
