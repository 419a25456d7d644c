"""``backupsvc archive``: look at, verify and take apart vzdump archives, all without any cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupsvc.clock import iso
from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from backupsvc.archives.describe import Description
    from backupsvc.archives.verify import Verification
    from backupsvc.archives.vma import Device

app = typer.Typer(no_args_is_help=True, help="Verify, describe and extract archives, without any cluster.")

Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Archives: .vma or .tar, compressed or not.")],
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is not intact.")] = False,
) -> None:
    """Read archives to their last byte: checksum, structure, every cluster of every disk. Exit 1 if one is not intact."""
    from backupsvc.archives.verify import verify_file

    _must_be_readable(files)
    results = []
    with _progress("verifying", files, silent=as_json or quiet) as track:
        for file in files:
            results.append(verify_file(file, on_progress=track(file)))
    if as_json:
        typer.echo(json.dumps({"archives": [result.as_dict() for result in results]}, indent=2))
    else:
        for result in results:
            _tell(result, quiet)
    if not all(result.intact for result in results):
        raise typer.Exit(1)


@app.command()
def info(file: Annotated[Path, typer.Argument(metavar="FILE")], as_json: Json = False) -> None:
    """Say what an archive is, from its name and its header: guest, time, disks, configuration."""
    from backupsvc.archives.describe import describe

    _must_be_readable([file])
    found = describe(file)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        _show(found)


@app.command()
def extract(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; it is made if it does not exist.")],
    as_json: Json = False,
) -> None:
    """Write a VM archive's disks as sparse DEVICE.raw and its configs into DIR. Nothing is left there unless all was intact."""
    from backupsvc.archives.extract import extract as extract_archive

    _must_be_readable([file])
    with _progress("extracting", [file], silent=as_json) as track:
        done = extract_archive(file, directory, on_progress=track(file))
    if as_json:
        typer.echo(json.dumps(done.as_dict(), indent=2))
    else:
        for path in done.files:
            typer.echo(str(path))


def _must_be_readable(files: Sequence[Path]) -> None:
    """Raise UsageError for the first path that is not a file that can be opened."""
    for file in files:
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            raise UsageError(
                f"{file} cannot be read: {error.strerror}", "Name a vzdump archive that this user may read."
            ) from error


@contextmanager
def _progress(verb: str, files: Sequence[Path], *, silent: bool) -> Iterator[Callable[[Path], Callable[[int], None] | None]]:
    """Yield what makes a file's progress callback: a bar on a terminal, nothing in a pipe or when silent."""
    import sys

    if silent or not sys.stderr.isatty():
        yield lambda file: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def track(file: Path) -> Callable[[int], None]:
            task = progress.add_task(f"{verb} {file.name}", total=file.stat().st_size)
            return lambda done: progress.update(task, completed=done)

        yield track


def _tell(result: Verification, quiet: bool) -> None:
    if not result.intact:
        typer.echo(f"{result.file}: NOT intact")
        for problem in result.problems:
            typer.echo(f"  {problem}")
    elif not quiet:
        disks = sum(device.size for device in result.devices)
        typer.echo(f"{result.file}: intact")
        held = f"{_size(disks)} of disks, " if result.devices else ""
        typer.echo(f"  {result.format}, {_size(result.size)}, {held}{result.seconds:.1f} s")
        typer.echo(f"  SHA-256 {result.sha256}")
        if not result.checksummed:
            typer.echo("  structure only: this archive carries no checksum of its data, so a flipped bit in it would not be seen")


def _show(found: Description) -> None:
    lines = {
        "format": found.format,
        "guest": " ".join(str(part) for part in (found.type, found.vmid, found.name) if part),
        "created": iso(found.ctime) if found.ctime is not None else None,
        "uuid": found.uuid,
    }
    typer.echo(found.file)
    for key, value in lines.items():
        if value:
            typer.echo(f"  {key:<8} {value}")
    for device in found.devices:
        typer.echo(f"  {'device':<8} {_device(device)}")
    for name, text in found.configs.items():
        typer.echo(f"\n{name}:")
        typer.echo(text.rstrip("\n"))


def _device(device: Device) -> str:
    return f"{device.name}: {device.size} bytes ({_size(device.size)}), {device.clusters} clusters"


def _size(count: float) -> str:
    """Given bytes, return them in the largest unit that leaves a number of at least one."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
