"""What `prune --json` says, of one that was run and of one that is only foreseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backupsvc.inventory.listing import as_dict
from backupsvc.operations.memories import error_as_dict
from backupsvc.operations.prune.deciding import Decision
from backupsvc.operations.prune.memory import recall
from policies import prune_compare, whole
from policies.model import Marked, Operation


def mark_as_dict(item: Marked) -> dict[str, Any]:
    """Given a marked archive, return it as ``prune --json`` shows it."""
    return as_dict(item.archive) | {"mark": str(item.mark), "reasons": list(item.reasons)}


def foreseen(decision: Decision, *, explain: bool = False) -> dict[str, Any]:
    """Given what a prune would decide now, return what ``prune --dry-run --json`` prints, with its
    error; with ``explain`` each archive has its ``explanation`` in words.
    """
    error: dict[str, Any] | None = None
    if refusal := decision.refusal():
        error = {
            "step": "remove",
            "message": refusal.message,
            "hint": refusal.hint,
            "exit_code": refusal.exit_code,
        }
    marks = [
        mark_as_dict(item)
        | (
            {
                "explanation": prune_compare.explanation(
                    item, decision.theirs.get(whole.key(item.archive))
                )
            }
            if explain
            else {}
        )
        for item in decision.marked
    ]
    blind = {"unknown": _unknown(decision.unseen), "not_listed": list(decision.not_listed)}
    return (
        {"operation": None, "dry_run": True, "archives": marks, "removed": []}
        | blind
        | {"error": error}
    )


def prune_outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended prune, return what ``prune --json`` prints."""
    memory, error = recall(operation), operation.book.error
    return {
        "operation": operation.id,
        "dry_run": False,
        "archives": [mark_as_dict(item) for item in memory.marks],
        "removed": [volid for _, volid in memory.removed],
        "unknown": _unknown(memory.unseen),
        "not_listed": list(memory.not_listed),
        "error": error_as_dict(error),
    }


def prune_exit_code(result: Mapping[str, Any]) -> int:
    """Given what ``outcome`` or ``foreseen`` returned, return the command's exit code: 3 where not
    every storage was listed.
    """
    if result["error"]:
        return int(result["error"]["exit_code"])
    return 3 if result["not_listed"] else 0


def _unknown(unseen: Mapping[int, str]) -> list[dict[str, Any]]:
    return [{"vmid": vmid, "said": said} for vmid, said in unseen.items()]
