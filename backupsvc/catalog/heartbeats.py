"""Heartbeats: when each queue last consumed a canary, and when a tick was last here. Read by
/healthz.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog.database import Database
from backupsvc.catalog.tables import HEARTBEAT

# built once: every tick asks for them
_ALL = select(HEARTBEAT.c.name, HEARTBEAT.c.at)
_KNOWN = select(HEARTBEAT.c.at).where(HEARTBEAT.c.name == bindparam("queue"))
_NEWER = (
    update(HEARTBEAT)
    .where(HEARTBEAT.c.name == bindparam("queue"), HEARTBEAT.c.at < bindparam("now"))
    .values(at=bindparam("now"))
)


class HeartbeatRepository:
    """One row a queue, overwritten at each canary."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, name: str, at: int) -> None:
        """Given a queue, record that it consumed a canary at that time. An older one never hides a
        newer one.
        """
        with self._database.write() as connection:
            if connection.execute(_KNOWN, {"queue": name}).first():
                connection.execute(_NEWER, {"queue": name, "now": at})
                return
        # another worker may have been first, just now
        with suppress(IntegrityError), self._database.write() as connection:
            connection.execute(insert(HEARTBEAT).values(name=name, at=at))

    def reset(self, name: str, at: int) -> None:
        """Given a heartbeat, set it to that time even if a newer one was recorded: the clock was
        set back.
        """
        with self._database.write() as connection:
            connection.execute(update(HEARTBEAT).where(HEARTBEAT.c.name == name).values(at=at))

    def newest(self) -> dict[str, float]:
        """Return when each queue last consumed a canary (epoch seconds)."""
        with self._database.read() as connection:
            return {row.name: float(row.at) for row in connection.execute(_ALL)}
