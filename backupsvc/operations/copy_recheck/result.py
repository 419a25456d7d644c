"""What ``copy recheck --json`` says of a copy."""

from __future__ import annotations

from typing import Any

from backupsvc.clock import iso
from backupsvc.errors import BackupsvcError
from backupsvc.operations.copy_recheck.memory import NONE_ANY_MORE, recall
from policies.copy_recheck_due import last_read
from policies.model import ArchiveCopy, Operation, OperationState


def planned(copy: ArchiveCopy) -> dict[str, Any]:
    """Given a copy that would be read, return it as ``copy recheck --dry-run`` shows it."""
    return _about(copy, "planned")


def outcome(copy: ArchiveCopy, operation: Operation) -> dict[str, Any]:
    """Given a copy and its ended reading, return what came of it."""
    found, error = recall(operation).found, operation.book.error
    told = _about(copy, "unread") | {"operation": operation.id}
    if found is not None:
        told |= {"state": "damaged" if found.problem else "intact", "how": found.how or None}
    elif operation.state is OperationState.DONE:
        told |= {"reason": NONE_ANY_MORE, "hint": "see `backupsvc copy list`"}
    if operation.state is not OperationState.DONE:
        told |= {
            "reason": error.message if error else f"it was {operation.state}",
            "hint": error.hint if error else "",
        }
    return told


def refused(copy: ArchiveCopy, error: BackupsvcError) -> dict[str, Any]:
    """Given a copy that could not be read, and why, return it."""
    return _about(copy, "unread") | {"reason": error.message, "hint": error.hint}


def _about(copy: ArchiveCopy, state: str) -> dict[str, Any]:
    return {
        "vmid": copy.route.vmid,
        "volid": copy.route.volid,
        "target": copy.route.target,
        "folder": copy.route.folder,
        "bytes": copy.size,
        "encrypted": copy.encrypted,
        "checked_at": iso(last_read(copy)),
        "state": state,
        "how": None,
        "reason": None,
        "hint": "",
        "operation": None,
    }
