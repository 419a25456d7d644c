"""Tells what came of operations: right after their end, or by a tick if their driver died before it
did.

At least once: the outcome is noted as untold in the transaction that ends the operation, and struck
off after it was told.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from backupsvc import events
from backupsvc.catalog.untold import HEAD_START
from backupsvc.errors import BackupsvcError
from policies.model import Operation, OperationState

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.engine.kind import Kinds

MAX_TOLD = 500  # outcomes that one tick tells


def ended(catalog: Catalog, kinds: Kinds, operation: Operation, now: int) -> None:
    """Given an operation that has just ended, tell what came of it. Where nobody listens, it is
    left to a process with a log.

    So it is where the head start is over: another process may be telling it. A catalog that fails
    here costs at most that it is told twice.
    """
    until = (operation.finished or 0) + HEAD_START
    if events.anybody() and now < until:
        with suppress(BackupsvcError):
            if catalog.untold.holds(operation.id, until):
                _tell(catalog, kinds, operation)


def tell_due(catalog: Catalog, kinds: Kinds, now: int) -> None:
    """For a tick: tell what others did not: drivers that died, commands without a log, nights that
    were missed.
    """
    if not events.anybody():
        return
    for id in catalog.untold.take(now, MAX_TOLD):
        if (operation := catalog.operations.get(id)) and operation.state is not OperationState.OPEN:
            _tell(catalog, kinds, operation)
        else:
            catalog.untold.mark_told(id)  # the catalog knows no such operation any more


def _tell(catalog: Catalog, kinds: Kinds, operation: Operation) -> None:
    # first told, then struck off: whoever dies in between has it told twice, and never not at all
    events.emit(kinds[operation.kind].told(catalog, operation))
    catalog.untold.mark_told(operation.id)
