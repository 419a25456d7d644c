"""What `restore --json` says of one restore."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from backupsvc.clock import iso
from backupsvc.inventory.listing import as_dict
from backupsvc.operations import identity
from backupsvc.operations.memories import error_as_dict
from backupsvc.operations.restore.choice import as_dict as alternative
from backupsvc.operations.restore.memory import RestoreMemory, recall
from backupsvc.operations.restore.planning import Plan
from policies import restore_guard
from policies.model import Operation
from policies.restore_silence import Look

_UNTIL_BACK = ("choose", "restore", "read-back", "start")


def restore_outcome(operation: Operation, known: RestoreMemory | None = None) -> dict[str, Any]:
    """Given an ended restore, return what ``restore --json`` prints; ``known``: what one of another
    kind remembers.
    """
    memory, book = known or recall(operation), operation.book
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
        "unheard": list(memory.unheard),
        "missing_disks": list(memory.missing_disks),
        "left_out": list(memory.left_out),
        "restored": "read-back" in book.seconds
        and not book.failed_at("choose", "restore", "read-back"),
        "started": "start" in book.seconds and memory.start and not book.failed_at("start"),
        **after_start(memory),
        "stages": [{"name": name, "seconds": value} for name, value in book.seconds.items()],
        "seconds": round(sum(book.seconds.values()), 3),
        # until it was back, and started where that was asked for
        "restored_seconds": round(sum(book.seconds.get(one, 0.0) for one in _UNTIL_BACK), 3),
        # of a replacement
        "replaced": None,
        "error": error_as_dict(book.error),
    }


def after_start(memory: RestoreMemory) -> dict[str, Any]:
    """Given what a restore remembers, return what is told of how its guest fares: the verdict (None:
    nothing was asked), why, the checks, what answered before the start, and who said that the original
    is off.
    """
    judged, given = memory.judged, memory.confirmed
    return {
        "verdict": str(judged.health) if judged else None,
        "reasons": list(judged.reasons) if judged else [],
        "checks": [
            {"name": one.name, "outcome": str(one.outcome), "detail": one.detail}
            for one in memory.checks.values()
        ],
        "before_start": looks_as_dicts(memory.looks),
        "confirmed": {
            "by": given.by,
            "time": iso(given.at),
            "words": given.words,
            "doubts": [one.said for one in given.doubts],
        }
        if given
        else None,
    }


def looks_as_dicts(looks: Iterable[Look]) -> list[dict[str, Any]]:
    """Given what was found at a guest's addresses, return it for JSON: ``found`` is silent, answered
    or unknown.
    """
    return [
        {
            "address": look.address.ip,
            "known_from": look.address.known_from,
            "ports": list(look.address.ports),
            "found": str(look.found.verdict),
            "said": look.found.words,
            "time": iso(look.at),
        }
        for look in looks
    ]


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """Given a plan, return it as ``restore --dry-run --json`` prints it: ages and durations in
    seconds, times in UTC.
    """
    planned, proof = plan.memory, plan.chosen.proof
    lists = (
        *("disks", "missing_disks", "left_out", "passed_over"),
        *("warnings", "room", "cautions", "unheard"),
    )
    return {
        "vmid": plan.vmid,
        "node": planned.node,
        "storage": planned.storage,
        "name": planned.name,
        **{name: list(getattr(planned, name)) for name in lists},
        "nics": dict(planned.nics),
        "rights": [asdict(one) for one in planned.rights],
        "needs": [asdict(one) for one in planned.needs],
        "original": planned.original,
        "clone": planned.clone,
        "overrides": dict(planned.overrides),
        "simulated": planned.simulated,
        "before_start": looks_as_dicts(planned.looks),
        "doubts": [one.said for one in plan.doubts],
        "words": restore_guard.words(plan.vmid) if plan.doubts else None,
        "archive": as_dict(planned.archive),
        "age": max(0, plan.now - planned.archive.ctime),
        "proof": {
            "operation": proof.operation,
            "time": iso(proof.ended),
            "rung": str(proof.rung),
            "rto_seconds": proof.rto,
        }
        if proof
        else None,
        "lineage": identity.machine(plan.lineage),
        "alternatives": [alternative(one, plan.now) for one in plan.alternatives],
        "target": {"vmid": plan.target, "node": planned.node, "storage": planned.storage},
        "bridges": [asdict(one) for one in plan.nics],
        "differs": list(plan.differs),
        "expected_seconds": plan.expected.seconds if plan.expected else None,
        # of a replacement
        "replaces": None,
        "blockers": [
            {"message": one.message, "hint": one.hint, "exit_code": one.exit_code}
            for one in plan.blockers
        ],
    }
