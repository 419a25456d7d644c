"""What `backup run --json` says of one backup."""

from __future__ import annotations

from typing import Any

from policies import freezing
from policies.model import Operation, OperationState


def backup_outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended backup operation, return its line of ``backup run --json``."""
    data: Any = operation.data
    dumped = data.get("dump") or {}
    bad = operation.state is not OperationState.DONE
    warnings = [*freezing.sentences(operation.subject or 0, data), *dumped.get("warnings", ())]
    left_frozen = freezing.left(data) is not None
    warned = bool(warnings) or (bool(dumped) and dumped["exitstatus"] != "OK")
    return {
        "vmid": operation.subject,
        "name": data.get("name", ""),
        "node": data.get("node"),
        "operation": operation.id,
        "status": "failed" if bad else "warnings" if warned else "ok",
        "archive": data.get("archive"),
        "verified": data.get("verified"),
        "consistency": dumped.get("consistency"),
        "consistency_reason": dumped.get("consistency_reason", ""),
        "freeze": dumped.get("freeze"),
        "file_systems": data.get("thaw"),
        "findings": [freezing.FINDING] if left_frozen else [],
        "origin": (data.get("adopted") or {}).get("origin"),
        "excluded_disks": list(dumped.get("excluded", ())),
        "warnings": warnings,
        "exitstatus": dumped.get("exitstatus"),
        "seconds": round(sum(value for step, value in (data.get("seconds") or {}).items() if step != "locate"), 3),
        "error": operation.error,
        "exit_code": (data.get("error") or {}).get("exit_code", 1) if bad else 1 if left_frozen else 0,
        "hint": (data.get("error") or {}).get("hint", "") if bad else "",
    }
