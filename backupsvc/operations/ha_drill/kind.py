"""The kind ``ha-drill``."""

from __future__ import annotations

from backupsvc.engine.kind import OperationKind, good_or_bad
from backupsvc.errors import Refused
from backupsvc.operations.ha_drill.memory import FORM, facts
from backupsvc.operations.ha_drill.result import drilled, in_words
from backupsvc.operations.ha_drill.steps import HANDLERS, WORKFLOW

HA_DRILL = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    in_words,
    facts,
    exit_code=good_or_bad(lambda catalog, operation: drilled(operation).well),
    never_again=lambda catalog, operation: Refused(
        "a drill is not repeated by itself: what it was planned upon may be true no more",
        f"plan it anew with `backupsvc ha drill {operation.subject}`",
    ),
    name_of=FORM.of(lambda memory: memory.name),
)
