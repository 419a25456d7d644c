"""The kind ``restore``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.restore.memory import FORM, RestoreMemory, facts, recall
from backupsvc.operations.restore.planning import plan_restore
from backupsvc.operations.restore.steps import HANDLERS, WORKFLOW
from backupsvc.operations.services import StepServices
from policies.model import Operation


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


RESTORE = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    lambda operation: recall(operation).archive.volid,
    facts,
    retry=_retry,
    name_of=lambda operation: recall(operation).name,
)
