"""What operations hold: scratch VMIDs (law 1), and lanes, in which one works at a time (vzdump on a node, a test on a node).

Who drives an operation names it and itself (``Fence``) when it takes or gives up something: a driver that slept through its lease
can no more change what the operation holds than anything else of it.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog.database import Database
from backupsvc.catalog.patience import repeatable, retried
from backupsvc.catalog.tables import LANE, OPERATION, VMID_LEASE
from backupsvc.errors import LeaseLost
from policies.model import OperationState

LEFT_ALONE = 120  # seconds past its time after which an operation that nobody drives holds up nobody

Fence = tuple[str, str]  # an operation, and the driver that must hold its lease for the change to be made
Gone = Callable[[str], bool]  # whether a lease's owner is known to be a process that is no more


def nobody(owner: str) -> bool:
    """Of no driver is it known that it is gone."""
    return False


class LeaseStore:
    """Which operation holds which scratch VMID (law 1)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def lease_vmid(self, vmid: int, operation: str, at: int, fence: Fence | None = None) -> bool:
        """Given a scratch VMID, give it to an operation; True also if that operation has it already, False if another has."""
        try:
            with self._database.write() as connection:
                hold(connection, fence)
                connection.execute(insert(VMID_LEASE).values(vmid=vmid, operation=operation, at=at))
        except IntegrityError:
            return self.lease_holder(vmid) == operation
        return True

    def lease_holder(self, vmid: int) -> str | None:
        """Given a VMID, return the id of the operation that holds it, or None."""
        return self.leased_vmids().get(vmid)

    @retried
    def leased_vmids(self) -> dict[int, str]:
        """Return every VMID that is held, with its holder."""
        with self._database.read() as connection:
            rows = connection.execute(select(VMID_LEASE.c.vmid, VMID_LEASE.c.operation).order_by(VMID_LEASE.c.vmid))
            return {row.vmid: row.operation for row in rows}

    @repeatable
    def release_vmid(self, vmid: int, operation: str, fence: Fence | None = None) -> bool:
        """Given a VMID that an operation holds, free it; False (and nothing is done) if that operation does not hold it."""
        mine = (VMID_LEASE.c.vmid == vmid, VMID_LEASE.c.operation == operation)
        with self._database.write() as connection:
            hold(connection, fence)
            return connection.execute(delete(VMID_LEASE).where(*mine)).rowcount == 1


class LaneStore:
    """Lanes: named places with room for one operation. Those who wait go by rank, then in the order in which they were opened."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def enter_lane(self, lane: str, operation: str, now: int, fence: Fence | None = None, gone: Gone = nobody) -> str | None:
        """Given a lane, let the operation wait for it and take it if it is its turn; return None when it has it.

        Otherwise return the operation in front: the one that holds the lane, or the next in turn. One that has ended, or that
        waits but was left alone (its driver is ``gone``, or nobody drives it and its time is long past), holds up nobody.
        """
        try:
            with self._database.write() as connection:
                hold(connection, fence)
                connection.execute(update(OPERATION).where(OPERATION.c.id == operation).values(lane=lane))
                return self._in_front(connection, lane, operation, now, gone)
        except IntegrityError:  # another has taken it between our look and our hand
            return self.lane_holders().get(lane)

    def _in_front(self, connection: Connection, lane: str, operation: str, now: int, gone: Gone) -> str | None:
        holder = connection.execute(select(LANE.c.operation).where(LANE.c.name == lane)).scalar()
        if holder == operation:
            return None
        if (
            holder
            and connection.execute(select(OPERATION.c.state).where(OPERATION.c.id == holder)).scalar() == OperationState.OPEN
        ):
            return str(holder)
        if (first := self._first(connection, lane, now, gone, operation)) != operation:
            return first
        # Only the ended holder's row: another may have taken the lane since we looked, and then our insert must fail.
        connection.execute(delete(LANE).where(LANE.c.name == lane, LANE.c.operation == holder))
        connection.execute(insert(LANE).values(name=lane, operation=operation, at=now))
        return None

    def _first(self, connection: Connection, lane: str, now: int, gone: Gone, operation: str | None = None) -> str | None:
        """The next in turn of those that somebody attends to; ``operation`` is attended to in any case."""
        column, lost = OPERATION.c, set[str]()
        while True:
            expected = or_(column.due > now - LEFT_ALONE, column.lease_until > now)
            lives: ColumnElement[bool] = or_(column.lease_owner.is_(None), column.lease_owner.not_in(lost))
            attended = or_(column.id == operation, and_(expected, lives))
            waiting = (column.lane == lane, column.state == OperationState.OPEN.value, attended)
            query = select(column.id, column.lease_owner).where(*waiting).order_by(column.rank, column.number).limit(1)
            first = connection.execute(query).first()
            if first is None or first.id == operation or not first.lease_owner or not gone(first.lease_owner):
                return str(first.id) if first else None
            lost.add(first.lease_owner)

    @retried
    def leave_lane(self, operation: str, now: int, fence: Fence | None = None, gone: Gone = nobody) -> str | None:
        """Given an operation, take it out of the lane that it waits for or holds; return who is next in turn, due now.

        That is the first whom somebody attends to, as for ``enter_lane``; if nobody attends to any, the first of them.
        """
        with self._database.write() as connection:
            hold(connection, fence)
            lane = connection.execute(select(OPERATION.c.lane).where(OPERATION.c.id == operation)).scalar()
            if lane is None:
                return None
            connection.execute(update(OPERATION).where(OPERATION.c.id == operation).values(lane=None))
            connection.execute(delete(LANE).where(LANE.c.operation == operation))
            waiting = (OPERATION.c.lane == lane, OPERATION.c.state == OperationState.OPEN.value)
            query = select(OPERATION.c.id).where(*waiting).order_by(OPERATION.c.rank, OPERATION.c.number).limit(1)
            following = self._first(connection, lane, now, gone) or connection.execute(query).scalar()
            if following is not None:
                connection.execute(update(OPERATION).where(OPERATION.c.id == following, OPERATION.c.due > now).values(due=now))
        return following

    @retried
    def lane_holders(self) -> dict[str, str]:
        """Return every lane that is held, with its holder."""
        with self._database.read() as connection:
            return {row.name: row.operation for row in connection.execute(select(LANE.c.name, LANE.c.operation))}


def hold(connection: Connection, fence: Fence | None) -> None:
    """Make sure that a fence holds until the end of the transaction. Raise LeaseLost if it does not."""
    if fence is None:
        return
    operation, owner = fence
    mine = (OPERATION.c.id == operation, OPERATION.c.lease_owner == owner, OPERATION.c.state == OperationState.OPEN.value)
    if connection.execute(select(OPERATION.c.id).where(*mine).with_for_update()).first() is None:
        raise LeaseLost(
            f"operation {operation} is driven by another process, or has ended",
            f"see `backupsvc operations show {operation}`",
            operation=operation,
        )
