"""The kind ``ha-drill``."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind, done_or_error
from backupsvc.errors import Refused
from backupsvc.operations.ha_drill.memory import FORM, facts, recall
from backupsvc.operations.ha_drill.result import drilled, in_words
from backupsvc.operations.ha_drill.steps import HANDLERS, WORKFLOW
from policies.model import Operation


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    return done_or_error(catalog, operation) or (0 if drilled(operation).well else 1)


def _never_again(catalog: Catalog, operation: Operation) -> Refused:
    return Refused(
        "a drill is not repeated by itself: what it was planned upon may be true no more",
        f"plan it anew with `backupsvc ha drill {operation.subject}`",
    )


HA_DRILL = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    in_words,
    facts,
    exit_code=_exit_code,
    never_again=_never_again,
    name_of=lambda operation: recall(operation).name,
)
