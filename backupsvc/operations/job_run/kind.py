"""The kind ``night``: one run of a policy's job."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind, good_or_bad
from backupsvc.errors import Refused
from backupsvc.operations.job_run.memory import FORM, recall
from backupsvc.operations.job_run.result import failed_children, job_run_outcome, job_run_summary
from backupsvc.operations.job_run.steps import HANDLERS, WORKFLOW
from policies.model import Operation


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
    # as its log line, ``/healthz`` and ``serve --check`` judge it (policies.outcomes)
    exit_code=good_or_bad(lambda catalog, operation: job_run_outcome(catalog, operation).good),
    never_again=_never_again,
    summary=job_run_summary,
)
