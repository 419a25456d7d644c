"""The kind ``reap``: a scratch copy that its test left is taken down."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.scratch_cleanup.memory import FORM, facts
from backupsvc.operations.scratch_cleanup.taking_down import HANDLERS, WORKFLOW
from policies.model import Operation


def _result(operation: Operation) -> str:
    return "done"


SCRATCH_CLEANUP = OperationKind(WORKFLOW, HANDLERS, FORM, _result, facts)
