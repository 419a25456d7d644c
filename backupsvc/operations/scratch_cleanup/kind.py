"""The kind ``reap``: a scratch copy that its test left is taken down."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.scratch_cleanup.memory import FORM, facts
from backupsvc.operations.scratch_cleanup.taking_down import HANDLERS, WORKFLOW

SCRATCH_CLEANUP = OperationKind(WORKFLOW, HANDLERS, FORM, lambda operation: "done", facts)
