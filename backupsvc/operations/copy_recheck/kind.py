"""The kind ``copy-recheck``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.copy_recheck.memory import FORM, facts
from backupsvc.operations.copy_recheck.steps import HANDLERS, WORKFLOW

COPY_RECHECK = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    FORM.of(
        lambda memory: (
            f"{memory.volid} at {memory.target}"
            + (f": {'damaged' if memory.found.problem else 'good'}" if memory.found else "")
        )
    ),
    facts,
    # beside whatever else is done with the guest: it is only read
    exclusive_key=lambda memory: (
        f"the reading of the copy of {memory.volid} ({memory.node}) at {memory.target}"
    ),
    done_hint=lambda operation: "see it with `backupsvc copy list`",
)
