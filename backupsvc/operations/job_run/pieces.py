"""The pieces of a night: operations that it opens, each once (law 9), and waits for.

A night that was cancelled, or that another process drives by now, opens none: that is looked at in
the transaction that opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from backupsvc.catalog.fences import Fence
from backupsvc.catalog.operations import EndAsked
from backupsvc.engine.context import CancelAsked, Wait
from backupsvc.errors import OperationFailed, Refused
from backupsvc.operations.job_run.memory import NightMemory
from backupsvc.operations.services import Run
from policies.model import Operation

# given the piece's occurrence, and the night with its driver
Opener = Callable[[str, Fence], Operation | None]


def wait_for(run: Run[NightMemory], openers: Mapping[str, Opener], why: str) -> Wait | None:
    """Open each piece once; return a wait until all have ended. A guest that is busy is tried again
    at the next call.
    """
    for name, opener in openers.items():
        if name not in run.memory.children:
            run.heartbeat()
            open_piece(run, name, opener)
    children = run.memory.children
    waiting = {children[name] for name in openers if name in children}
    # a guest that was busy has no piece yet
    if len(waiting) == len(openers) and not run.service.catalog.operations.still_open(waiting):
        return None
    return Wait(why, most=30.0)


def open_piece(run: Run[NightMemory], name: str, opener: Opener) -> bool:
    """Given a piece's name and what opens it, open it unless that was done before; return False
    while its guest is busy.

    Raise LeaseLost if another process drives the night by now, CancelAsked if somebody asked that
    it end.
    """
    key = f"{run.operation.occurrence}#{name}"
    try:
        # None: this night opened it, and its driver died before it noted so
        found = opener(key, run.fence()) or run.service.catalog.operations.by_occurrence(key)
    except EndAsked as asked:
        raise CancelAsked(asked.message) from None
    except Refused as refused:
        run.say(f"{name} waits: {refused.message}")
        return False
    if found is None:
        raise OperationFailed(
            f"{name} of night {run.operation.occurrence} could not be opened", operation=run.id
        )
    run.memory = replace(run.memory, children={**run.memory.children, name: found.id})
    return True


def ended(run: Run[NightMemory], prefix: str | tuple[str, ...]) -> list[Operation]:
    """Given how pieces' names may begin, return the operations that were opened for them, in the
    order of opening.
    """
    ids = [id for name, id in run.memory.children.items() if name.startswith(prefix)]
    found = (run.service.catalog.operations.get(id) for id in ids)
    return [operation for operation in found if operation is not None]
