"""What `restore --json` says of one restore."""

from __future__ import annotations

from typing import Any

from policies.model import Operation, OperationState


def restore_outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended restore, return what ``restore --json`` prints."""
    data: Any = operation.data
    error = data.get("error")
    done = operation.state is OperationState.DONE
    return {
        "operation": operation.id,
        "vmid": operation.subject,
        "name": data["name"],
        "node": data["node"],
        "storage": data["storage"],
        "archive": data["archive"],
        "warnings": data.get("warnings", []),
        "room": data.get("room", []),
        "missing_disks": data.get("missing_disks", []),
        "left_out": data.get("left_out", []),
        "restored": "read-back" in data.get("seconds", {})
        and not (error and error["step"] in ("choose", "restore", "read-back")),
        "started": bool(done and data["start"]),
        "stages": [{"name": name, "seconds": value} for name, value in data.get("seconds", {}).items()],
        "seconds": round(sum(data.get("seconds", {}).values()), 3),
        "error": {key: error[key] for key in ("step", "message", "hint", "exit_code")} if error else None,
    }
