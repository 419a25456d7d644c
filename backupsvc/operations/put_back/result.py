"""What came of a putting back, for people and programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from backupsvc.clock import iso
from backupsvc.engine.kind import Table
from backupsvc.errors import BackupsvcError
from backupsvc.operations.put_back.memory import Piece, PutBackMemory, recall
from backupsvc.operations.put_back.opening import Ahead
from policies.model import Operation, OperationState
from policies.surroundings import Surrounding
from policies.surroundings.putting_back import Ended, Outcome, left_over

_NOT_REACHED = "it was not reached: the operation ended before"


def ends(memory: PutBackMemory) -> tuple[tuple[Surrounding, Ended], ...]:
    """Given what one remembers, return what became of each thing."""
    return ends_of(memory.pieces)


def ends_of(pieces: Iterable[Piece]) -> tuple[tuple[Surrounding, Ended], ...]:
    """Given the pieces of an operation that has ended, return what became of each thing."""
    return tuple((one.thing, _end(one)) for one in pieces)


def _end(piece: Piece) -> Ended:
    return piece.end or left_over(piece.thing, Outcome.SKIPPED, _NOT_REACHED)


def is_left(memory: PutBackMemory) -> bool:
    """Given what one remembers, return whether a person must still do or look at something."""
    return any(end.left for _, end in ends(memory))


def to_type(came: Iterable[Ended | None]) -> Iterator[str]:
    """Given what became of everything, yield the lines that tell what is left to be typed."""
    commands = [command for end in came if end for command in end.commands]
    if commands:
        yield "left to be typed, as root on a node, in this order:"
        yield from (f"  {command}" for command in commands)


def as_table(memory: PutBackMemory) -> Table:
    """Given what one remembers, return it as a table: each thing with what became of it."""
    came = ends(memory)
    rows = tuple((thing.what, str(end.outcome), end.detail) for thing, end in came)
    return Table(("what", "came of it", "why"), rows, tuple(to_type(end for _, end in came)))


def outcome(operation: Operation) -> dict[str, Any]:
    """Given one that has ended, return it as ``catalog config put-back --json`` prints it."""
    memory, error = recall(operation), operation.book.error
    ended_well = operation.state is OperationState.DONE
    return {
        "operation": operation.id,
        "vmid": memory.vmid,
        "as_vmid": operation.subject,
        "kept_at": iso(memory.kept_at),
        "items": [item(thing, end) for thing, end in ends(memory)],
        "left": is_left(memory) or not ended_well,
        "error": None
        if ended_well
        else {
            "message": error.message if error else f"it was {operation.state}",
            "hint": error.hint if error else "",
            "exit_code": error.exit_code if error else 1,
        },
    }


def ahead_as_dict(ahead: Ahead) -> dict[str, Any]:
    """Given what would be put back, return it as ``--dry-run --json`` prints it."""
    blocker = ahead.blocker
    return {
        "operation": None,
        "vmid": ahead.memory.vmid,
        "as_vmid": ahead.vmid,
        "kept_at": iso(ahead.memory.kept_at),
        "items": [item(thing, end) for thing, end in ahead.things],
        "left": any(end is not None and end.left for _, end in ahead.things),
        "error": refused(blocker)["error"],
    }


def refused(error: BackupsvcError | None) -> dict[str, Any]:
    """Given why nothing was begun, return it in the form of ``outcome``."""
    told = error and {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    nothing = dict.fromkeys(("operation", "vmid", "as_vmid", "kept_at"))
    return nothing | {"items": [], "left": True, "error": told}


def item(thing: Surrounding, end: Ended | None) -> dict[str, Any]:
    """Given a thing and what became of it (None: it would be put back), return it."""
    return {
        "kind": str(thing.kind),
        "name": thing.name,
        "what": thing.what,
        "action": "planned" if end is None else str(end.outcome),
        "detail": thing.detail if end is None else end.detail,
        "commands": list(thing.commands if end is None else end.commands),
        "left": end is not None and end.left,
    }
