"""The catalog as the rest of the service sees it: one object, opened by URL, that speaks the values
of policies/model/.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from backupsvc.catalog.archive_pins import ArchivePinRepository
from backupsvc.catalog.archive_signs import ArchiveSignsRepository
from backupsvc.catalog.archives import ArchiveRepository
from backupsvc.catalog.contents import ContentRepository
from backupsvc.catalog.copies import CopyRepository
from backupsvc.catalog.database import RETRY_FOR_S, Database
from backupsvc.catalog.heartbeats import HeartbeatRepository
from backupsvc.catalog.identity import IdentityRepository
from backupsvc.catalog.inspections import InspectionRepository
from backupsvc.catalog.leases import LeaseRepository
from backupsvc.catalog.lineages import LineageRepository
from backupsvc.catalog.locks import LockRepository
from backupsvc.catalog.operations import OperationRepository
from backupsvc.catalog.proofs import ProofRepository
from backupsvc.catalog.snapshot_trials import SnapshotTrialRepository
from backupsvc.catalog.untold import UntoldRepository


class Catalog:
    """One database, and a repository for each subject that it keeps."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.archive_pins = ArchivePinRepository(database)
        self.archive_signs = ArchiveSignsRepository(database)
        self.archives = ArchiveRepository(database)
        self.contents = ContentRepository(database)
        self.copies = CopyRepository(database)
        self.heartbeats = HeartbeatRepository(database)
        self.identity = IdentityRepository(database)
        self.inspections = InspectionRepository(database)
        self.leases = LeaseRepository(database)
        self.lineages = LineageRepository(database)
        self.locks = LockRepository(database)
        self.operations = OperationRepository(database)
        self.proofs = ProofRepository(database)
        self.snapshot_trials = SnapshotTrialRepository(database)
        self.untold = UntoldRepository(database)

    @classmethod
    def open(cls, url: str, retry_for_s: float = RETRY_FOR_S) -> Self:
        """Given an SQLAlchemy URL, open the catalog, creating it or bringing it to this version.

        A catalog that is locked or down is waited for up to ``retry_for_s`` seconds. Raise
        UsageError if that is no URL or an SQLite file on a network file system, CatalogUnreachable
        if the database does not open or is of a newer version.
        """
        return cls(Database.open(url, retry_for_s))

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
