"""Which operation holds which scratch VMID (law 1)."""

from __future__ import annotations

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog.database import Database
from backupsvc.catalog.fences import Fence, hold
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.tables import OPERATION, VMID_LEASE
from policies.model import OperationState

# built once: every tick asks for it
_HOLDERS = select(VMID_LEASE.c.vmid, VMID_LEASE.c.operation).order_by(VMID_LEASE.c.vmid)


class LeaseRepository:
    """Which operation holds which scratch VMID (law 1)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def take(self, vmid: int, at: int, fence: Fence) -> bool:
        """Given a scratch VMID, give it to the fence's operation; True also if that has it already,
        False if another has it.
        """
        try:
            with self._database.write() as connection:
                hold(connection, fence)
                connection.execute(insert(VMID_LEASE).values(vmid=vmid, operation=fence[0], at=at))
        # the VMID is the row's key: of two that take one at a moment the database lets one through
        except IntegrityError:
            return self.holder(vmid) == fence[0]
        return True

    def holder(self, vmid: int) -> str | None:
        """Given a VMID, return the id of the operation that holds it, or None."""
        return self.holders().get(vmid)

    @retried
    def holders(self) -> dict[int, str]:
        """Return every VMID that is held, with its holder."""
        with self._database.read() as connection:
            return {row.vmid: row.operation for row in connection.execute(_HOLDERS)}

    @repeatable
    def release(self, vmid: int, operation: str, fence: Fence) -> bool:
        """Given a VMID that an operation holds, free it; False (and nothing is done) if that
        operation does not hold it.

        The fence's operation is the one that frees it, which may be another: a tear-down frees what
        its ended operation held.
        """
        mine = (VMID_LEASE.c.vmid == vmid, VMID_LEASE.c.operation == operation)
        with self._database.write() as connection:
            hold(connection, fence)
            return connection.execute(delete(VMID_LEASE).where(*mine)).rowcount == 1

    @repeatable
    def release_of_ended(self, vmid: int, operation: str) -> bool:
        """Given a VMID that an operation holds which has ended, so that nobody drives it, free it;
        False if it is not so.
        """
        # asked in the same statement: one that is still open keeps its VMID
        ended = select(OPERATION.c.id).where(
            OPERATION.c.id == operation, OPERATION.c.state != OperationState.OPEN.value
        )
        its_own = (VMID_LEASE.c.vmid == vmid, VMID_LEASE.c.operation.in_(ended))
        with self._database.write() as connection:
            return connection.execute(delete(VMID_LEASE).where(*its_own)).rowcount == 1
