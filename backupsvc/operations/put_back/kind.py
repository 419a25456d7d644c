"""The kind ``put-back``."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind, Table, done_or_error
from backupsvc.operations.put_back.memory import FORM, facts, recall
from backupsvc.operations.put_back.result import ends, is_left, to_type
from backupsvc.operations.put_back.steps import HANDLERS, WORKFLOW
from policies.model import Operation
from policies.surroundings.putting_back import told


def _result(operation: Operation) -> str:
    return told(end for _, end in ends(recall(operation)))


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    code = done_or_error(catalog, operation)
    return code or int(is_left(recall(operation)))


def _table(operation: Operation) -> Table:
    came = ends(recall(operation))
    rows = tuple((thing.what, str(end.outcome), end.detail) for thing, end in came)
    return Table(("what", "came of it", "why"), rows, tuple(to_type(end for _, end in came)))


PUT_BACK = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    _result,
    facts,
    exit_code=_exit_code,
    done_hint=lambda operation: (
        f"see what is missing now: `backupsvc catalog config surroundings {recall(operation).vmid}`"
    ),
    table=_table,
)
