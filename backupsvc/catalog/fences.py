"""Fences: who drives an operation names it and itself when it takes or gives up something for it.

A driver that slept through its lease can no more change what the operation holds than anything else
of it.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from backupsvc.catalog.tables import OPERATION
from backupsvc.errors import LeaseLost
from policies.model import OperationState

# an operation, and the driver that must hold its lease for the change to be made
Fence = tuple[str, str]

# built once: it is part of all that is taken and given up
_HELD = (
    select(OPERATION.c.id)
    .where(
        OPERATION.c.id == bindparam("its_id"),
        OPERATION.c.lease_owner == bindparam("its_driver"),
        OPERATION.c.state == OperationState.OPEN.value,
    )
    .with_for_update()
)


def hold(connection: Connection, fence: Fence) -> None:
    """Make sure that a fence holds until the end of the transaction. Raise LeaseLost if it does
    not.
    """
    operation, owner = fence
    if connection.execute(_HELD, {"its_id": operation, "its_driver": owner}).first() is None:
        raise LeaseLost(
            f"operation {operation} is driven by another process, or has ended",
            f"see `backupsvc operations show {operation}`",
            operation=operation,
        )
