"""``backupsvc archive files`` and ``archive copy-out``: files out of a VM's archive, without
restoring the guest and without any cluster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupsvc.cli.options import JsonNotText
from backupsvc.cli.output import bar, emit_json, say, size, table, tell
from backupsvc.errors import ArchiveError, UsageError
from backupsvc.visible import one_line

if TYPE_CHECKING:
    from backupsvc.archives.filesystems.copy_out import Copied
    from backupsvc.archives.filesystems.reader import Reader
    from backupsvc.archives.filesystems.told import Volume

Archive = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="An archive of a VM, or a disk that `archive extract` wrote (.raw)."
    ),
]
Disks = Annotated[
    list[str] | None,
    typer.Option(
        "--disk",
        metavar="NAME",
        help="Only this disk, such as scsi0, which takes less time and room; may be repeated, for "
        "LVM over several.",
    ),
]
Number = Annotated[
    int | None,
    typer.Option(
        "--volume", metavar="N", min=1, help="Which volume of the disk, as `archive files` counts."
    ),
]
WorkDir = Annotated[
    Path | None,
    typer.Option(
        "--work-dir",
        metavar="DIR",
        help="Where the disks lie meanwhile, as files without a name; else TMPDIR, else /var/tmp.",
    ),
]
Folder = Annotated[
    str | None, typer.Argument(metavar="[PATH]", help="A folder of the guest, such as /etc.")
]
Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH... DIR",
        help="Files and folders of the guest, and at last the folder to copy them into; it is "
        "made if it does not exist.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be copied; write nothing there.")
]
SHOWN = 20  # lines of one kind for a person; JSON tells all


def files(
    file: Archive,
    path: Folder = None,
    disk: Disks = None,
    volume: Number = None,
    work_dir: WorkDir = None,
    as_json: JsonNotText = False,
) -> None:
    """List a VM archive's disks, and the partitions and LVM volumes on them with their file
    systems; with PATH what is in that folder.

    Read are ext2 to ext4, XFS, NTFS and FAT. The archive is read whole and must be intact.
    """
    from backupsvc.archives.filesystems.copy_out import listing

    with _reader(file, disk, work_dir, silent=as_json) as reader:
        found = reader.volumes()
        chosen, entries, pending = None, None, None
        if path is not None or volume is not None:
            chosen = _chosen(found, disk, volume)
            pending = reader.replay(chosen)
            entries = listing(reader, chosen, path or "/")
    if as_json:
        emit_json(
            {
                "file": str(file),
                "volumes": [one.as_dict() for one in found],
                "volume": chosen.as_dict() | {"journal_pending": pending} if chosen else None,
                "path": (path or "/") if chosen else None,
                "entries": None if entries is None else [one.as_dict() for one in entries],
            }
        )
        return
    if entries is None:
        _show_volumes(found)
        return
    rows = []
    for one in entries:
        leads = one.kind == "symlink" and one.target is not None
        name = one.name + (f" -> {one.target}" if leads else "")
        name += f" ({one.lack})" if one.lack else ""
        rows.append((one.kind, f"{one.mode:04o}", str(one.size), one.when or "-", name))
    table(("type", "mode", "size", "modified (UTC)", "name"), rows)
    _warn(pending)


def copy_out(
    file: Archive,
    paths: Paths,
    disk: Disks = None,
    volume: Number = None,
    work_dir: WorkDir = None,
    dry_run: DryRun = False,
    as_json: JsonNotText = False,
) -> None:
    """Copy files and folders out of a VM's archive into DIR. Nothing is overwritten, nothing is
    written outside of DIR, and a file has its name only once it is whole.

    Copies are yours alone (0600, 0700). Symlinks, devices and the like are named and left out, names
    that would act on a terminal are written out. Exit 1 if anything could not be copied.
    """
    from backupsvc.archives.filesystems.copy_out import copy_out as copy

    *wanted, target = paths
    if not wanted:
        raise UsageError(
            "copy-out needs a path of the guest and a folder to copy into",
            f"backupsvc archive copy-out {file} /etc DIR; `archive files` tells what there is.",
        )
    directory = Path(target)
    # before the archive is read whole, which may take long
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is no folder", "Name a folder to copy into.")
    with _reader(file, disk, work_dir, silent=as_json) as reader:
        chosen = _chosen(reader.volumes(), disk, volume)
        pending = reader.replay(chosen)
        with bar(f"copying from {file.name}", chosen.size, silent=as_json) as came:
            try:
                done = copy(reader, chosen, wanted, directory, dry_run=dry_run, on_progress=came)
            except OSError as error:
                raise ArchiveError(
                    f"{error.filename or directory} cannot be written: {error.strerror}",
                    "Check the space and the rights there. What was copied whole is left there.",
                ) from error
    if as_json:
        told = {"dry_run": dry_run, "file": str(file)}
        emit_json(
            told | {"volume": chosen.as_dict() | {"journal_pending": pending}} | done.as_dict()
        )
    else:
        _show_copied(done, dry_run=dry_run)
        _warn(pending)
    # what is left out on purpose, a device or a link, is no failure
    if done.problems:
        raise typer.Exit(1)


def must_be_readable(file: Path) -> None:
    """Raise UsageError if a path is not a file that can be opened."""
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}",
            "Name a vzdump archive that this user may read.",
        ) from error


@contextmanager
def _reader(
    file: Path, disks: Sequence[str] | None, work_dir: Path | None, *, silent: bool
) -> Iterator[Reader]:
    """Yield the reader of an archive's disks, which are gone afterwards."""
    from backupsvc.archives.disks import opened_disks
    from backupsvc.archives.filesystems.reader import Reader

    must_be_readable(file)
    total = file.stat().st_size
    work = work_dir or Path(os.environ.get("TMPDIR") or "/var/tmp")
    if not os.access(work, os.W_OK | os.X_OK):
        raise UsageError(f"{work} is no folder that can be written to", "Name one: --work-dir DIR.")
    with ExitStack() as stack:
        with bar(f"reading {file.name}", total, silent=silent) as came:
            # the reader tells how far it is, and the bar is told what is new
            last = [0]

            def progress(done: int) -> None:
                came(done - last[0])
                last[0] = done

            opened = stack.enter_context(opened_disks(file, disks or [], work, progress))
        yield stack.enter_context(Reader(opened))


