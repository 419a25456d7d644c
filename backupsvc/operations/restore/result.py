"""What `restore --json` says of one restore."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from backupsvc.inventory.listing import as_dict
from backupsvc.operations.memories import error_as_dict
from backupsvc.operations.restore.memory import RestoreMemory, recall
from policies.model import Operation, OperationState


def restore_outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended restore, return what ``restore --json`` prints."""
    memory, book = recall(operation), operation.book
    done = operation.state is OperationState.DONE
    return {
        "operation": operation.id,
        "vmid": operation.subject,
        "name": memory.name,
        "node": memory.node,
        "storage": memory.storage,
        "archive": as_dict(memory.archive),
        "warnings": list(memory.warnings),
        "cautions": list(memory.cautions),
        "room": list(memory.room),
        "missing_disks": list(memory.missing_disks),
        "left_out": list(memory.left_out),
        "restored": "read-back" in book.seconds
        and not book.failed_at("choose", "restore", "read-back"),
        "started": done and memory.start,
        "stages": [{"name": name, "seconds": value} for name, value in book.seconds.items()],
        "seconds": round(sum(book.seconds.values()), 3),
        "error": error_as_dict(book.error),
    }


def plan_as_dict(planned: RestoreMemory) -> dict[str, Any]:
    """Given a plan, return it as ``restore --dry-run --json`` prints it."""
    told = {
        field.name: getattr(planned, field.name)
        for field in fields(planned)
        if field.name != "start"
    }
    told = {
        name: list(value) if isinstance(value, tuple) else value for name, value in told.items()
    }
    plans = {name: [asdict(need) for need in told[name]] for name in ("rights", "needs")}
    return told | plans | {"archive": as_dict(planned.archive)}
