"""The kind ``backup``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind, good_or_bad
from backupsvc.operations.backup.memory import FORM, facts, recall
from backupsvc.operations.backup.steps import HANDLERS, WORKFLOW
from policies import freezing

BACKUP = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    FORM.of(
        lambda memory: (
            (memory.archive.volid if memory.archive else "done")
            + (f"; {freezing.FINDING}" if freezing.left(memory.thaw) else "")
        )
    ),
    facts,
    # a backup that left its guest frozen is bad though it is done
    exit_code=good_or_bad(lambda catalog, operation: not freezing.left(recall(operation).thaw)),
    done_hint=lambda operation: (
        f"back the guest up once more with `backupsvc backup run --vmid {operation.subject}`"
    ),
    name_of=FORM.of(lambda memory: memory.name),
)
