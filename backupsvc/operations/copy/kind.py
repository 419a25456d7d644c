"""The kind ``copy``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.copy.memory import FORM, CopyMemory, facts, recall
from backupsvc.operations.copy.steps import HANDLERS, WORKFLOW
from policies.model import Operation


def _result(operation: Operation) -> str:
    memory = recall(operation)
    return f"{memory.volid} at {memory.target}"


def _exclusive_key(memory: CopyMemory) -> str:
    """One at a time an archive and target: two would write the same file."""
    return f"the copy of {memory.volid} on {memory.node} to {memory.target}"


COPY = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    _result,
    facts,
    exclusive_key=_exclusive_key,
    done_hint=lambda operation: "see it with `backupsvc copy list`",
)
