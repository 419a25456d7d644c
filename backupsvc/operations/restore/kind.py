"""The kind ``restore``."""

from __future__ import annotations

from typing import Any

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind
from backupsvc.operations.restore.planning import plan_restore
from backupsvc.operations.restore.steps import HANDLERS, WORKFLOW
from policies import outcomes
from policies.model import Operation
from policies.outcomes import Event


def _result(operation: Operation) -> str:
    restored: Any = operation.data.get("archive") or {}
    return str(restored.get("volid", "done"))


def _event(catalog: Catalog, operation: Operation) -> Event:
    return outcomes.of(operation, main_task="restore")


def _retry(service: Any, operation: Operation, asked: dict[str, Any]) -> dict[str, Any]:
    """The same archive, to the same place, if the guest is still absent and the archive still there (law 1)."""
    if operation.subject is None:
        return asked
    archive, start = asked["archive"]["volid"], asked["start"]
    planned = plan_restore(
        service, operation.subject, at=None, volid=archive, node=asked["node"], storage=asked["storage"], start=start
    )
    return planned | {"start": start}


RESTORE = OperationKind(WORKFLOW, HANDLERS, _result, _event, retry=_retry)
