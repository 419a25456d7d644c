"""What came of a drill, in words and for programs."""

from __future__ import annotations

from typing import Any

from backupsvc.clock import iso
from backupsvc.operations.ha_drill.memory import Way, recall
from backupsvc.operations.memories import error_as_dict
from policies.ha.drill_told import Drilled, Worth
from policies.i18n import duration
from policies.model import Operation, OperationState


def drilled(operation: Operation) -> Drilled:
    """Given a drill, return what it showed so far."""
    memory, ended = recall(operation), operation.state is not OperationState.OPEN
    out, back = memory.out, memory.back
    away = out.asked is not None
    if not away or (back.arrived and back.answered):
        home: bool | None = True
    else:
        home = None if memory.ended in ("", memory.home) or not ended else False
    return Drilled(
        memory.how,
        out.arrived,
        out.answered,
        home,
        out.heard,
        back.heard,
        memory.simulated,
        memory.lost,
        memory.stranger,
    )


def in_words(operation: Operation) -> str:
    """Given a drill, return in a few words what came of it."""
    memory, found = recall(operation), drilled(operation)
    if not found.went:
        return f"it did not get to {memory.target}"
    least = "at least " if found.at_least else ""
    home = {True: "home again", False: f"now on {memory.ended}", None: "not known to be home"}
    told = (
        f"on {memory.target} and {home[found.home]}; interrupted {least}"
        f"{_seconds(found.interruption)}, longest gap {_seconds(found.longest_gap)}"
    )
    if found.worth is Worth.SIMULATED:
        told += "; simulated"
    return "; ".join((told, *(found.doubts if found.worth is Worth.UNKNOWN else ())))


def outcome(operation: Operation) -> dict[str, Any]:
    """Given a drill, return what ``ha drill --json`` prints: durations in seconds, times in UTC."""
    memory, found = recall(operation), drilled(operation)
    return {
        "operation": operation.id,
        "state": str(operation.state),
        "vmid": operation.subject,
        "name": memory.name,
        "sid": memory.sid,
        "how": memory.how,
        "home": memory.home,
        "target": memory.target,
        "check": memory.check.name,
        "address": memory.address,
        "ended_on": memory.ended or None,
        "back_home": found.home,
        "well": found.well and operation.state is OperationState.DONE,
        "worth": str(found.worth),
        "doubts": list(found.doubts),
        "interruption_seconds": found.interruption,
        "longest_gap_seconds": found.longest_gap,
        "unwatched_seconds": found.unwatched,
        "at_least": found.at_least,
        "out": _way(memory.out),
        "back": _way(memory.back),
        "notes": list(memory.notes),
        "error": error_as_dict(operation.book.worst),
    }


def summary(operation: Operation) -> dict[str, Any]:
    """Given an ended drill, return what ``ha status --json`` tells of it."""
    told = outcome(operation)
    kept = ("operation", "state", "how", "target", "back_home", "ended_on", "well", "worth")
    measured = ("interruption_seconds", "longest_gap_seconds", "unwatched_seconds", "at_least")
    at = iso(operation.finished if operation.finished is not None else operation.created)
    return {"time": at} | {key: told[key] for key in (*kept, *measured)}


def lines(operation: Operation) -> list[str]:
    """Given an ended drill, return the lines that tell it to a person."""
    memory, found = recall(operation), drilled(operation)
    told = [f"guest {operation.subject} ({memory.name}): {in_words(operation)}"]
    for name, way in (("there", memory.out), ("back", memory.back)):
        heard = way.heard
        if heard.samples:
            took = "" if way.seconds is None else f"arrived after {_seconds(way.seconds)}, "
            by = ", by HA itself" if way.itself else ""
            told.append(
                f"  {name}: {took}{heard.failed} of {heard.samples} questions unanswered, "
                f"interrupted {_seconds(heard.interruption)}, longest gap "
                f"{_seconds(heard.longest_gap)}, slowest answer {heard.slowest:.2f} s{by}"
            )
    if found.unwatched:
        told.append(
            f"  nobody listened for {_seconds(found.unwatched)}: what was then is not known"
        )
    return told


def _way(way: Way) -> dict[str, Any]:
    heard = way.heard
    return {
        "asked_at": iso(way.began.wall) if way.began else None,
        "asked": way.count,
        "arrived": way.arrived,
        "by_ha_itself": way.itself,
        "answered": way.answered,
        "seconds": way.seconds,
        "task": way.task or None,
        "task_seconds": way.task_seconds,
        "samples": heard.samples,
        "unanswered": heard.failed,
        "watched_seconds": heard.seconds,
        "interruption_seconds": heard.interruption,
        "longest_gap_seconds": heard.longest_gap,
        "slowest_seconds": heard.slowest,
        "unwatched_seconds": heard.unwatched,
        "at_least": heard.at_least,
    }


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else duration(seconds, "en")
