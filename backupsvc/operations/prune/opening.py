"""Open a prune."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from backupsvc.operations.prune.memory import PruneMemory
from backupsvc.operations.services import Opening
from policies.model import Operation

if TYPE_CHECKING:
    from backupsvc.catalog.fences import Fence


def open_prune(
    service: Opening,
    only: Collection[int] = (),
    occurrence: str | None = None,
    parent: Fence | None = None,
) -> Operation | None:
    """Open a prune of the whole site, or of some guests' archives. Return None when ``occurrence``
    was opened before (law 9).

    ``parent`` is the night that opens it, and its driver.
    """
    return service.engine.open(
        "prune", None, PruneMemory(tuple(sorted(only))), occurrence=occurrence, parent=parent
    )
