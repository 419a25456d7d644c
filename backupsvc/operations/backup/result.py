"""What `backup run --json` says of one backup."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from backupsvc.inventory.listing import as_dict
from backupsvc.operations.backup.memory import recall
from policies import freezing
from policies.model import Operation, OperationState


def backup_outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended backup operation, return its line of ``backup run --json``."""
    memory, book = recall(operation), operation.book
    bad = operation.state is not OperationState.DONE
    warnings = [*freezing.sentences(operation.subject or 0, memory.thaw), *memory.warnings]
    left_frozen = freezing.left(memory.thaw) is not None
    dump, report = memory.dump, memory.dump.report if memory.dump else None
    warned = bool(warnings) or (dump is not None and dump.exitstatus != "OK")
    return {
        "vmid": operation.subject,
        "name": memory.name,
        "node": memory.node,
        "operation": operation.id,
        "status": "failed" if bad else "warnings" if warned else "ok",
        "archive": as_dict(memory.archive) if memory.archive else None,
        "verified": memory.verified,
        "consistency": str(report.consistency) if report else None,
        "consistency_reason": dump.consistency_reason if dump else "",
        "freeze": str(report.freeze) if report else None,
        "excluded_disks": list(report.excluded) if report else [],
        "exitstatus": dump.exitstatus if dump else None,
        "file_systems": asdict(memory.thaw) | {"state": str(memory.thaw.state)}
        if memory.thaw
        else None,
        "findings": [freezing.FINDING] if left_frozen else [],
        "origin": memory.adopted.origin if memory.adopted else None,
        "warnings": warnings,
        "seconds": round(sum(value for step, value in book.seconds.items() if step != "locate"), 3),
        "error": operation.error,
        "exit_code": (book.error.exit_code if book.error else 1) if bad else int(left_frozen),
        "hint": book.error.hint if bad and book.error else "",
    }
