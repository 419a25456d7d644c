"""The kind ``put-back``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind, good_or_bad
from backupsvc.operations.put_back.memory import FORM, facts, recall
from backupsvc.operations.put_back.result import as_table, ends, is_left
from backupsvc.operations.put_back.steps import HANDLERS, WORKFLOW
from policies.surroundings.putting_back import told

PUT_BACK = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    FORM.of(lambda memory: told(end for _, end in ends(memory))),
    facts,
    exit_code=good_or_bad(lambda catalog, operation: not is_left(recall(operation))),
    done_hint=lambda operation: (
        f"see what is missing now: `backupsvc catalog config surroundings {recall(operation).vmid}`"
    ),
    table=FORM.of(as_table),
)
