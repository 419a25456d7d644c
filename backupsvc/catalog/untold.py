"""Outcomes that nobody has heard of yet: written with an operation's end, in one transaction,
struck off when it was told.

Whoever ended the operation tells it, and has a head start for that; if it died before it did,
anybody may.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from backupsvc.catalog.database import Database
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.tables import UNTOLD

HEAD_START = 60  # seconds that an operation's driver has to tell what came of it
FORGOTTEN = 31 * 24 * 3600  # seconds after which nobody wants to know any more

# built once: every tick asks for it
_UNTOLD = (
    select(UNTOLD.c.operation, UNTOLD.c.due)
    .where(UNTOLD.c.due <= bindparam("now"))
    .order_by(UNTOLD.c.due, UNTOLD.c.operation)
    .limit(bindparam("limit"))
)


class UntoldRepository:
    """Outcomes that are still to be told, each by its operation's id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def take(self, now: int, limit: int) -> list[str]:
        """Return operations whose outcome somebody should tell now, the longest due first; they are
        the caller's for a while.

        Of several that ask at once each gets others. What is not struck off by ``mark_told`` comes
        again after HEAD_START.
        """
        column = UNTOLD.c
        with self._database.read() as connection:
            found = connection.execute(_UNTOLD, {"now": now, "limit": limit}).all()
        if not found:
            return []
        taken = []
        with self._database.write() as connection:
            connection.execute(delete(UNTOLD).where(column.due < now - FORGOTTEN))
            for row in found:
                # Compare-and-set on the time: several may have read the same rows, and one alone
                # moves each.
                mine = (column.operation == row.operation, column.due == row.due)
                if connection.execute(
                    update(UNTOLD).where(*mine).values(due=now + HEAD_START)
                ).rowcount:
                    taken.append(str(row.operation))
        return taken

    @retried
    def holds(self, operation: str, due: int) -> bool:
        """Given an operation that ended, return whether its outcome is noted with that time: nobody
        has told it or taken it.
        """
        noted = (UNTOLD.c.operation == operation, UNTOLD.c.due == due)
        with self._database.read() as connection:
            return connection.execute(select(UNTOLD.c.operation).where(*noted)).first() is not None

    @repeatable
    def mark_told(self, operation: str) -> None:
        """Given an operation, strike its outcome off: all who listen have heard of it."""
        with self._database.write() as connection:
            connection.execute(delete(UNTOLD).where(UNTOLD.c.operation == operation))


def note_untold(connection: Connection, operation: str, due: int) -> None:
    """Given the transaction in which an operation ends, note that it is to be told, from ``due`` on
    by anybody (epoch).
    """
    connection.execute(insert(UNTOLD).values(operation=operation, due=due))
