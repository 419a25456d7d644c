"""``backupsvc retention simulate``: what a keep string would do to a list of archives, without any
cluster.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from policies.model import Archive, Marked

app = typer.Typer(no_args_is_help=True)

SHAPE = (
    'a JSON list such as [{"volid": "local:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst", '
    '"ctime": 1773086402, "vmid": 108, "type": "qemu"}]'
)


@app.callback()
def _group() -> None:
    pass


@app.command("simulate")
def simulate(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="JSON list of archives as PVE's storage lists them; - reads stdin."
        ),
    ],
    keep: Annotated[
        str,
        typer.Option(
            "--keep", help="PVE's prune-backups string, such as keep-last=3,keep-daily=7."
        ),
    ],
    timezone: Annotated[
        str, typer.Option("--timezone", help="Time zone in which file names are read.")
    ] = "UTC",
    vmid: Annotated[
        int | None,
        typer.Option("--vmid", help="Only this guest's archives; others come back unmarked."),
    ] = None,
    type: Annotated[
        str | None,
        typer.Option("--type", help="Only qemu or lxc archives; others come back unmarked."),
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Print a table instead of JSON.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the bare list.")
    ] = False,
) -> None:
    """Mark every archive keep, remove, protected or renamed exactly as PVE would, with the reasons.
    Nothing is removed.
    """
    from policies import retention
    from policies.model import PolicyError
    from policies.pve import prune_backups

    if table and as_json:
        raise UsageError("--table does not go with --json", "leave one of them out")
    if type not in (None, "qemu", "lxc"):
        raise UsageError(f"--type {type}: unknown guest type", "use qemu or lxc")
    try:
        rules = prune_backups.parse_keep(keep)
    except PolicyError as error:
        raise UsageError(
            error.message, f"correct --keep {keep!r}, for example keep-last=3,keep-daily=7"
        ) from None
    entries = _entries(file)
    try:
        marked = retention.decide(
            [_archive(entry) for entry in entries], rules, timezone, vmid=vmid, type=type
        )
    except PolicyError as error:
        raise UsageError(
            f"--timezone: {error.message}", "use a name such as Europe/Paris"
        ) from None
    if table:
        _show(entries, marked, rules.describe())
    else:
        _print_json(entries, marked, bare=not as_json)


def _entries(file: str) -> list[dict[str, Any]]:
    """Given the name of a JSON file, or - for standard input, return its archives. Raise
    UsageError if it cannot be read, or, naming the archive, if what is needed is not there.
    """
    try:
        text = (
            sys.stdin.buffer.read().decode()
            if file == "-"
            else Path(file).read_text(encoding="utf-8")
        )
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", f"give {SHAPE}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text", f"give {SHAPE}") from None
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON: {error}", f"give {SHAPE}") from None
    if not isinstance(entries, list):
        raise UsageError(f"{file} holds no JSON list", f"give {SHAPE}")
    for number, entry in enumerate(entries, 1):
        if problem := _problem(entry):
            raise UsageError(f"{file}: archive {number} {problem}", f"give {SHAPE}")
    return entries


def _problem(entry: object) -> str | None:
    """Given one archive of the input, return what is wrong with it, or None."""
    if not isinstance(entry, dict):
        return "is not an object"
    if not isinstance(entry.get("volid"), str) or not entry["volid"]:
        return "has no volid (a text)"
    if not _is_whole(entry.get("ctime")):
        return f"({entry['volid']}) has no ctime (whole epoch seconds)"
    if entry.get("vmid") is not None and not _is_whole(entry["vmid"]):
        return f"({entry['volid']}) has a vmid that is not a whole number"
    return None


def _is_whole(value: object) -> bool:
    """Return whether a value is a whole number, which PVE writes as a number or as its digits."""
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) < 20
    return isinstance(value, int) and not isinstance(value, bool)


def _archive(entry: Mapping[str, Any]) -> Archive:
    from policies.model import Archive
    from policies.pve.volid import storage_of

    storage = storage_of(entry["volid"])
    vmid = None if entry.get("vmid") is None else int(entry["vmid"])
    protected = entry.get("protected") in (True, 1, "1")  # PVE writes 1, and leaves it out for 0
    return Archive(
        entry["volid"], "", storage, vmid, None, int(entry["ctime"]), 0, protected=protected
    )


def _print_json(
    entries: Sequence[Mapping[str, Any]], marked: Sequence[Marked | None], *, bare: bool
) -> None:
    from backupsvc.cli.output import emit_json, emit_json_lines

    result = [
        dict(entry)
        if one is None
        else {**entry, "mark": str(one.mark), "reasons": list(one.reasons)}
        for entry, one in zip(entries, marked, strict=True)
    ]
    if bare:
        emit_json_lines(result)
    else:
        emit_json({"archives": result})


def _show(
    entries: Sequence[Mapping[str, Any]], marked: Sequence[Marked | None], rules: str
) -> None:
    from backupsvc.cli.output import say, table

    rows = [
        (
            entry["volid"],
            str(one.mark) if one else "-",
            "; ".join(one.reasons) if one else "left out by --vmid or --type",
        )
        for entry, one in zip(entries, marked, strict=True)
    ]
    table(("archive", "mark", "reasons"), rows)
    going = sum(one is not None and one.mark == "remove" for one in marked)
    say(f"{rules}: {going} of {len(marked)} archives would be removed")
