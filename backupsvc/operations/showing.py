"""Operations as people and programs see them: found by a part of an id, with who drives them, what
they wait for, and results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from backupsvc.clock import iso
from backupsvc.engine.kind import Table
from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import UsageError
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.services import Opening
from policies.model import Operation, OperationState

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog

SHORTEST = 4  # letters of an abbreviated id, as in git
_CANDIDATES = 6
UNREADABLE = "what it remembers cannot be read by this version"
T = TypeVar("T")


def find(catalog: Catalog, text: str) -> Operation:
    """Given an id, or a beginning or an end that only one id has, return that operation. Raise
    UsageError if there is not one.
    """
    # ids are ULIDs, in capitals; whoever types one need not be
    part = text.strip().upper()
    if exact := catalog.operations.get(part):
        return exact
    # the rest would be wildcards of LIKE to the catalog, and fit what nobody meant
    if len(part) < SHORTEST or not part.isalnum():
        raise UsageError(
            f"{text!r} is not an operation's id, nor a beginning or an end of one with {SHORTEST} "
            "letters or more",
            "list them with `backupsvc operations list`",
        )
    fitting = catalog.operations.ids_like(part, _CANDIDATES)
    found = catalog.operations.get(fitting[0]) if len(fitting) == 1 else None
    if found:
        return found
    if not fitting:
        raise UsageError(
            f"there is no operation {text}", "list them with `backupsvc operations list`"
        )
    more = ", ..." if len(fitting) == _CANDIDATES else ""
    raise UsageError(
        f"{text} fits several operations: {', '.join(fitting[: _CANDIDATES - 1])}{more}",
        "give more letters of its id; the last ones differ most",
    )


def summary(service: Opening, operation: Operation) -> dict[str, Any]:
    """Given an operation, return it as ``operations list --json`` shows it. Times are ISO 8601 in
    UTC, durations seconds.
    """
    now, kind = service.clock.now(), KINDS[operation.kind]
    is_open = operation.state is OperationState.OPEN
    until = operation.finished if operation.finished is not None else now
    return {
        "id": operation.id,
        "kind": operation.kind,
        "subject": operation.subject,
        "state": str(operation.state),
        "step": operation.step,
        "since": iso(since(operation)),
        "created": iso(operation.created),
        "finished": iso(operation.finished) if operation.finished is not None else None,
        "seconds": round(max(0.0, until - operation.created), 3),
        "occurrence": operation.occurrence,
        "asked_by": operation.book.asked_by or None,
        "driver": driver_name(operation) if is_open and driven(service, operation) else None,
        "due": iso(operation.due) if is_open else None,
        "cancel": operation.cancel,
        "waits": operation.book.waits or None if is_open else None,
        "standing": standing(operation, now, attended=service.engine.attended(operation))
        if is_open
        else None,
        "verdict": kind.known(operation).verdict,
        "result": None if is_open else result(operation),
        "summary": _legible(kind.summary, operation, None),
        "error": operation.error,
    }


def since(operation: Operation) -> float:
    """Given an operation, return since when it stands where it does: at its step, or at its end."""
    if operation.finished is not None:
        return operation.finished
    entered = operation.book.entered.get(operation.step)
    return entered.wall if entered else operation.updated


def driven(service: Opening, operation: Operation) -> bool:
    """Given an open operation, return whether a process that may still live holds its lease."""
    held = operation.lease_until is not None and operation.lease_until > service.clock.now()
    return held and service.engine.attended(operation)


def driver_name(operation: Operation) -> str:
    """Given an operation, return its driver as a person knows it: the host and the process."""
    # behind them stand a boot and a namespace, which tell processes apart and no person anything
    return ":".join(str(operation.lease_owner).split(":")[:2])


def standing(operation: Operation, now: float, *, attended: bool) -> str:
    """Given an open operation, say who drives it or when it is due; ``attended`` is whether
    somebody drives or is expected.
    """
    ending = "ending; " if operation.cancel else ""
    name = driver_name(operation) if operation.lease_owner else ""
    if operation.lease_until is not None and operation.lease_until > now:
        return (
            f"{ending}driven by {name}"
            if attended
            else f"{ending}its driver {name} is gone; whoever comes next takes it over"
        )
    lost = f"its driver {name} was lost; " if name else ""
    if operation.due > now:
        return f"{ending}{lost}due at {iso(operation.due)}"
    nobody = "" if attended else ", and nobody came"
    return f"{ending}{lost}due since {iso(operation.due)}{nobody}"


def result(operation: Operation) -> str:
    """Given an ended operation, return in a few words what came of it."""
    kind = KINDS[operation.kind]
    if kind.known(operation).verdict:  # also of one whose tear-down failed after it
        return _legible(kind.result, operation, UNREADABLE)
    if operation.error:
        return operation.error
    return (
        _legible(kind.result, operation, UNREADABLE)
        if operation.state is OperationState.DONE
        else str(operation.state)
    )


def name_of(operation: Operation) -> str:
    """Given an operation, return the name of the guest that it is about, "" where it is not
    known.
    """
    return _legible(KINDS[operation.kind].name_of, operation, "")


def table(operation: Operation) -> Table | None:
    """Given an operation, return what its parts came to, None where its kind has none."""
    found = KINDS[operation.kind].table
    return _legible(found, operation, None) if found else None


def next_action(operation: Operation) -> str:
    """Given an operation, return the command that the reader most likely wants next."""
    if operation.state is OperationState.OPEN:
        return f"backupsvc operations show {operation.id} --follow"
    again = operation.state in (OperationState.FAILED, OperationState.CANCELLED)
    return (
        f"backupsvc operations retry {operation.id}"
        if again and not KINDS[operation.kind].never_again
        else ""
    )


def exit_code(catalog: Catalog, operation: Operation) -> int:
    """Given an ended operation, return the exit code that its command has in the foreground."""
    return KINDS[operation.kind].exit_code(catalog, operation)


def _legible(question: Callable[[Operation], T], operation: Operation, otherwise: T) -> T:
    """Given what reads an operation's memory, return its answer; ``otherwise`` where another
    version wrote that memory.
    """
    try:
        return question(operation)
    except MemoryUnreadable:
        return otherwise


def remembered(operation: Operation) -> dict[str, Any]:
    """Given an operation, return what ``operations show --json`` calls its data: its memory, and
    the engine's bookkeeping.
    """
    book, memory = (
        operation.book,
        {key: value for key, value in operation.memory.items() if key != "version"},
    )
    asked = {key: value for key, value in (book.asked or {}).items() if key != "version"}
    told: dict[str, Any] = {
        "asked": asked if book.asked is not None else None,
        "asked_by": book.asked_by,
        "retry_of": book.retry_of,
        "within": book.timeout_s,
        "deadline": book.deadline,
        "entered": {step: at.wall for step, at in book.entered.items()},
        "seconds": dict(book.seconds),
        "tries": book.tries,
        "backs": book.backs,
        "waits": book.waits,
        "cancelled": book.cancelled,
        "error": asdict(book.error) if book.error else None,
        "cleanup_error": asdict(book.cleanup_error) if book.cleanup_error else None,
    }
    told |= {f"{name}_upid": task.upid for name, task in book.tasks.items()}
    return memory | {key: value for key, value in told.items() if value not in (None, "", 0, {})}
