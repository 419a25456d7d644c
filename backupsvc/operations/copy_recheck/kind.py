"""The kind ``copy-recheck``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.copy_recheck.memory import FORM, facts, recall
from backupsvc.operations.copy_recheck.steps import HANDLERS, WORKFLOW
from policies.model import Operation


def _result(operation: Operation) -> str:
    memory = recall(operation)
    about = f"{memory.volid} at {memory.target}"
    if memory.found is None:
        return about
    return f"{about}: {'damaged' if memory.found.problem else 'good'}"


COPY_RECHECK = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    _result,
    facts,
    # beside whatever else is done with the guest: it is only read
    exclusive_key=lambda memory: (
        f"the reading of the copy of {memory.volid} ({memory.node}) at {memory.target}"
    ),
    done_hint=lambda operation: "see it with `backupsvc copy list`",
)
