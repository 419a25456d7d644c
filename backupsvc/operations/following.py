"""Follow operations that others drive, by the catalog alone: each new line of their history, and
what they wait for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backupsvc.engine.events import Observer, StepEvent
from backupsvc.engine.foreground import FOLLOW_SECONDS
from backupsvc.errors import OperationFailed
from backupsvc.operations import showing
from backupsvc.operations.services import Opening
from policies.model import Operation, OperationState, Transition

_WORDS = {"finished": "done", "failed": "failed", "cancelled": "failed"}


@dataclass(frozen=True, slots=True)
class Look:
    """What has changed since the last look: the operation now, its new transitions, and how it
    stands ("" once it has ended).
    """

    operation: Operation
    transitions: tuple[Transition, ...]
    standing: str


def follow(service: Opening, ids: Sequence[str]) -> Iterator[Look]:
    """Given operations, yield a look at each from its first transition on, and one at every change,
    until all have ended.

    Raise OperationFailed if one of them is not in the catalog.
    """
    left, seen, said = list(dict.fromkeys(ids)), dict.fromkeys(ids, 0), dict.fromkeys(ids, "")
    while left:
        for id in list(left):
            # before its history: what ends in between is seen whole at the next look
            operation = service.catalog.operations.get(id)
            if operation is None:
                raise OperationFailed(
                    f"operation {id} is no longer in the catalog",
                    "list them with `backupsvc operations list`",
                )
            lines, standing = tuple(service.catalog.operations.transitions(id, seen[id])), ""
            if operation.state is not OperationState.OPEN:
                left.remove(id)
            elif service.engine.attended(operation):
                begun = "" if operation.book.entered else "nobody has begun it yet"
                standing = operation.book.waits or begun
            else:
                # who drives it changes with every poll of the workers, so it is only said when
                # nobody comes
                who = showing.standing(operation, service.clock.now(), attended=False)
                standing = f"{operation.book.waits}; {who}" if operation.book.waits else who
            if lines or standing != said[id]:
                seen[id] += len(lines)
                said[id] = standing
                yield Look(operation, lines, standing)
        if left:
            service.clock.sleep(FOLLOW_SECONDS)


def watch(service: Opening, ids: Sequence[str], observer: Observer) -> list[Operation]:
    """Given operations that others drive, tell an observer what happens as if it happened here;
    return them as they ended.
    """
    ended: dict[str, Operation] = {}
    for look in follow(service, ids):
        for event in events(look):
            observer(event)
        ended[look.operation.id] = look.operation
    return [ended[id] for id in ids]


def events(look: Look) -> list[StepEvent]:
    """Given a look, return what it shows as the events that a driver tells."""
    operation, found = look.operation, list[StepEvent]()
    for line in look.transitions:
        detail, step = line.detail, line.step
        if line.event == "started":
            found.append(StepEvent(operation, "step", step))
        elif kind := _WORDS.get(line.event):
            seconds = detail.get("seconds", 0.0)
            seconds = float(seconds) if isinstance(seconds, int | float) else 0.0
            text = str(detail.get("said") or detail.get("message") or "")
            found.append(StepEvent(operation, kind, step, text, seconds))
        elif line.event == "retry":
            text = f"{detail.get('message')}; tried again in {detail.get('pause'):g} s"
            found.append(StepEvent(operation, "say", step, text))
        elif line.event == "back":
            found.append(StepEvent(operation, "say", step, str(detail["why"])))
    if operation.state is not OperationState.OPEN:
        return [*found, StepEvent(operation, "end", operation.step, operation.error or "")]
    return (
        [*found, StepEvent(operation, "wait", operation.step, look.standing)]
        if look.standing
        else found
    )
