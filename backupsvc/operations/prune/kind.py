"""The kind ``prune``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind, error_code
from backupsvc.operations.prune.memory import FORM, facts
from backupsvc.operations.prune.result import prune_exit_code, prune_outcome
from backupsvc.operations.prune.steps import HANDLERS, WORKFLOW
from policies.model import OperationState

PRUNE = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    FORM.of(lambda memory: f"{len(memory.removed)} archives removed"),
    facts,
    # one that could not list every storage ends as a command that needs a system which cannot be
    # reached
    exit_code=lambda catalog, operation: (
        prune_exit_code(prune_outcome(operation))
        if operation.state is OperationState.DONE
        else error_code(operation)
    ),
)
