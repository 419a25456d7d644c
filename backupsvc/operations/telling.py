"""Tells what came of operations: right after their end, or by a tick if their driver died before it did.

At least once: the outcome is noted as untold in the transaction that ends the operation, and struck off after it was told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from backupsvc import events
from backupsvc.catalog.untold import HEAD_START
from backupsvc.errors import BackupsvcError
from policies import outcomes
from policies.model import Operation, OperationState
from policies.outcomes import Event, Night

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog

MOST = 500  # outcomes that one tick tells


def ended(catalog: Catalog, operation: Operation, now: int) -> None:
    """Given an operation that has just ended, tell what came of it. Where nobody listens, it is left to a process with a log.

    So it is where the head start is over: another process may be telling it. A catalog that fails here costs at most that it is
    told twice.
    """
    until = (operation.finished or 0) + HEAD_START
    if events.anybody() and now < until:
        with suppress(BackupsvcError):
            if catalog.is_untold(operation.id, until):
                _tell(catalog, operation)


def tell_due(catalog: Catalog, now: int) -> None:
    """For a tick: tell what others did not: drivers that died, commands without a log, nights that were missed."""
    if not events.anybody():
        return
    for id in catalog.take_untold(now, MOST):
        if (operation := catalog.operation(id)) and operation.state is not OperationState.OPEN:
            _tell(catalog, operation)
        else:
            catalog.was_told(id)  # the catalog knows no such operation any more


def last_nights(catalog: Catalog, jobs: Iterable[str], known: Mapping[str, Night]) -> dict[str, Night]:
    """Given jobs' ids, return the last ended night of each that had one, by its operation's id. ``known`` is asked first."""
    ended = (catalog.last_ended("night", f"{job}@") for job in jobs)
    return {found.id: known.get(found.id) or night(catalog, found) for found in ended if found}


def _tell(catalog: Catalog, operation: Operation) -> None:
    events.emit(_event(catalog, operation))
    catalog.was_told(operation.id)


def _event(catalog: Catalog, operation: Operation) -> Event:
    return night(catalog, operation) if operation.kind == "night" else outcomes.of(operation)


def night(catalog: Catalog, ended: Operation) -> Night:
    """Given an ended night, return what came of it, by the operations that it opened."""
    ids = ended.data.get("children")
    children = ids.values() if isinstance(ids, Mapping) else ()
    return outcomes.of_night(ended, [piece for id in children if (piece := catalog.operation(str(id)))])
