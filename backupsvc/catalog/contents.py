"""All that a catalog holds of a few subjects, as digests: to hold a snapshot against the catalog that
it was taken of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Row, select

from backupsvc.catalog.database import Database
from backupsvc.catalog.retry import retried
from backupsvc.catalog.tables import (
    ARCHIVE,
    IDENTITY,
    LINEAGE_DECISION,
    OPERATION,
    PROOF,
    TOMBSTONE,
)
from policies import snapshot_trial

_DECISION = ("vmid", "type", "kind", "at", "who", "why", "pieces")
# when it went, and since when it is missing, may be learnt later
_TOMBSTONE = ("vmid", "type", "uuid", "born", "macs", "cut", "newest")
_PART = 1000  # rows that are fetched in one go


class ContentRepository:
    """What the catalog holds, for a comparison."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    def rows(self) -> dict[str, list[snapshot_trial.Row]]:
        """Return the rows of each subject: identity, archives, proofs, decisions, tombstones,
        operations.
        """
        with self._database.read() as connection:
            return {subject: list(found(connection)) for subject, found in _SUBJECTS.items()}


def _identity(connection: Connection) -> Iterator[snapshot_trial.Row]:
    for row in connection.execute(select(IDENTITY)):
        yield snapshot_trial.Row(row.id, row.number, _digest(row.id))


def _archives(connection: Connection) -> Iterator[snapshot_trial.Row]:
    names = "id", "place", "volid", "vmid", "type", "ctime", "sha256", "first_seen"
    query = select(*(ARCHIVE.c[name] for name in (*names, "changed_at")))
    for row in _each(connection, query):
        yield snapshot_trial.Row(
            f"{row.place}/{row.volid}",
            row.id,
            _digest(row.vmid, row.type),
            row.first_seen,
            # another file under its name, or one that was changed, is told by these
            version=f"{row.ctime} {row.changed_at}",
            # what is recorded of its bytes is never overwritten, only learnt; its size is as it was
            # last listed
            final=_digest(row.sha256) if row.sha256 else "",
        )


def _proofs(connection: Connection) -> Iterator[snapshot_trial.Row]:
    for row in _each(connection, select(PROOF)):
        key = f"{row.operation} {row.node} {row.volid}"
        yield snapshot_trial.Row(key, row.number, _digest(*row[1:]), row.ended)


# each table counts its rows for itself, so each is a subject
def _decisions(connection: Connection) -> Iterator[snapshot_trial.Row]:
    for row in _each(connection, select(LINEAGE_DECISION)):
        said = _digest(*(getattr(row, name) for name in _DECISION))
        yield snapshot_trial.Row(f"decision {row.number}", row.number, said, row.at)


def _tombstones(connection: Connection) -> Iterator[snapshot_trial.Row]:
    for row in _each(connection, select(TOMBSTONE)):
        said = _digest(*(getattr(row, name) for name in _TOMBSTONE))
        yield snapshot_trial.Row(f"tombstone {row.number}", row.number, said)


def _operations(connection: Connection) -> Iterator[snapshot_trial.Row]:
    for row in _each(connection, select(OPERATION)):
        yield snapshot_trial.Row(
            row.id,
            row.number,
            _digest(row.kind, row.subject, row.created, row.occurrence),
            row.created,
            # while it is open all of the rest may change
            final=_digest(row.state, row.step, row.data, row.finished, row.error)
            if row.finished is not None
            else "",
        )


_SUBJECTS: dict[str, Callable[[Connection], Iterator[snapshot_trial.Row]]] = {
    "identity": _identity,
    "archives": _archives,
    "proofs": _proofs,
    "decisions": _decisions,
    "tombstones": _tombstones,
    "operations": _operations,
}


def _each(connection: Connection, query: Any) -> Iterator[Row[Any]]:
    for part in connection.execute(query).partitions(_PART):
        yield from part


def _digest(*values: object) -> str:
    """One for equal values, whichever database they come from."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
