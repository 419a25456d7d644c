"""The kind ``copy``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.copy.memory import FORM, facts, recall
from backupsvc.operations.copy.steps import HANDLERS, WORKFLOW
from policies.model import Operation
from policies.pve.volid import file_of


def _result(operation: Operation) -> str:
    memory = recall(operation)
    return f"{memory.volid} at {memory.target}"


COPY = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    _result,
    facts,
    # one at a time a file at a target: an archive on a shared storage is listed by any node, and an
    # archive and its copy have one name
    exclusive_key=lambda memory: f"the copy of {file_of(memory.volid)} to {memory.target}",
    done_hint=lambda operation: "see it with `backupsvc copy list`",
)
