"""The catalog as the rest of the service sees it: one object, opened by URL, that speaks the values of policies/model.py."""

from __future__ import annotations

from types import TracebackType

from backupsvc.catalog.archives import ArchiveStore
from backupsvc.catalog.database import Database
from backupsvc.catalog.leases import LaneStore, LeaseStore
from backupsvc.catalog.operations import OperationStore
from backupsvc.catalog.proofs import ProofStore


class Catalog(ArchiveStore, OperationStore, LeaseStore, LaneStore, ProofStore):
    """Archives, operations, leases, lanes and proofs over one database. Safe to use from several threads and processes."""

    @classmethod
    def open(cls, url: str) -> Catalog:
        """Given an SQLAlchemy URL, open the catalog, creating it or bringing it to this version.

        Raise UsageError if that is no URL, CatalogUnreachable if the database does not open or is of a newer version.
        """
        return cls(Database.open(url))

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
