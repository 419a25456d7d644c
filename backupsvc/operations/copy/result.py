"""What ``copy run --json`` and ``copy list --json`` say of a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backupsvc.clock import iso
from backupsvc.errors import BackupsvcError
from backupsvc.operations.copy.memory import recall
from backupsvc.operations.copy.rehearsing import Choice
from policies.age_keys import fingerprint
from policies.copies_due import DueCopy
from policies.copy_folders import folder_of
from policies.kits import last_rehearsal
from policies.model import (
    ArchiveCopy,
    Canary,
    CopyTarget,
    Operation,
    OperationState,
    PveStorage,
    Rehearsal,
    SnapshotTrial,
)
from policies.pve.volid import storage_of


def skipped(due: DueCopy) -> dict[str, Any]:
    """Given what is not copied, return it with the reason."""
    return _about(due, "skipped") | {"reason": due.skip}


def planned(due: DueCopy, going: Sequence[str] = (), why: str = "") -> dict[str, Any]:
    """Given what would be copied, which copies would then go, and why none may or that is not
    known, return it as ``copy run --dry-run`` shows it.
    """
    told = {"bytes": due.archive.size, "would_remove": list(going), "nothing_removed": why or None}
    return _about(due, "planned") | told


def outcome(due: DueCopy, operation: Operation) -> dict[str, Any]:
    """Given an ended copy, return what came of it."""
    memory, error = recall(operation), operation.book.error
    verified = memory.verified
    if verified is None or operation.state is not OperationState.DONE:
        why = error.message if error else f"it was {operation.state}"
        hint = error.hint if error else ""
        return _about(due, "failed") | {
            "reason": why,
            "hint": hint or f"see `backupsvc operations show {operation.id}`",
            "operation": operation.id,
        }
    return _about(due, "verified") | {
        "sha256": verified.sha256,
        "bytes": verified.size,
        "moved": verified.moved,
        "seconds": round(verified.seconds, 3),
        "reason": verified.how,
        "litter": list(verified.litter),
        "removed": list(memory.removed),
        "nothing_removed": memory.kept_all or None,
        "operation": operation.id,
    }


def refused(due: DueCopy, error: BackupsvcError) -> dict[str, Any]:
    """Given a copy that could not be opened, and why, return it."""
    return _about(due, "failed") | {
        "reason": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def listed(copy: ArchiveCopy, target: CopyTarget | None, now: float) -> dict[str, Any]:
    """Given a recorded copy, return it as ``copy list`` shows it. ``target`` None: the policy names
    it no more; ``now`` in epoch seconds.
    """
    route = copy.route
    node = target.place.node if target and isinstance(target.place, PveStorage) else None
    said = copy.damaged or copy.how
    return {
        "vmid": route.vmid,
        "volid": route.volid,
        "source": {"node": route.node or None, "storage": storage_of(route.volid)},
        "target": {"name": route.target, "node": node, "path": route.folder},
        "state": "damaged" if copy.damaged else "verified",
        "sha256": copy.sha256,
        "bytes": copy.size,
        "seconds": None,
        "reason": said if target else f"{said}; the policy names this target no more",
        "age": max(0, int(now) - copy.verified_at),
        "checked_at": iso(copy.checked_at) if copy.checked_at else None,
        "encrypted": copy.encrypted,
        "rung": f"{copy.rung} (encrypted)" if copy.encrypted else None,
        "operation": copy.operation,
    }


def tried(target: CopyTarget, canary: Canary | None) -> dict[str, Any]:
    """Given an immutable target and what was tried there last (None: nothing), return it as ``copy
    try-delete`` shows it.
    """
    return {
        "target": target.name,
        "folder": folder_of(target),
        "tried": iso(canary.at) if canary else None,
        "held": canary.held if canary else None,
        "overwritten": canary.overwritten if canary else None,
        "deleted": canary.deleted if canary else None,
        "said": canary.said if canary else None,
    }


def snapshot_tried(
    target: CopyTarget, what: str, file: str | None, trial: SnapshotTrial | None
) -> dict[str, Any]:
    """Given a target, what is brought back from there, its newest file (None: there is none) and what
    came of bringing it back last (None: it never was), return it as ``break-glass rehearse`` shows it.
    """
    return {
        "target": target.name,
        "folder": folder_of(target),
        "what": what,
        "file": file,
        "tried": iso(trial.at) if trial else None,
        "tried_file": trial.file if trial else None,
        "taken": iso(trial.taken_at) if trial and trial.taken_at is not None else None,
        "bytes": trial.size if trial else 0,
        "sha256": trial.sha256 if trial else None,
        "state": trial.state.value if trial else None,
        "good": trial.good if trial else None,
        "said": trial.said if trial else None,
        "seconds": trial.seconds if trial else None,
    }


def kit(target: CopyTarget, done: Sequence[Rehearsal]) -> dict[str, Any]:
    """Given a target with encrypted copies and what was rehearsed, return when one of its keys was
    last shown to open a copy, and which.
    """
    last = last_rehearsal(target, done)
    return {
        "target": target.name,
        "folder": folder_of(target),
        "keys": [fingerprint(one) for one in target.recipients],
        "rehearsed": iso(last.at) if last else None,
        "key": last.key if last else None,
    }


def rehearsed(choice: Choice, done: Rehearsal | None) -> dict[str, Any]:
    """Given the copy that was chosen and what came of it (None: nothing was tried), return it as
    ``copy rehearse`` shows it.
    """
    copy = choice.copy
    return {
        "target": choice.target.name,
        "folder": copy.route.folder,
        "vmid": copy.route.vmid,
        "volid": copy.route.volid,
        "file": copy.file,
        "bytes": copy.size,
        "sha256": copy.sha256,
        "seed": choice.seed,
        "among": choice.among,
        "works": done is not None,
        "key": done.key if done else None,
        "at": iso(done.at) if done else None,
        "seconds": done.seconds if done else None,
    }


def _about(due: DueCopy, state: str) -> dict[str, Any]:
    archive, target = due.archive, due.target
    node = target.place.node if isinstance(target.place, PveStorage) else None
    return {
        "vmid": archive.vmid,
        "volid": archive.volid,
        "source": {"node": archive.node, "storage": archive.storage},
        "target": {"name": target.name, "node": node, "path": folder_of(target)},
        "state": state,
        "sha256": None,
        "bytes": 0,
        "seconds": None,
        "reason": None,
    }
