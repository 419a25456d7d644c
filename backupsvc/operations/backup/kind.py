"""The kind ``backup``."""

from __future__ import annotations

from typing import Any

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind, error_code
from backupsvc.operations.backup.steps import HANDLERS, WORKFLOW
from policies import freezing
from policies.model import Operation, OperationState


def _result(operation: Operation) -> str:
    made: Any = operation.data.get("archive") or {}
    frozen = f"; {freezing.FINDING}" if freezing.left(operation.data) else ""
    return str(made.get("volid", "done")) + frozen


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    """A backup that left its guest frozen is bad though it is done."""
    if operation.state is not OperationState.DONE:
        return error_code(operation)
    return 1 if freezing.left(operation.data) else 0


def _done_hint(operation: Operation) -> str:
    return f"back the guest up once more with `backupsvc backup run --vmid {operation.subject}`"


BACKUP = OperationKind(WORKFLOW, HANDLERS, _result, main_task="dump", exit_code=_exit_code, done_hint=_done_hint)
