"""The kind ``backup``."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind, error_code
from backupsvc.operations.backup.memory import FORM, facts, recall
from backupsvc.operations.backup.steps import HANDLERS, WORKFLOW
from policies import freezing
from policies.model import Operation, OperationState


def _result(operation: Operation) -> str:
    memory = recall(operation)
    frozen = f"; {freezing.FINDING}" if freezing.left(memory.thaw) else ""
    return (memory.archive.volid if memory.archive else "done") + frozen


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    """A backup that left its guest frozen is bad though it is done."""
    if operation.state is not OperationState.DONE:
        return error_code(operation)
    return 1 if freezing.left(recall(operation).thaw) else 0


BACKUP = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    _result,
    facts,
    exit_code=_exit_code,
    done_hint=lambda operation: (
        f"back the guest up once more with `backupsvc backup run --vmid {operation.subject}`"
    ),
    name_of=lambda operation: recall(operation).name,
)
