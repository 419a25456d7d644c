"""The catalog as the rest of the service sees it: one object, opened by URL, that speaks the values of policies/model/."""

from __future__ import annotations

from types import TracebackType

from backupsvc.catalog.archives import ArchiveStore
from backupsvc.catalog.database import PATIENCE, Database
from backupsvc.catalog.identity import IdentityStore
from backupsvc.catalog.leases import LaneStore, LeaseStore
from backupsvc.catalog.looks import LookStore
from backupsvc.catalog.operations import OperationStore
from backupsvc.catalog.pins import PinStore
from backupsvc.catalog.proofs import ProofStore
from backupsvc.catalog.pulse import PulseStore
from backupsvc.catalog.untold import UntoldStore


class Catalog(
    ArchiveStore,
    IdentityStore,
    LookStore,
    OperationStore,
    LeaseStore,
    LaneStore,
    PinStore,
    ProofStore,
    PulseStore,
    UntoldStore,
):
    """Archives, identity, looks, operations, leases, lanes, pins, proofs, pulses and untold outcomes in one database."""

    @classmethod
    def open(cls, url: str, patience: float = PATIENCE) -> Catalog:
        """Given an SQLAlchemy URL, open the catalog, creating it or bringing it to this version.

        ``patience`` is for how many seconds a catalog that is locked or down is waited for. Raise UsageError if that is no URL or
        an SQLite file on a network file system, CatalogUnreachable if the database does not open or is of a newer version.
        """
        return cls(Database.open(url, patience))

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
