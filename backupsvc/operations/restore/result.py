"""What `restore --json` says of one restore."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from backupsvc.clock import iso
from backupsvc.inventory.listing import as_dict
from backupsvc.operations import identity
from backupsvc.operations.memories import error_as_dict
from backupsvc.operations.restore.choice import as_dict as alternative
from backupsvc.operations.restore.memory import recall
from backupsvc.operations.restore.planning import Plan
from policies.model import Operation, OperationState, Proof


def restore_outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended restore, return what ``restore --json`` prints."""
    memory, book = recall(operation), operation.book
    done = operation.state is OperationState.DONE
    return {
        "operation": operation.id,
        "vmid": operation.subject,
        "original": memory.original,
        "clone": memory.clone,
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


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """Given a plan, return it as ``restore --dry-run --json`` prints it: ages and durations in
    seconds, times in UTC.
    """
    planned, chosen = plan.memory, plan.chosen
    told = {
        field.name: getattr(planned, field.name)
        for field in fields(planned)
        if field.name != "start"
    }
    told = {
        name: list(value) if isinstance(value, tuple) else value for name, value in told.items()
    }
    plans = {name: [asdict(need) for need in told[name]] for name in ("rights", "needs")}
    return {
        "vmid": plan.vmid,
        **told,
        **plans,
        "archive": as_dict(planned.archive),
        "age": max(0, plan.now - planned.archive.ctime),
        "proof": _proof(chosen.proof) if chosen.proof else None,
        "lineage": identity.machine(plan.lineage),
        "alternatives": [alternative(one, plan.now) for one in plan.alternatives],
        "target": {"vmid": plan.target, "node": planned.node, "storage": planned.storage},
        "bridges": [asdict(one) for one in plan.nics],
        "differs": list(plan.differs),
        "expected_seconds": plan.expected.seconds if plan.expected else None,
        "blockers": [
            {"message": one.message, "hint": one.hint, "exit_code": one.exit_code}
            for one in plan.blockers
        ],
    }


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "operation": proof.operation,
        "time": iso(proof.ended),
        "rung": str(proof.rung),
        "rto_seconds": proof.rto,
    }
