"""The queues' pulse: when each last consumed a canary, and how much work waits. Read by /healthz."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog.database import Database
from backupsvc.catalog.tables import OPERATION, PULSE
from policies.model import OperationState


class PulseStore:
    """One row a queue, overwritten at each canary."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pulse(self, name: str, at: int) -> None:
        """Given a queue, record that it consumed a canary at that time. An older one never hides a newer one."""
        with self._database.write() as connection:
            if connection.execute(select(PULSE.c.at).where(PULSE.c.name == name)).first():
                connection.execute(update(PULSE).where(PULSE.c.name == name, PULSE.c.at < at).values(at=at))
                return
        with suppress(IntegrityError), self._database.write() as connection:  # another worker may have been first, just now
            connection.execute(insert(PULSE).values(name=name, at=at))

    def reset_pulse(self, name: str, at: int) -> None:
        """Given a pulse, set it to that time even if a newer one was recorded: the clock was set back."""
        with self._database.write() as connection:
            connection.execute(update(PULSE).where(PULSE.c.name == name).values(at=at))

    def pulses(self) -> dict[str, float]:
        """Return when each queue last consumed a canary (epoch seconds)."""
        with self._database.read() as connection:
            return {row.name: float(row.at) for row in connection.execute(select(PULSE.c.name, PULSE.c.at))}

    def backlog(self, now: int) -> tuple[int, int | None]:
        """Return how many operations are open, and since when the first of those that nobody drives has been or will be due."""
        free = or_(OPERATION.c.lease_owner.is_(None), OPERATION.c.lease_until <= now)
        # 0 is a row from before operations had a time to be due
        due = func.min(case((free, func.nullif(OPERATION.c.due, 0))))
        query = select(func.count(), due).where(OPERATION.c.state == OperationState.OPEN.value)
        with self._database.read() as connection:
            count, oldest = connection.execute(query).one()
        return int(count), oldest
