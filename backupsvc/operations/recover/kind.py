"""The kind ``recover``: the guests of a lost node."""

from __future__ import annotations

from dataclasses import replace

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind, error_code
from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import Refused
from backupsvc.operations.recover.away import require_away
from backupsvc.operations.recover.memory import FORM, RecoverMemory, exclusive_key, facts, recall
from backupsvc.operations.recover.result import summary
from backupsvc.operations.recover.steps import HANDLERS, WORKFLOW
from backupsvc.operations.services import StepServices
from policies.model import Operation, OperationState

CONFIRMED_FOR = 24 * 3600  # seconds for which what a person saw of the node counts


def _retry(service: StepServices, operation: Operation, asked: RecoverMemory) -> RecoverMemory:
    """The same plan, without what is back. Nobody is asked again whether the node is off, unless it
    answers, or was seen off too long ago.
    """
    require_away(service, asked)
    ago = service.clock.now() - asked.confirmed.at
    if not 0 <= ago <= CONFIRMED_FOR:
        raise Refused(
            f"that {asked.lost} is {'off' if asked.node else 'lost'} was confirmed more than a day ago",
            "see that it still is so, and begin anew: `backupsvc recover "
            f"{f'--node {asked.node}' if asked.node else f'--storage {asked.storage}'}`",
        )
    memory = recall(operation)
    back = {one.vmid for one in memory.back()}
    return replace(
        asked,
        children={vmid: id for vmid, id in memory.children.items() if vmid in back},
        kept=tuple(sorted(back)),
        ended=tuple(one for one in memory.ended if one.vmid in back),
        around={vmid: lines for vmid, lines in memory.around.items() if vmid in back},
    )


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    """0 if every guest of the most urgent tiers is back, else 1; where it came to no verdict, that
    of its error.
    """
    try:
        memory = recall(operation)
    except MemoryUnreadable:
        return error_code(operation)
    error = operation.book.error
    judged = operation.state is OperationState.DONE or (error and error.step == "judge")
    if not (judged or stopped_by_step(operation)):
        return error_code(operation)
    return 0 if memory.well else 1


def stopped_by_step(operation: Operation) -> bool:
    """Given a recovery that has ended, return whether it stopped after a guest because that was
    asked for.
    """
    return operation.state is OperationState.CANCELLED and operation.cancel is None


RECOVER = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    lambda operation: summary(operation) or recall(operation).lost,
    facts,
    exit_code=_exit_code,
    retry=_retry,
    summary=summary,
    exclusive_key=exclusive_key,
)
