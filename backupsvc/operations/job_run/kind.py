"""The kind ``night``: one run of a policy's job."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind, error_code
from backupsvc.errors import Refused
from backupsvc.operations.job_run.memory import FORM, recall
from backupsvc.operations.job_run.result import failed_children, job_run_outcome, job_run_summary
from backupsvc.operations.job_run.steps import HANDLERS, WORKFLOW
from policies.model import Operation, OperationState


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    """It is judged as its log line, ``/healthz`` and ``serve --check`` judge it
    (policies.outcomes).
    """
    if operation.state is not OperationState.DONE:
        return error_code(operation)
    return 0 if job_run_outcome(catalog, operation).good else 1


def _never_again(catalog: Catalog, operation: Operation) -> Refused:
    """A night belongs to its hour: what failed in it may be done again."""
    hint = f"run its job now with `backupsvc backup run {recall(operation).job}`"
    if failed := failed_children(catalog, operation):
        hint = "retry what failed in it: " + "; ".join(
            f"`backupsvc operations retry {child.id}` "
            f"({child.kind}{f' of guest {child.subject}' if child.subject else ''})"
            for child in failed
        )
    return Refused(f"operation {operation.id} is a night, which belongs to its hour", hint)


JOB_RUN = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    lambda operation: job_run_summary(operation) or f"{len(recall(operation).children)} operations",
    event=job_run_outcome,
    exit_code=_exit_code,
    never_again=_never_again,
    summary=job_run_summary,
)
