"""Each step of an operation as a line of the log, at level debug: what came of it all is said once,
at its end.
"""

from __future__ import annotations

from typing import Any

import structlog

from backupsvc.engine.events import StepEvent


def log_step(event: StepEvent) -> None:
    """Given what happened to an operation, write its line, with the seconds that a step has
    lasted.
    """
    operation = event.operation
    fields: dict[str, Any] = {
        "operation": operation.id,
        "kind": operation.kind,
        "vmid": operation.subject,
    }
    fields |= {"node": event.node, "step": event.step, "text": event.text or None}
    fields |= {"seconds": round(event.seconds, 3) if event.kind in ("done", "failed") else None}
    known = {name: value for name, value in fields.items() if value is not None}
    structlog.stdlib.get_logger(__name__).debug(event.kind, **known)
