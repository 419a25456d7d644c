"""What a worker does with one operation: its steps, until it must wait, ends, or is somebody
else's. Without Celery.

Hints say "look at this operation"; a hint that is lost costs a tick, one that comes twice costs a
look at a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.engine.executor import Executor, HeldElsewhere
from backupsvc.errors import LeaseLost
from policies.model import OperationState


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """What one turn came to: operations that became due meanwhile, when to come again (seconds),
    and where.

    ``long`` if the operation's next step works for minutes, and belongs to those who do such steps.
    """

    hints: tuple[str, ...] = ()
    again: float | None = None
    long: bool = False


def work(executor: Executor, id: str, *, long: bool) -> WorkerResult:
    """Given an operation, take its steps until it must wait, ends, or is somebody else's; return
    what is to be sent on.

    Without ``long`` the turn ends before a step that works for minutes.
    """
    mine = False
    while (
        operation := executor.service.catalog.operations.get(id)
    ) and operation.state is OperationState.OPEN:
        workflow = executor.kinds[operation.kind].workflow
        if (
            not long
            and operation.step in workflow.long
            # a step that is cancelled is not begun: it goes to its cleanup, which may be long too
            and (operation.cancel is None or operation.step in workflow.cleanup)
        ):
            # whoever does such steps need not wait until the lease has run out
            if mine:
                executor.give_back(id)
            return WorkerResult(take_hints(executor), again=0.0, long=True)
        try:
            outcome = executor.advance(id)
        except (LeaseLost, HeldElsewhere):
            break
        mine = True
        if outcome.pause is not None:
            return WorkerResult(take_hints(executor), again=outcome.pause)
        if executor.hints and outcome.operation.state is OperationState.OPEN:
            # a node that became free does not wait until this operation's next steps are done too
            executor.give_back(id)
            return WorkerResult(take_hints(executor), again=0.0)
    return WorkerResult(take_hints(executor))


def take_hints(executor: Executor) -> tuple[str, ...]:
    """Return the operations that became due by what this executor did, and forget them: they are
    sent on now.
    """
    hints, executor.hints = tuple(executor.hints), []
    return hints