def _chosen(found: Sequence[Volume], disks: Sequence[str] | None, number: int | None) -> Volume:
    """Given all volumes, the disks and the number that were named, return the volume that is meant.
    Raise UsageError if that is none, or several.
    """
    from backupsvc.archives.disks import disk_name

    first = disk_name(disks[0]) if disks else None
    there = [one for one in found if first is None or disk_name(one.disk) == first]
    if number is not None:
        there = [one for one in there if one.number == number]
        if not there:
            raise UsageError(f"there is no volume {number}", "`archive files FILE` lists them.")
    readable = [one for one in there if one.readable]
    # what is the only one need not be named
    if len(readable) == 1:
        return readable[0]
    if readable:
        names = ", ".join(f"--disk {one.disk} --volume {one.number}" for one in readable[:SHOWN])
        raise UsageError(
            f"there are {len(readable)} volumes with a file system that can be read",
            f"Name one: {names}.",
        )
    held = {one.note or one.filesystem or "unknown" for one in there}
    raise UsageError(
        f"there is no file system that can be read: {', '.join(sorted(held)) or 'nothing'}",
        "ext2 to ext4, XFS, NTFS and FAT are read. For others restore the guest under another VMID.",
    )


def _show_volumes(found: Sequence[Volume]) -> None:
    rows = [
        (
            one.disk,
            one.number,
            one.place,
            one.name or "-",
            size(one.size),
            one.filesystem or "unknown",
            "yes" if one.readable else "no",
            one.note,
        )
        for one in found
    ]
    table(("disk", "N", "place", "name", "size", "holds", "readable", ""), rows)


def _show_copied(done: Copied, *, dry_run: bool) -> None:
    verb = "would be copied" if dry_run else "copied"
    say(
        f"{len(done.files)} files ({size(done.size)}) and {done.folders} folders {verb} to "
        f"{done.directory}"
    )
    _some([f"under another name: {path} as {name}" for path, name in done.renamed])
    _some([f"left out: {path}: {reason}" for path, reason in done.skipped])
    _some([f"NOT {verb}: {path}: {reason}" for path, reason in done.problems])


def _some(lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        say(f"  {one_line(line)}")
    if len(lines) > SHOWN:
        say(f"  and {len(lines) - SHOWN} more, which --json lists")


def _warn(pending: bool | None) -> None:
    """The journal is not replayed, as mounting would: what a guest wrote last may be only there."""
    if pending:
        tell(
            "this file system was in use, and its journal holds changes that are not in what is "
            "read here: what was written last may be missing, or old"
        )
