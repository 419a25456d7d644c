"""Which archives open operations need, and which one is being removed: of the two only one can be,
in one transaction (law 3).

A pin is let go of when its operation ends. Any number may need an archive; while somebody does,
nobody may remove it, and while somebody removes it, nobody may begin to need it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, delete, insert, select, true

from backupsvc.catalog.archive_rows import find
from backupsvc.catalog.database import Database
from backupsvc.catalog.fences import Fence, hold
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.tables import ARCHIVE_PIN, OPERATION
from backupsvc.errors import PveNotFound
from policies.model import OperationState


class ArchivePinRepository:
    """The catalog's pins on archives."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def pin(self, node: str, volid: str, at: int, fence: Fence) -> str | None:
        """Given an archive that the fence's operation needs, pin it; return the operation that is
        removing it, if one is.

        Then nothing is pinned. ``at`` in epoch seconds. Raise PveNotFound if the archive was never
        seen, or is gone.
        """
        return self._take(node, volid, at, fence, removes=False)

    @repeatable
    def begin_removal(self, node: str, volid: str, at: int, fence: Fence) -> str | None:
        """Given an archive that the fence's operation is about to remove, keep all others from
        pinning it.

        Return the operation that needs or removes it, if one does: then it must stay. Raise
        PveNotFound if the archive was never seen, or is gone.
        """
        return self._take(node, volid, at, fence, removes=True)

    @repeatable
    def unpin(self, node: str, volid: str, fence: Fence) -> None:
        """Given an archive that the fence's operation pinned, or was about to remove, let go of
        it.
        """
        mine = (
            ARCHIVE_PIN.c.place.in_((node, "")),
            ARCHIVE_PIN.c.volid == volid,
            ARCHIVE_PIN.c.operation == fence[0],
        )
        with self._database.write() as connection:
            hold(connection, fence)
            connection.execute(delete(ARCHIVE_PIN).where(*mine))

    @retried
    def pinned(self) -> set[str]:
        """Return the volids of all archives that open operations need."""
        with self._database.read() as connection:
            return {
                row.volid for row in connection.execute(_open(ARCHIVE_PIN.c.removes.is_(False)))
            }

    def _take(self, node: str, volid: str, at: int, fence: Fence, *, removes: bool) -> str | None:
        operation, _ = fence
        with self._database.write() as connection:
            hold(connection, fence)
            # locked: on PostgreSQL two that take it wait for each other here
            row = find(connection, node, volid)
            if row is None:
                raise PveNotFound(
                    f"archive {volid} on {node} is not in the catalog",
                    "run `backupsvc catalog sync`",
                )
            if row.gone_at is not None:
                raise PveNotFound(
                    f"archive {volid} on {node} is no longer there",
                    "run it again: another archive is chosen then",
                )
            here = (ARCHIVE_PIN.c.place == row.place, ARCHIVE_PIN.c.volid == volid)
            # who removes an archive needs it alone; those who read it only keep it from being
            # removed
            in_the_way = true() if removes else ARCHIVE_PIN.c.removes.is_(True)
            others = _open(*here, ARCHIVE_PIN.c.operation != operation, in_the_way)
            if (other := connection.execute(others.limit(1)).first()) is not None:
                return str(other.operation)
            # one row an operation: what it pinned it may be about to remove now
            connection.execute(
                delete(ARCHIVE_PIN).where(*here, ARCHIVE_PIN.c.operation == operation)
            )
            values = {
                "place": row.place,
                "volid": volid,
                "operation": operation,
                "removes": removes,
                "at": at,
            }
            connection.execute(insert(ARCHIVE_PIN).values(values))
        return None


def _open(*wanted: ColumnElement[bool]) -> Select[Any]:
    """The pins of operations that have not ended, for which all that is wanted holds."""
    joined = ARCHIVE_PIN.join(OPERATION, OPERATION.c.id == ARCHIVE_PIN.c.operation)
    query = select(ARCHIVE_PIN.c.volid, ARCHIVE_PIN.c.operation).select_from(joined)
    return query.where(OPERATION.c.state == OperationState.OPEN.value, *wanted)
