"""The kind ``copy``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.copy.memory import FORM, facts, recall
from backupsvc.operations.copy.steps import HANDLERS, WORKFLOW
from policies.model import Operation


def _result(operation: Operation) -> str:
    memory = recall(operation)
    return f"{memory.volid} at {memory.target}"


COPY = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    _result,
    facts,
    # one at a time an archive and target: two would write the same file
    exclusive_key=lambda memory: f"the copy of {memory.volid} on {memory.node} to {memory.target}",
    done_hint=lambda operation: "see it with `backupsvc copy list`",
)
