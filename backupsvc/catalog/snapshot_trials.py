"""Snapshots of the catalog at copy targets: what was written there, and what came of bringing it
back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import func, insert, select

from backupsvc.catalog.database import Database
from backupsvc.catalog.retry import retried
from backupsvc.catalog.tables import SNAPSHOT_PUT, SNAPSHOT_TRIAL
from policies.model import SnapshotPut, SnapshotTrial, TrialState


class SnapshotTrialRepository:
    """The catalog's word on its own snapshots. Nothing of it is ever changed (law 6)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    def record_put(self, puts: Sequence[SnapshotPut]) -> None:
        """Write down what was brought to targets; what is written down already stays."""
        with self._database.write() as connection:
            for put in puts:
                here = SNAPSHOT_PUT.c.folder == put.folder, SNAPSHOT_PUT.c.file == put.file
                if connection.execute(select(SNAPSHOT_PUT.c.file).where(*here)).first() is None:
                    connection.execute(insert(SNAPSHOT_PUT).values(asdict(put)))

    @retried
    def sha256_of(self, folder: str, file: str) -> str | None:
        """Given a target's folder and a file's name, return the SHA-256 of what was brought there
        under it, None if nothing is written down.
        """
        here = SNAPSHOT_PUT.c.folder == folder, SNAPSHOT_PUT.c.file == file
        with self._database.read() as connection:
            row = connection.execute(select(SNAPSHOT_PUT.c.sha256).where(*here)).first()
        return str(row.sha256) if row else None

    @retried
    def record(self, trial: SnapshotTrial) -> None:
        """Write down what came of a trial."""
        with self._database.write() as connection:
            values = asdict(trial) | {"state": trial.state.value}
            connection.execute(insert(SNAPSHOT_TRIAL).values(values))

    @retried
    def last(self) -> list[SnapshotTrial]:
        """Return the last trial of each kind at each folder, by target."""
        each = SNAPSHOT_TRIAL.c.folder, SNAPSHOT_TRIAL.c.what
        newest = select(func.max(SNAPSHOT_TRIAL.c.number)).group_by(*each)
        query = select(SNAPSHOT_TRIAL).where(SNAPSHOT_TRIAL.c.number.in_(newest))
        order = SNAPSHOT_TRIAL.c.target, SNAPSHOT_TRIAL.c.what, SNAPSHOT_TRIAL.c.number
        with self._database.read() as connection:
            return [
                SnapshotTrial(
                    row.target,
                    row.folder,
                    row.at,
                    row.what,
                    row.file,
                    row.taken_at,
                    row.size,
                    row.sha256,
                    TrialState(row.state),
                    row.said,
                    row.seconds,
                )
                for row in connection.execute(query.order_by(*order))
            ]
