"""What a recovery came to: in one line, and as ``recover --json`` prints it."""

from __future__ import annotations

from typing import Any

from backupsvc.clock import iso
from backupsvc.operations.memories import error_as_dict
from backupsvc.operations.recover.memory import RecoverMemory, recall
from policies.i18n import names
from policies.model import Operation
from policies.recover import turns
from policies.recover.plan import Planned


def summary(operation: Operation) -> str | None:
    """Given a recovery, return in one line what has come of it so far."""
    memory = recall(operation)
    missing = turns.missing(memory.plan, memory.ends)
    said = f"{len(memory.back())} of {len(memory.plan)} guests of {memory.lost} are back"
    return f"{said}, not {names(missing)}" if missing else said


def outcome(operation: Operation) -> dict[str, Any]:
    """Given a recovery, return what ``recover --json`` prints: times in UTC, spans in seconds."""
    memory = recall(operation)
    confirmed = memory.confirmed
    return {
        "operation": operation.id,
        "state": str(operation.state),
        "node": memory.node or None,
        "storage": memory.storage or None,
        "confirmed": {
            "words": confirmed.words,
            "by": confirmed.by,
            "time": iso(confirmed.at),
        },
        "well": memory.well,
        "guests": guests(memory, operation.created),
        "to_do": list(memory.to_do),
        "hidden": list(memory.hidden),
        "error": error_as_dict(operation.book.error),
    }


def guests(memory: RecoverMemory, now: float) -> list[dict[str, Any]]:
    """Given what a recovery remembers, and the time from which ages are counted (epoch seconds),
    return its guests in the order of the plan.
    """
    found, ends = [], memory.ends
    for order, one in enumerate(memory.plan, 1):
        end = ends.get(one.vmid)
        came = {
            "outcome": str(end.outcome) if end else None,
            "why": end.why if end else "",
            "hint": end.hint if end else "",
            "node": end.node if end else None,
            "seconds": end.seconds if end else None,
            "health": str(end.health) if end and end.health else None,
            "operation": memory.children.get(one.vmid),
            "around": list(memory.around.get(one.vmid, ())),
        }
        found.append(guest(one, order, now) | came)
    return found


def guest(one: Planned, order: int, now: float) -> dict[str, Any]:
    """Given a guest of the plan and its place in it, return it as ``--json`` prints it."""
    return {
        "vmid": one.vmid,
        "name": one.name,
        "tier": one.tier,
        "order": order,
        "way": str(one.way),
        "source": {
            "place": one.source or None,
            "volid": one.volid,
            "age_seconds": None if one.at is None else max(0, int(now) - one.at),
            "proven": one.proven,
        },
        "target": one.target,
        "storage": one.storage,
        "expected_seconds": one.seconds,
        "after": list(one.after),
        "commands": list(one.commands),
        "reasons": list(one.reasons),
    }
