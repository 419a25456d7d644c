"""The kinds ``replace`` and ``replace-undo``."""

from __future__ import annotations

from dataclasses import replace

from backupsvc.catalog import Catalog
from backupsvc.engine.context import Handler, Wait
from backupsvc.engine.kind import OperationKind, Table, good_or_bad
from backupsvc.errors import Refused
from backupsvc.operations.put_back.result import ends_of, to_type
from backupsvc.operations.replace import planning, way_back
from backupsvc.operations.replace.memory import FORM, ReplaceMemory, facts, recall
from backupsvc.operations.replace.result import unknown
from backupsvc.operations.replace.steps import HANDLERS, WORKFLOW
from backupsvc.operations.services import Run, StepServices
from policies.model import Operation
from policies.restore_verdict import is_well
from policies.surroundings.putting_back import told
from policies.workflow import Workflow


def _result(operation: Operation) -> str:
    memory = recall(operation)
    verdict = f": {memory.judged.health}" if memory.judged else ""
    why = unknown(memory)
    around = f"not known: {why}" if why else told(end for _, end in ends_of(memory.pieces))
    return f"guest {memory.old} is replaced by {operation.subject}{verdict}; around it: {around}"


def _undone(operation: Operation) -> str:
    memory = recall(operation)
    left = f"; {'; '.join(memory.left)}" if memory.left else ""
    return f"guest {memory.old} is back, in place of {operation.subject}{left}"


def _table(operation: Operation) -> Table:
    memory = recall(operation)
    came = ends_of(memory.pieces) if memory.judged or memory.begun else ()
    rows = tuple((thing.what, str(end.outcome), end.detail) for thing, end in came)
    return Table(("what", "came of it", "why"), rows, tuple(to_type(end for _, end in came)))


def _key(memory: ReplaceMemory) -> str:
    # its safety backup is the old guest's own operation
    return f"a replacement of guest {memory.old}"


def _never_again(catalog: Catalog, operation: Operation) -> Refused:
    memory = recall(operation)
    again = (
        f"`backupsvc restore {memory.old} --replace`"
        if memory.undo_of is None
        else f"`backupsvc operations undo {memory.undo_of}`"
    )
    return Refused(
        f"operation {operation.id} is not retried: the guest's name is typed anew each time",
        f"give the command anew: {again}",
    )


def undo(run: Run[ReplaceMemory]) -> Wait | None:
    """Look once more at the guest that was there; from here on the way back is gone to its end."""
    old = planning.look_at_old(run.service, run.memory.old)
    planning.require_same(run.service, run.memory, old)
    run.memory = replace(run.memory, begun=True, old_node=old.guest.node)
    way_back.note_who(run)
    return None


_UNDO: dict[str, Handler[StepServices, ReplaceMemory]] = {"choose": undo, **way_back.HANDLERS}

REPLACE = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    _result,
    facts,
    # one whose new guest does not serve, or of which that is not known, is bad though it is done
    exit_code=good_or_bad(lambda catalog, operation: is_well(recall(operation).judged)),
    done_hint=lambda operation: (
        f"`backupsvc operations undo {operation.id}` brings the old guest back"
    ),
    never_again=_never_again,
    name_of=lambda operation: recall(operation).name,
    exclusive_key=_key,
    table=_table,
)
REPLACE_UNDO = OperationKind(
    # once begun it is not left half-way, whoever cancels it
    Workflow("replace-undo", ("choose",), way_back.CLEANUP),
    _UNDO,
    FORM,
    _undone,
    facts,
    never_again=_never_again,
    name_of=lambda operation: recall(operation).name,
    exclusive_key=_key,
    table=_table,
)
