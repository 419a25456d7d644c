"""The kind ``restore-test``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind
from backupsvc.operations.restore_test import proving
from backupsvc.operations.restore_test.steps import HANDLERS, WORKFLOW
from policies.model import Operation, OperationState, Verdict


def _proof(operation: Operation) -> Mapping[str, Any]:
    found: Any = operation.data.get("proof")
    return found if isinstance(found, Mapping) else {}


def _result(operation: Operation) -> str:
    proof = _proof(operation)
    return f"{proof['verdict']}, rung {proof['rung']}" if proof else "done"


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    """One that proved nothing is bad though it is done; one that could not be carried out at all says why."""
    if hard := proving.failed_hard(operation):
        return hard.exit_code
    proven = _proof(operation).get("verdict") == Verdict.PROVEN
    return 0 if proven and operation.state is OperationState.DONE else 1


def _done_hint(operation: Operation) -> str:
    return f"test the guest once more with `backupsvc restore-test {operation.subject}`"


RESTORE_TEST = OperationKind(WORKFLOW, HANDLERS, _result, main_task="restore", exit_code=_exit_code, done_hint=_done_hint)
