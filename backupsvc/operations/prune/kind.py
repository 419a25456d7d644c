"""The kind ``prune``."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind, error_code
from backupsvc.operations.prune.memory import FORM, facts, recall
from backupsvc.operations.prune.result import prune_exit_code, prune_outcome
from backupsvc.operations.prune.steps import HANDLERS, WORKFLOW
from policies.model import Operation, OperationState


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    """One that could not list every storage ends as a command that needs a system which cannot be
    reached.
    """
    done = operation.state is OperationState.DONE
    return prune_exit_code(prune_outcome(operation)) if done else error_code(operation)


PRUNE = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    lambda operation: f"{len(recall(operation).removed)} archives removed",
    facts,
    exit_code=_exit_code,
)
