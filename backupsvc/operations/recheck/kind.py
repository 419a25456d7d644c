"""The kind ``recheck``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.recheck.memory import FORM, facts, recall
from backupsvc.operations.recheck.steps import HANDLERS, WORKFLOW

_WORDS = {True: "good", False: "no longer good", None: "complete, without checksums"}


RECHECK = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    FORM.of(
        lambda memory: memory.volid + (f": {_WORDS[memory.found.good]}" if memory.found else "")
    ),
    facts,
    # beside whatever else is done with the guest: the archive is pinned, and only read
    exclusive_key=lambda memory: f"the reading of {memory.volid} on {memory.node}",
    done_hint=lambda operation: f"see it with `backupsvc catalog show {recall(operation).volid}`",
)
