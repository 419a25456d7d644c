"""What ``archive recheck --json`` says of an archive."""

from __future__ import annotations

from typing import Any

from backupsvc.clock import iso
from backupsvc.errors import BackupsvcError
from backupsvc.operations.recheck.memory import recall
from policies.model import Archive, Operation, OperationState


def planned(archive: Archive) -> dict[str, Any]:
    """Given an archive that would be read, return it as ``archive recheck --dry-run`` shows it."""
    return _about(archive, "planned")


def outcome(archive: Archive, operation: Operation) -> dict[str, Any]:
    """Given an archive and its ended reading, return what came of it."""
    found, error = recall(operation).found, operation.book.error
    told = _about(archive, "unread") | {"operation": operation.id}
    if found is not None:
        states = {True: "intact", False: "damaged", None: "complete"}
        told |= {"state": states[found.good], "sha256": found.sha256, "bytes": found.size}
        told["how"] = found.how or None
    if operation.state is not OperationState.DONE:
        told |= {
            "reason": error.message if error else f"it was {operation.state}",
            "hint": error.hint if error else "",
        }
    return told


def refused(archive: Archive, error: BackupsvcError) -> dict[str, Any]:
    """Given an archive whose reading could not be opened, and why, return it."""
    return _about(archive, "unread") | {"reason": error.message, "hint": error.hint}


def _about(archive: Archive, state: str) -> dict[str, Any]:
    return {
        "vmid": archive.vmid,
        "volid": archive.volid,
        "node": archive.node,
        "storage": archive.storage,
        "bytes": archive.size,
        "checked_at": iso(archive.checked_at) if archive.checked_at else None,
        "state": state,
        "sha256": None,
        "how": None,
        "reason": None,
        "hint": "",
        "operation": None,
    }
