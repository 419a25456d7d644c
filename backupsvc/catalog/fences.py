"""Fences: who drives an operation names it and itself when it takes or gives up something for it.

A driver that slept through its lease can no more change what the operation holds than anything else
of it.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from backupsvc.catalog.tables import OPERATION
from backupsvc.errors import LeaseLost
from policies.model import OperationState

# an operation, and the driver that must hold its lease for the change to be made
Fence = tuple[str, str]


def hold(connection: Connection, fence: Fence) -> None:
    """Make sure that a fence holds until the end of the transaction. Raise LeaseLost if it does
    not.
    """
    operation, owner = fence
    mine = (
        OPERATION.c.id == operation,
        OPERATION.c.lease_owner == owner,
        OPERATION.c.state == OperationState.OPEN.value,
    )
    if connection.execute(select(OPERATION.c.id).where(*mine).with_for_update()).first() is None:
        raise LeaseLost(
            f"operation {operation} is driven by another process, or has ended",
            f"see `backupsvc operations show {operation}`",
            operation=operation,
        )
