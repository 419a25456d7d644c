"""Who this service is: a random name that lives and dies with its catalog. Copies bear it, beside
their operation's marker.
"""

from __future__ import annotations

from sqlalchemy import select

from backupsvc.catalog.database import Database
from backupsvc.catalog.retry import retried
from backupsvc.catalog.tables import IDENTITY


class IdentityRepository:
    """The one row that the migration wrote."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    def get(self) -> str:
        """Return this service's identity: 32 hexadecimal digits, the same for as long as the
        catalog lives.
        """
        with self._database.read() as connection:
            return str(connection.execute(select(IDENTITY.c.id)).scalar_one())
