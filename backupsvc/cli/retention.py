"""``backupsvc retention simulate``: what a keep string would do to a list of archives, without any
cluster.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from policies.model import Archive

app = typer.Typer(no_args_is_help=True)

SHAPE = (
    'a JSON list such as [{"volid": "local:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst", '
    '"ctime": 1773086402, "vmid": 108, "type": "qemu"}]'
)

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="JSON list of archives as PVE's storage lists them; - reads stdin."
    ),
]
Keep = Annotated[
    str,
    typer.Option("--keep", help="PVE's prune-backups string, such as keep-last=3,keep-daily=7."),
]
Timezone = Annotated[
    str, typer.Option("--timezone", help="Time zone in which file names are read.")
]
OfGuest = Annotated[
    int | None,
    typer.Option("--vmid", help="Only this guest's archives; others come back unmarked."),
]
OfType = Annotated[
    str | None,
    typer.Option("--type", help="Only qemu or lxc archives; others come back unmarked."),
]
AsTable = Annotated[bool, typer.Option("--table", help="Print a table instead of JSON.")]
AsObject = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of the bare list.")
]


@app.callback()
def _group() -> None:
    pass


@app.command("simulate")
def simulate(
    file: File,
    keep: Keep,
    timezone: Timezone = "UTC",
    vmid: OfGuest = None,
    type: OfType = None,
    table: AsTable = False,
    as_json: AsObject = False,
) -> None:
    """Mark every archive keep, remove, protected or renamed exactly as PVE would, with the reasons.
    Nothing is removed.
    """
    from backupsvc.cli import output
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
    entries, archives = _read(file)
    try:
        marked = retention.decide(archives, rules, timezone, vmid=vmid, type=type)
    except PolicyError as error:
        raise UsageError(
            f"--timezone: {error.message}", "use a name such as Europe/Paris"
        ) from None
    if table:
        rows = [
            (
                entry["volid"],
                str(one.mark) if one else "-",
                "; ".join(one.reasons) if one else "left out by --vmid or --type",
            )
            for entry, one in zip(entries, marked, strict=True)
        ]
        output.table(("archive", "mark", "reasons"), rows)
        going = sum(one is not None and one.mark == "remove" for one in marked)
        output.say(f"{rules.describe()}: {going} of {len(marked)} archives would be removed")
        return
    # what --vmid or --type leaves out comes back as it came
    result = [
        entry if one is None else entry | {"mark": str(one.mark), "reasons": list(one.reasons)}
        for entry, one in zip(entries, marked, strict=True)
    ]
    if as_json:
        output.emit_json({"archives": result})
    else:
        output.emit_json_lines(result)


def _read(file: str) -> tuple[list[dict[str, Any]], list[Archive]]:
    """Given the name of a JSON file, or - for standard input, return its archives, as they stand
    there and as values. Raise UsageError if it cannot be read, or, naming the archive, if what is
    needed is not there.
    """
    from policies.model import Archive
    from policies.pve.volid import storage_of

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
        if not isinstance(entry, dict):
            problem = "is not an object"
        elif not isinstance(entry.get("volid"), str) or not entry["volid"]:
            problem = "has no volid (a text)"
        elif not _is_whole(entry.get("ctime")):
            problem = f"({entry['volid']}) has no ctime (whole epoch seconds)"
        elif entry.get("vmid") is not None and not _is_whole(entry["vmid"]):
            problem = f"({entry['volid']}) has a vmid that is not a whole number"
        else:
            continue
        raise UsageError(f"{file}: archive {number} {problem}", f"give {SHAPE}")
    archives = []
    for entry in entries:
        vmid = None if entry.get("vmid") is None else int(entry["vmid"])
        storage, ctime = storage_of(entry["volid"]), int(entry["ctime"])
        # PVE writes 1, and leaves it out for 0
        protected = entry.get("protected") in (True, 1, "1")
        archives.append(
            Archive(entry["volid"], "", storage, vmid, None, ctime, 0, protected=protected)
        )
    return entries, archives


def _is_whole(value: object) -> bool:
    """Return whether a value is a whole number, which PVE writes as a number or as its digits."""
    if isinstance(value, str):
        # 20 digits are more than 64 bits hold, and no time and no VMID
        return value.isascii() and value.isdigit() and len(value) < 20
    return isinstance(value, int) and not isinstance(value, bool)
