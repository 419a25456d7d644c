"""The kind ``restore``."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind, done_or_error
from backupsvc.operations.restore.memory import FORM, RestoreMemory, facts, recall
from backupsvc.operations.restore.planning import plan_restore
from backupsvc.operations.restore.steps import HANDLERS, WORKFLOW
from backupsvc.operations.services import StepServices
from policies.model import Operation, OperationState
from policies.restore_verdict import Health


def _retry(service: StepServices, operation: Operation, asked: RestoreMemory) -> RestoreMemory:
    """The same archive, to the same place, if the guest is still absent and the archive still there
    (law 1).
    """
    if operation.subject is None:
        return asked
    return plan_restore(
        service,
        operation.subject if asked.original is None else asked.original,
        at=None,
        volid=asked.archive.volid,
        node=asked.node,
        storage=asked.storage,
        start=asked.start,
        into=None if asked.original is None else operation.subject,
        clone=asked.clone,
    )


def _result(operation: Operation) -> str:
    memory = recall(operation)
    return f"{memory.archive.volid}{f': {memory.judged.health}' if memory.judged else ''}"


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    """One whose guest does not serve, or of which that is not known, is bad though it is done."""
    judged = recall(operation).judged
    if operation.state is not OperationState.DONE or judged is None:
        return done_or_error(catalog, operation)
    return 0 if judged.health in (Health.RUNNING, Health.SIMULATED) else 1


RESTORE = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    _result,
    facts,
    exit_code=_exit_code,
    retry=_retry,
    name_of=lambda operation: recall(operation).name,
)
