"""Since when the catalog looks at each storage, and what it can say for itself of each guest (law
3).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from backupsvc.catalog.database import Database
from backupsvc.catalog.retry import retried
from backupsvc.catalog.tables import ACCEPTANCE, ARCHIVE, OPERATION, PROOF, STORAGE_LOOK
from policies.model import Verdict
from policies.prune_guard import Knowledge, Sighting

Storage = tuple[str, str]  # (place, storage); place is "" on a shared storage


@dataclass(frozen=True, slots=True)
class Acceptance:
    """That somebody (``who``) accepted at ``at`` (epoch seconds) what the storages hold of a guest:
    ``archives``, by volid.
    """

    vmid: int
    at: int
    who: str
    why: str
    archives: tuple[str, ...]


class InspectionRepository:
    """The catalog's knowledge of itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    def knowledge(self, vmid: int | None = None, vmids: Collection[int] | None = None) -> Knowledge:
        """Return what the catalog can say for itself: of one guest's archives, of some guests', or
        of all that are there.
        """
        if vmid is not None:
            vmids = (vmid,)
        looks = select(STORAGE_LOOK.c.place, STORAGE_LOOK.c.storage, STORAGE_LOOK.c.first_look)
        # an archive that PVE's own job or a person made has no operation
        written = ARCHIVE.outerjoin(OPERATION, OPERATION.c.id == ARCHIVE.c.operation)
        columns = (
            ARCHIVE.c.place,
            ARCHIVE.c.volid,
            ARCHIVE.c.first_seen,
            ARCHIVE.c.not_before,
            OPERATION.c.kind,
            OPERATION.c.created,
        )
        seen = select(*columns).select_from(written).where(ARCHIVE.c.gone_at.is_(None))
        proven = (
            select(PROOF.c.vmid, func.max(PROOF.c.ended))
            .where(PROOF.c.verdict == Verdict.PROVEN.value)
            .group_by(PROOF.c.vmid)
        )
        accepted = select(ACCEPTANCE.c.vmid, func.max(ACCEPTANCE.c.at)).group_by(ACCEPTANCE.c.vmid)
        if vmids is not None:
            seen, proven = (
                seen.where(ARCHIVE.c.vmid.in_(vmids)),
                proven.where(PROOF.c.vmid.in_(vmids)),
            )
            accepted = accepted.where(ACCEPTANCE.c.vmid.in_(vmids))
        with self._database.read() as connection:
            return Knowledge(
                looks={(row[0], row[1]): row[2] for row in connection.execute(looks)},
                sightings={
                    (row.place, row.volid): Sighting(
                        row.first_seen,
                        row.not_before,
                        # only a backup tells when its data were taken; a copy bears the time of its
                        # original
                        row.created if row.kind == "backup" else None,
                        copied=row.kind not in (None, "backup"),
                    )
                    for row in connection.execute(seen)
                },
                proven={row[0]: row[1] for row in connection.execute(proven)},
                accepted={row[0]: row[1] for row in connection.execute(accepted)},
            )

    @retried
    def accept(self, acceptances: Collection[Acceptance]) -> None:
        """Write down who accepted what."""
        rows = [
            {
                "vmid": one.vmid,
                "at": one.at,
                "who": one.who,
                "why": one.why,
                "archives": list(one.archives),
            }
            for one in acceptances
        ]
        if rows:
            with self._database.write() as connection:
                connection.execute(insert(ACCEPTANCE), rows)

    @retried
    def acceptances(self) -> list[Acceptance]:
        """Return what was accepted, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(ACCEPTANCE).order_by(ACCEPTANCE.c.number))
            return [
                Acceptance(row.vmid, row.at, row.who, row.why, tuple(row.archives)) for row in rows
            ]


def last_inspections(connection: Connection) -> dict[Storage, int | None]:
    """Return when each storage was last listed completely, None where no listing is known to have
    been complete.
    """
    rows = connection.execute(
        select(STORAGE_LOOK.c.place, STORAGE_LOOK.c.storage, STORAGE_LOOK.c.last_look)
    )
    return {(row.place, row.storage): row.last_look for row in rows}


def record_inspections(
    connection: Connection,
    looked: Collection[Storage],
    before: Mapping[Storage, int | None],
    at: int,
) -> None:
    """Given the storages that were listed completely at ``at``, and ``last_inspections`` until now,
    remember it.

    The first look only moves back: one that was written down while a clock was ahead must not stand
    in the way for ever.
    """
    new = [
        {"place": place, "storage": storage, "first_look": at, "last_look": at}
        for place, storage in set(looked) - before.keys()
    ]
    if new:
        connection.execute(insert(STORAGE_LOOK), new)
    for place, storage in sorted(set(looked) & before.keys()):
        here = (STORAGE_LOOK.c.place == place, STORAGE_LOOK.c.storage == storage)
        connection.execute(update(STORAGE_LOOK).where(*here).values(last_look=at))
        connection.execute(
            update(STORAGE_LOOK).where(*here, STORAGE_LOOK.c.first_look > at).values(first_look=at)
        )
