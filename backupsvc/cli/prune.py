"""``backupsvc prune``: apply retention, or say what it would do and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def prune(
    vmid: Annotated[list[int] | None, typer.Option("--vmid", help="Only this guest's archives; may be repeated.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show every archive, its mark and its reasons; remove nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Remove the archives that the policy's retention does not keep. Law 3 has the last word over every one of them."""
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.progress import Progress
    from backupsvc.cli.session import open_service
    from backupsvc.operations import prune as operation

    with open_service() as service:
        if dry_run:
            marks = [operation.mark_as_dict(item) for item in operation.preview(service, vmid or [])]
            result: dict[str, Any] = {"operation": None, "dry_run": True, "archives": marks, "removed": [], "error": None}
        else:
            with Progress(quiet=as_json) as progress:
                service.engine.watcher = progress
                opened = operation.open_prune(service, vmid or [])
                result = operation.outcome(service.engine.drive_one(opened))
    if as_json:
        emit_json(result)
    else:
        _show(result)
    raise typer.Exit(result["error"]["exit_code"] if result["error"] else 0)


def _show(result: dict[str, Any]) -> None:
    from backupsvc.cli.output import say, table, tell

    if result["archives"]:
        rows = [(a["vmid"], a["time"], a["node"], a["volid"], a["mark"], "; ".join(a["reasons"])) for a in result["archives"]]
        table(("VMID", "time", "node", "archive", "mark", "reasons"), rows)
    if result["error"]:
        tell(f"backupsvc: {result['error']['message']}")
        tell(f"  -> {result['error']['hint']}")
    elif result["dry_run"]:
        going = sum(a["mark"] == "remove" for a in result["archives"])
        say(f"{going} of {len(result['archives'])} archives would be removed")
    else:
        say(f"{len(result['removed'])} archives removed")
