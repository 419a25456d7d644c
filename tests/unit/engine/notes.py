"""Kinds of operations for the engine's tests: their real steps, of which each only leaves its name
in a small memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from backupsvc.catalog.operations import Kept
from backupsvc.engine import context
from backupsvc.engine.kind import OperationKind
from backupsvc.engine.memory import MemoryForm
from backupsvc.operations.kinds import KINDS
from policies.bookkeeping import Bookkeeping
from policies.model import Operation


@dataclass(frozen=True)
class Notes:
    """What the steps leave: which ran, how often one was polled, what a task came to."""

    walked: tuple[str, ...] = ()
    polled: int = 0
    result: str = ""


NOTHING = Kept({}, Bookkeeping())
NOTES = MemoryForm(Notes)
Run: TypeAlias = context.Run[Any, Notes]
Handler = Callable[[Run], Any]


def read(operation: Operation) -> Notes:
    """Given an operation of such a kind, return what its steps left."""
    return NOTES.read(operation.memory)


def leave(step: str) -> Handler:
    """A step that does nothing but leave its name."""

    def handler(run: Run) -> None:
        run.memory = replace(run.memory, walked=(*run.memory.walked, step))

    return handler


def kinds(kind: str, **special: Handler) -> dict[str, OperationKind[Any, Any]]:
    """Every kind with a memory of notes; each step of one does nothing but leave its name, unless
    it is given.
    """
    bare = {
        name: OperationKind(one.workflow, one.handlers, NOTES, result=lambda operation: "done")
        for name, one in KINDS.items()
    }
    plan = KINDS[kind].workflow
    steps = {step: leave(step) for step in plan.steps + plan.cleanup}
    steps |= {name.replace("_", "-"): handler for name, handler in special.items()}
    return bare | {kind: replace(bare[kind], handlers=steps)}
