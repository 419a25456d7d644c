"""The kind ``reap``: a scratch copy that its test left is taken down."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind
from backupsvc.operations.scratch_cleanup.taking_down import HANDLERS, WORKFLOW
from policies import outcomes
from policies.model import Operation
from policies.outcomes import Event


def _result(operation: Operation) -> str:
    return "done"


def _event(catalog: Catalog, operation: Operation) -> Event:
    return outcomes.of(operation)


SCRATCH_CLEANUP = OperationKind(WORKFLOW, HANDLERS, _result, _event)
