"""The kind ``copy``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.copy.memory import FORM, facts
from backupsvc.operations.copy.steps import HANDLERS, WORKFLOW
from policies.pve.volid import file_of

COPY = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    FORM.of(lambda memory: f"{memory.volid} at {memory.target}"),
    facts,
    # one at a time a file at a target: an archive on a shared storage is listed by any node, and an
    # archive and its copy have one name
    exclusive_key=lambda memory: f"the copy of {file_of(memory.volid)} to {memory.target}",
    done_hint=lambda operation: "see it with `backupsvc copy list`",
)
