"""``backupsvc operations``: what the service did, step by step, with times, UPIDs and PVE's own task logs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from policies.model import Operation

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("list")
def list_operations(
    vmid: Annotated[int | None, typer.Option("--vmid", help="Only those about this guest.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many, newest first.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List operations, newest first."""
    from backupsvc.cli.output import emit_json, table
    from backupsvc.cli.session import open_service

    with open_service() as service:
        found = [_summary(item) for item in service.catalog.operations(subject=vmid, limit=limit)]
    if as_json:
        emit_json({"operations": found})
        return
    rows = [
        (o["id"], o["kind"], o["subject"], o["state"], o["step"], o["created"], o["verdict"] or o["error"] or o["summary"] or "")
        for o in found
    ]
    table(("operation", "kind", "VMID", "state", "step", "opened", "result"), rows)


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="The operation's id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show an operation with every transition, and the PVE task logs that it kept."""
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.clock import iso

    with open_service() as service:
        operation = service.catalog.operation(id)
        rows = service.catalog.transitions(id) if operation else []
    if operation is None:
        raise UsageError(f"there is no operation {id}", "list them with `backupsvc operations list`")
    if as_json:
        transitions = [asdict(row) | {"detail": dict(row.detail), "time": iso(row.at)} for row in rows]
        emit_json(_summary(operation) | {"data": dict(operation.data), "transitions": transitions})
        return
    for key, value in _summary(operation).items():
        say(f"{key:<9} {value if value is not None else '-'}")
    for row in rows:
        detail = {key: value for key, value in row.detail.items() if key != "log"}
        say(f"{iso(row.at)}  {row.step:<10} {row.event:<10} {row.upid or ''} {detail or ''}".rstrip())
        for line in _log(row.detail):
            say(f"    {line}")


def _log(detail: Any) -> list[str]:
    return [str(line) for line in detail.get("log", ())]


def _summary(operation: Operation) -> dict[str, Any]:
    from backupsvc.clock import iso
    from backupsvc.operations.night import summary

    data: Any = operation.data
    return {
        "id": operation.id,
        "kind": operation.kind,
        "subject": operation.subject,
        "state": str(operation.state),
        "step": operation.step,
        "created": iso(operation.created),
        "finished": iso(operation.finished) if operation.finished else None,
        "verdict": (data.get("proof") or {}).get("verdict"),
        "error": operation.error,
        "summary": summary(operation),
    }
