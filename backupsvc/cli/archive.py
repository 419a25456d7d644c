"""``backupsvc archive``: look at, verify and take apart vzdump archives, all without any cluster;
and acknowledge, in the catalog, that a suspicious one is as it should be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from backupsvc.cli import archive_files
from backupsvc.cli.options import IdentityFile, JsonNotText
from backupsvc.cli.output import bar, console, emit_json, interactive, say, size
from backupsvc.clock import iso
from backupsvc.errors import UsageError
from backupsvc.visible import one_line

app = typer.Typer(
    no_args_is_help=True,
    help="Verify, describe, extract and decrypt archives, and read the files in them, without any "
    "cluster; acknowledge suspicious ones.",
)

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Archives: .vma or .tar, compressed or not.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is not intact.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        metavar="N",
        min=1,
        help="So many at a time; one for each core of this machine without it. A single disk "
        "that turns is read faster with 1.",
    ),
]
EncryptedCopy = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST|FOLDER/NAME",
        help="The manifest of an encrypted copy (NAME.age.json), or the archive's name beside it.",
    ),
]
Output = Annotated[
    Path, typer.Option("--output", help="Where to write; it is made if it does not exist.")
]
Sha256 = Annotated[
    str | None,
    typer.Option("--sha256", help="What the archive's SHA-256 must be, from another source."),
]
DryDecrypt = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be written; decrypt nothing.")
]
Suspicious = Annotated[
    str,
    typer.Argument(metavar="VOLID|ID", help="A suspicious archive, or the backup that made it."),
]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why it is as it should be; it is kept.")
]
DryAcknowledge = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be acknowledged; change nothing.")
]


@app.command()
def verify(
    files: Files, as_json: JsonNotText = False, quiet: Quiet = False, jobs: Jobs = None
) -> None:
    """Read archives to their last byte: checksum, structure, every cluster of every disk. Exit 1 if
    one is not intact.
    """
    from backupsvc.archives.side_by_side import verify_files

    # all of them before the first is read, which may take hours
    for file in files:
        archive_files.must_be_readable(file)
    with _progress("verifying", files, silent=as_json or quiet) as track:
        bars = cache(track)

        def told(file: Path, done: int) -> None:
            if advance := bars(file):
                advance(done)

        results = list(verify_files(files, jobs or len(os.sched_getaffinity(0)), told))
    if as_json:
        emit_json({"archives": [result.as_dict() for result in results]})
        raise typer.Exit(0 if all(result.intact for result in results) else 1)
    for result in results:
        if not result.intact:
            say(f"{result.file}: NOT intact")
            for problem in result.problems:
                say(f"  {problem}")
        elif not quiet:
            disks = sum(device.size for device in result.devices)
            say(f"{result.file}: intact")
            held = f"{size(disks)} of disks, " if result.devices else ""
            say(f"  {result.format}, {size(result.size)}, {held}{result.seconds:.1f} s")
            say(f"  SHA-256 {result.sha256}")
            if not result.checksummed:
                say(
                    "  structure only: this archive carries no checksum of its data, so a flipped "
                    "bit in it would not be seen"
                )
    if not all(result.intact for result in results):
        raise typer.Exit(1)


@app.command()
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE")], as_json: JsonNotText = False
) -> None:
    """Say what an archive is, from its name and its header: guest, time, disks, configuration."""
    from backupsvc.archives.describe import describe

    archive_files.must_be_readable(file)
    found = describe(file)
    if as_json:
        emit_json(found.as_dict())
        return
    created = None
    if found.ctime is not None:
        try:
            created = iso(found.ctime)
        except (ValueError, OverflowError, OSError):  # a header may call any 64 bits a time
            created = f"{found.ctime} seconds after 1970, which is no date"
    lines = {
        "format": found.format,
        "guest": " ".join(str(part) for part in (found.type, found.vmid, found.name) if part),
        "created": created,
        "uuid": found.uuid,
    }
    say(found.file)
    for key, value in lines.items():
        if value:
            say(f"  {key:<8} {value}")
    for disk in found.devices:
        held = f"{disk.size} bytes ({size(disk.size)}), {disk.clusters} clusters"
        say(f"  {'device':<8} {disk.name}: {held}")
    for name, text in found.configs.items():
        say()
        say(f"{name}:")
        for line in text.rstrip("\n").split("\n"):
            say(f"  {line}")


@app.command()
def extract(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write; it is made if it does not exist.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, by the archive's header.")
    ] = False,
    as_json: JsonNotText = False,
) -> None:
    """Write a VM archive's disks as sparse DEVICE.raw and its configs into DIR. Nothing is left
    there unless all was intact.
    """
    from backupsvc.archives.extract import extract as extract_archive
    from backupsvc.archives.extract import foresee

    archive_files.must_be_readable(file)
    if dry_run:
        done = foresee(file, directory)
    else:
        with _progress("extracting", [file], silent=as_json) as track:
            done = extract_archive(file, directory, on_progress=track(file))
    if as_json:
        emit_json({"dry_run": dry_run} | done.as_dict())
    else:
        for path in done.files:
            say(f"would write {path}" if dry_run else str(path))


@app.command()
def decrypt(
    copy: EncryptedCopy,
    identity: IdentityFile = None,
    output: Output = Path(),
    sha256: Sha256 = None,
    dry_run: DryDecrypt = False,
    as_json: JsonNotText = False,
) -> None:
    """Decrypt an encrypted copy in a folder of this machine, without catalog and policy, and give it
    the archive's name once all of it was checked.

    Nothing is overwritten. Exit 1 if anything is missing or not as its manifest says, 2 if none of
    the identities opens it.
    """
    from backupsvc.cli.kit import identities
    from backupsvc.copies.decrypt import decrypt as decrypt_copy
    from backupsvc.copies.decrypt import find, foresee, not_expected

    found = find(copy)
    manifest = found.manifest
    # before a key is asked for: none is to be given for the wrong copy
    if sha256 is not None:
        not_expected(found, sha256)
    told: dict[str, object] = {
        "dry_run": dry_run,
        "manifest": str(found.folder / found.manifest_file),
        "volid": manifest.volid,
        "sha256": manifest.sha256,
        "segments": len(manifest.segments),
        "recipients": list(manifest.recipients),
    }
    if dry_run:
        sizes = [manifest.size, *(one.length for _, one in manifest.sidecars)]
        files, recipient = foresee(found, output), None
    else:
        keys = identities(identity)
        with bar(f"decrypting {manifest.file}", found.size, silent=as_json) as came:
            done = decrypt_copy(found, keys, output, came)
        files, recipient = list(done.files), done.recipient
        sizes = [file.stat().st_size for file in files]
    if as_json:
        listed = [
            {"file": str(file), "size": size} for file, size in zip(files, sizes, strict=True)
        ]
        emit_json(told | {"files": listed, "recipient": recipient})
        return
    for file in files:
        say(f"would write {file}" if dry_run else str(file))
    say(f"  {manifest.volid}, {size(manifest.size)}, SHA-256 {manifest.sha256}")
    if recipient:
        say(f"  opened by the identity of {recipient}")
    # whoever may write at a target can write a manifest to go with it
    say("  hold its SHA-256 against one that was kept elsewhere: --sha256")


@app.command()
def acknowledge(
    what: Suspicious,
    reason: Reason,
    dry_run: DryAcknowledge = False,
    as_json: JsonNotText = False,
) -> None:
    """Say that a suspicious archive is as it should be: from now on it is what is usual of its
    guest, and nothing older is held because of it.

    Who says so, from where, when and why is written into the catalog. Later archives that were
    suspicious beside the earlier ones are judged anew beside this one.
    """
    from backupsvc.cli.session import open_service
    from backupsvc.inventory import archive_signs

    if not reason.strip():
        raise UsageError(
            "an acknowledgement needs a reason",
            "say why the archive is as it should be: --reason 'the disk was formatted on purpose'",
        )
    with open_service() as service:
        done = archive_signs.acknowledge(service, what, reason.strip(), dry_run=dry_run)
    rows = [
        {"vmid": one.vmid, "volid": one.volid, "node": one.node, "said": about.said}
        for one, about in zip(done.archives, done.acknowledgements, strict=True)
    ]
    first = done.acknowledgements[0]
    if as_json:
        released = [
            {"vmid": one.vmid, "volid": one.volid, "node": one.node} for one in done.released
        ]
        by = {"who": first.who, "at": iso(first.at), "reason": first.reason}
        emit_json({"archives": rows, "released": released, "dry_run": dry_run} | by)
        return
    verb = "would be acknowledged" if dry_run else "acknowledged"
    for row in rows:
        say(f"{row['volid']} on {row['node']}, guest {row['vmid']}: {verb} by {first.who}")
        say(f"  {row['said']}")
    for one in done.released:
        say(f"{one.volid} on {one.node}: usual beside it, so suspicious no more")


app.command("files")(archive_files.files)
app.command("copy-out")(archive_files.copy_out)


@contextmanager
def _progress(
    verb: str, files: Sequence[Path], *, silent: bool
) -> Iterator[Callable[[Path], Callable[[int], None] | None]]:
    """Yield what makes a file's progress callback: a bar on a terminal, nothing in a pipe or when
    silent.
    """
    if silent or not interactive(sys.stderr):
        yield lambda file: None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        # brackets in a file's name are brackets
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:

        def track(file: Path) -> Callable[[int], None]:
            task = progress.add_task(one_line(f"{verb} {file.name}"), total=file.stat().st_size)
            return lambda done: progress.update(task, completed=done)

        yield track
