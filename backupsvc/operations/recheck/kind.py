"""The kind ``recheck``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind
from backupsvc.operations.recheck.memory import FORM, facts, recall
from backupsvc.operations.recheck.steps import HANDLERS, WORKFLOW
from policies.model import Operation


def _result(operation: Operation) -> str:
    memory = recall(operation)
    found = memory.found
    if found is None:
        return memory.volid
    word = {True: "good", False: "no longer good", None: "complete, without checksums"}[found.good]
    return f"{memory.volid}: {word}"


RECHECK = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    _result,
    facts,
    # beside whatever else is done with the guest: the archive is pinned, and only read
    exclusive_key=lambda memory: f"the reading of {memory.volid} on {memory.node}",
    done_hint=lambda operation: f"see it with `backupsvc catalog show {recall(operation).volid}`",
)
