"""Locks that operations wait for in turn: what one of them works at alone (vzdump on a node, a
restore test on a node).
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog.database import Database
from backupsvc.catalog.fences import Fence, hold
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.tables import LOCK, OPERATION
from policies.model import OperationState

# seconds past its time after which an operation that nobody drives holds up nobody
LEFT_ALONE = 120

Gone = Callable[[str], bool]  # whether a lease's owner is known to be a process that is no more


def nobody(owner: str) -> bool:
    """Of no driver is it known that it is gone."""
    return False


class LockRepository:
    """Named locks, each of one operation at a time. Those who wait go by rank, then in the order in
    which they were opened.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def enter(self, lock: str, now: int, fence: Fence, gone: Gone = nobody) -> str | None:
        """Given a lock, let the fence's operation wait for it and take it if it is its turn; return
        None when it has it.

        Otherwise return the operation in front: the one that holds the lock, or the next in turn.
        One that has ended, or that waits but was left alone (its driver is ``gone``, or nobody
        drives it and its time is long past), holds up nobody.
        """
        operation, _ = fence
        try:
            with self._database.write() as connection:
                hold(connection, fence)
                # whoever leaves finds by this who waits
                connection.execute(
                    update(OPERATION).where(OPERATION.c.id == operation).values(lock=lock)
                )
                holder = connection.execute(
                    select(LOCK.c.operation).where(LOCK.c.name == lock)
                ).scalar()
                if holder == operation:
                    return None
                state = select(OPERATION.c.state).where(OPERATION.c.id == holder)
                if holder and connection.execute(state).scalar() == OperationState.OPEN:
                    return str(holder)
                if (first := self._first(connection, lock, now, gone, operation)) != operation:
                    return first
                # Only the ended holder's row: another may have taken the lock since we looked, and
                # then our insert must fail.
                ended = (LOCK.c.name == lock, LOCK.c.operation == holder)
                connection.execute(delete(LOCK).where(*ended))
                connection.execute(insert(LOCK).values(name=lock, operation=operation, at=now))
                return None
        except IntegrityError:  # another has taken it between our look and our hand
            return self.holders().get(lock)

    def _first(
        self, connection: Connection, lock: str, now: int, gone: Gone, operation: str | None = None
    ) -> str | None:
        """The next in turn of those that somebody attends to; ``operation`` is attended to in any
        case.
        """
        column, lost = OPERATION.c, set[str]()
        # each turn leaves out one more driver that is known to be a process that is no more
        while True:
            expected = or_(column.due > now - LEFT_ALONE, column.lease_until > now)
            lives: ColumnElement[bool] = or_(
                column.lease_owner.is_(None), column.lease_owner.not_in(lost)
            )
            attended = or_(column.id == operation, and_(expected, lives))
            waiting = (column.lock == lock, column.state == OperationState.OPEN.value, attended)
            query = (
                select(column.id, column.lease_owner)
                .where(*waiting)
                .order_by(column.rank, column.number)
                .limit(1)
            )
            first = connection.execute(query).first()
            if (
                first is None
                or first.id == operation
                or not first.lease_owner
                or not gone(first.lease_owner)
            ):
                return str(first.id) if first else None
            lost.add(first.lease_owner)

    @retried
    def leave(self, now: int, fence: Fence, gone: Gone = nobody) -> str | None:
        """Take the fence's operation out of the lock that it waits for or holds; return who is next
        in turn, due now.

        That is the first whom somebody attends to, as for ``enter``; if nobody attends to any, the
        first of them.
        """
        operation, _ = fence
        with self._database.write() as connection:
            hold(connection, fence)
            lock = connection.execute(
                select(OPERATION.c.lock).where(OPERATION.c.id == operation)
            ).scalar()
            if lock is None:
                return None
            connection.execute(
                update(OPERATION).where(OPERATION.c.id == operation).values(lock=None)
            )
            connection.execute(delete(LOCK).where(LOCK.c.operation == operation))
            waiting = (OPERATION.c.lock == lock, OPERATION.c.state == OperationState.OPEN.value)
            query = (
                select(OPERATION.c.id)
                .where(*waiting)
                .order_by(OPERATION.c.rank, OPERATION.c.number)
                .limit(1)
            )
            following = (
                self._first(connection, lock, now, gone) or connection.execute(query).scalar()
            )
            if following is not None:
                connection.execute(
                    update(OPERATION)
                    # only brought forward: one that is due keeps its place among those that the
                    # tick wakes
                    .where(OPERATION.c.id == following, OPERATION.c.due > now)
                    .values(due=now)
                )
        return following

    @retried
    def holders(self) -> dict[str, str]:
        """Return every lock that is held, with its holder."""
        with self._database.read() as connection:
            return {
                row.name: row.operation
                for row in connection.execute(select(LOCK.c.name, LOCK.c.operation))
            }
