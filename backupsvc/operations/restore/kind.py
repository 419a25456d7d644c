"""The kind ``restore``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind, good_or_bad
from backupsvc.operations.restore.memory import FORM, RestoreMemory, facts, recall
from backupsvc.operations.restore.planning import plan_restore
from backupsvc.operations.restore.steps import HANDLERS, WORKFLOW
from backupsvc.operations.services import StepServices
from policies.model import Operation
from policies.restore_verdict import is_well


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
    FORM.of(
        lambda memory: memory.archive.volid + (f": {memory.judged.health}" if memory.judged else "")
    ),
    facts,
    # one whose guest does not serve, or of which that is not known, is bad though it is done
    exit_code=good_or_bad(lambda catalog, operation: is_well(recall(operation).judged)),
    retry=_retry,
    name_of=FORM.of(lambda memory: memory.name),
)
