"""What the memories of several kinds of operations have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from policies.bookkeeping import StepError


@dataclass(frozen=True, slots=True)
class ScratchPlace:
    """Where a scratch copy is made: under which VMID, on which node, on which storage."""

    vmid: int
    node: str
    storage: str


def error_as_dict(error: StepError | None) -> dict[str, Any] | None:
    """Given the error of an operation, return it as every ``--json`` answer shows it; None where
    there is none.
    """
    if error is None:
        return None
    return {
        "step": error.step,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def archive_from_version_0(values: Mapping[str, Any]) -> dict[str, Any]:
    """Given an archive as memories of version 0 kept it (as ``--json`` shows it), return it with
    the fields of ``Archive``.
    """
    kept = {key: value for key, value in values.items() if key != "time"}
    if proven_at := kept.get("proven_at"):
        kept["proven_at"] = int(datetime.fromisoformat(proven_at).timestamp())
    return kept | {"changed": kept.get("changed") or ""}
