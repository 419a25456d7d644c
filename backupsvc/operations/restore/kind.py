"""The kind ``restore``."""

from __future__ import annotations

from typing import Any

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.restore.planning import plan_restore
from backupsvc.operations.restore.steps import HANDLERS, WORKFLOW
from policies.model import Operation


def _result(operation: Operation) -> str:
    restored: Any = operation.data.get("archive") or {}
    return str(restored.get("volid", "done"))


def _retry(service: Any, operation: Operation, asked: dict[str, Any]) -> dict[str, Any]:
    """The same archive, to the same place, if the guest is still absent and the archive still there (law 1)."""
    if operation.subject is None:
        return asked
    archive, start = asked["archive"]["volid"], asked["start"]
    planned = plan_restore(
        service, operation.subject, at=None, volid=archive, node=asked["node"], storage=asked["storage"], start=start
    )
    return planned | {"start": start}


RESTORE = OperationKind(WORKFLOW, HANDLERS, _result, main_task="restore", retry=_retry)
