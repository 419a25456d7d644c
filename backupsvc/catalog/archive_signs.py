"""What the bytes of archives look like, which of them are suspicious, and who acknowledged that."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from backupsvc.catalog.archive_rows import LIGHT, require
from backupsvc.catalog.database import Database
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.rows import archive_of, suspicions_row
from backupsvc.catalog.tables import ACKNOWLEDGEMENT, ARCHIVE, ARCHIVE_SIGNS
from policies.archive_signs import first_place
from policies.model import Archive, DiskSigns, Suspicion

Key = tuple[str, str]  # (place, volid)


@dataclass(frozen=True, slots=True)
class Signs:
    """What was read of an archive: its disks, in the bytes that ``sha256`` and ``size`` tell."""

    archive: Archive
    sha256: str
    size: int
    disks: tuple[DiskSigns, ...]

    @property
    def valid(self) -> bool:
        """Whether they are of the bytes that are recorded of the archive."""
        recorded = self.archive
        return recorded.size == self.size and recorded.sha256 in (None, self.sha256)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """That ``who`` said at ``at`` (epoch seconds) of the archive with those bytes that what is
    unusual of it is right, and for which ``reason``; ``said`` is what was unusual, in words.
    """

    place: str
    volid: str
    vmid: int | None
    sha256: str
    at: int
    who: str
    reason: str
    said: str


class ArchiveSignsRepository:
    """The catalog's signs of archives."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def record(
        self, node: str, volid: str, disks: Sequence[DiskSigns], *, sha256: str, size: int, at: int
    ) -> None:
        """Given an archive and what was read of it at ``at``, remember it; what is known of the
        same bytes stays as it is. Raise PveNotFound if the archive was never seen.
        """
        with self._database.write() as connection:
            row = require(connection, node, volid)
            here = (ARCHIVE_SIGNS.c.place == row.place, ARCHIVE_SIGNS.c.volid == volid)
            columns = ARCHIVE_SIGNS.c.sha256, ARCHIVE_SIGNS.c.archive_size
            # of the same bytes nothing new is learnt: the first reading stays
            if connection.execute(select(*columns).where(*here)).first() == (sha256, size):
                return
            # other bytes lie under that name now: what was read of the earlier ones tells nothing
            # of them
            connection.execute(delete(ARCHIVE_SIGNS).where(*here))
            file = {"place": row.place, "volid": volid, "sha256": sha256, "archive_size": size}
            rows = []
            for disk in disks:
                places = sorted(disk.prints)
                # a list of places is twice as large as their prints, and mostly the level tells it
                told = list(_places(disk.level, len(places))) == places
                its = {
                    "disk": disk.name,
                    "size": disk.size,
                    "stored": disk.stored,
                    "level": disk.level,
                    "entropy": disk.entropy,
                    "places": None if told else struct.pack(f"<{len(places)}I", *places),
                    "prints": struct.pack(
                        f"<{len(places)}H", *(disk.prints[place] for place in places)
                    ),
                }
                rows.append(file | {"at": at} | its)
            connection.execute(insert(ARCHIVE_SIGNS), rows)

    @retried
    def of_guest(self, vmid: int) -> list[Signs]:
        """Return what was read of the archives under a VMID, oldest first; those that are gone are
        among them, and those of which other bytes are recorded by now are not.
        """
        joined = ARCHIVE_SIGNS.join(
            ARCHIVE,
            and_(
                ARCHIVE.c.place == ARCHIVE_SIGNS.c.place, ARCHIVE.c.volid == ARCHIVE_SIGNS.c.volid
            ),
        )
        names = ("disk", "sha256", "archive_size", "size", "stored", "level", "entropy", "places")
        columns = [ARCHIVE_SIGNS.c[name].label(f"sign_{name}") for name in (*names, "prints")]
        query = select(*LIGHT, *columns).select_from(joined).where(ARCHIVE.c.vmid == vmid)
        query = query.order_by(ARCHIVE.c.ctime, ARCHIVE.c.volid, ARCHIVE.c.place)
        rows: dict[Key, list[Row[Any]]] = defaultdict(list)
        with self._database.read() as connection:
            for row in connection.execute(query.order_by(ARCHIVE_SIGNS.c.disk)):
                rows[row.place, row.volid].append(row)
        found = (
            Signs(
                archive_of(of_one[0]),
                of_one[0].sign_sha256,
                of_one[0].sign_archive_size,
                tuple(map(_disk_of, of_one)),
            )
            for of_one in rows.values()
        )
        return [one for one in found if one.valid]

    @retried
    def named(self, what: str) -> list[Archive]:
        """Given a volid, or the id of the operation that made an archive, return the archives that
        it names, newest first, those that are gone among them.
        """
        query = select(*LIGHT).where((ARCHIVE.c.volid == what) | (ARCHIVE.c.operation == what))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(ARCHIVE.c.ctime.desc(), ARCHIVE.c.place))
            return [archive_of(row) for row in rows]

    @retried
    def suspicious(self, vmid: int | None = None) -> list[Archive]:
        """Return the archives (of one guest, or all) that are suspicious, and that nobody has
        acknowledged; those that are gone are among them.
        """
        query = select(*LIGHT).where(ARCHIVE.c.suspicious.is_not(None))
        if vmid is not None:
            query = query.where(ARCHIVE.c.vmid == vmid)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(ARCHIVE.c.ctime, ARCHIVE.c.volid))
            return [archive_of(row) for row in rows]

    @repeatable
    def forget(self, archives: Collection[Key]) -> None:
        """Let go of what was read of those archives."""
        with self._database.write() as connection:
            for place, volid in archives:
                here = (ARCHIVE_SIGNS.c.place == place, ARCHIVE_SIGNS.c.volid == volid)
                connection.execute(delete(ARCHIVE_SIGNS).where(*here))

    @repeatable
    def mark(self, suspicions: Mapping[Key, Sequence[Suspicion]]) -> None:
        """Given archives and what is unusual of each (empty: nothing any more), remember it."""
        with self._database.write() as connection:
            _mark(connection, suspicions)

    @repeatable
    def acknowledge(
        self,
        acknowledged: Sequence[Acknowledgement],
        suspicions: Mapping[Key, Sequence[Suspicion]],
    ) -> None:
        """Write down who acknowledged what, and what is therefore unusual of which archive."""
        with self._database.write() as connection:
            columns = ("place", "volid", "vmid", "sha256", "at", "who", "reason", "said")
            rows = [{name: getattr(one, name) for name in columns} for one in acknowledged]
            connection.execute(insert(ACKNOWLEDGEMENT), rows)
            _mark(connection, suspicions)

    @retried
    def acknowledgements(self, vmid: int) -> list[Acknowledgement]:
        """Return what was acknowledged of the archives under a VMID, oldest first."""
        query = (
            select(*(column for column in ACKNOWLEDGEMENT.c if column.name != "number"))
            .where(ACKNOWLEDGEMENT.c.vmid == vmid)
            .order_by(ACKNOWLEDGEMENT.c.number)
        )
        with self._database.read() as connection:
            return [Acknowledgement(**row._mapping) for row in connection.execute(query)]


def _mark(connection: Connection, suspicions: Mapping[Key, Sequence[Suspicion]]) -> None:
    for (place, volid), found in suspicions.items():
        here = (ARCHIVE.c.place == place, ARCHIVE.c.volid == volid)
        connection.execute(update(ARCHIVE).where(*here).values(suspicious=suspicions_row(found)))


def _disk_of(row: Row[Any]) -> DiskSigns:
    prints = [value for (value,) in struct.iter_unpack("<H", row.sign_prints)]
    places = (
        _places(row.sign_level, len(prints))
        if row.sign_places is None
        else [value for (value,) in struct.iter_unpack("<I", row.sign_places)]
    )
    return DiskSigns(
        row.sign_disk,
        row.sign_size,
        row.sign_stored,
        row.sign_level,
        row.sign_entropy,
        dict(zip(places, prints, strict=True)),
    )


def _places(level: int, count: int) -> range:
    """The numbers of the first ``count`` places that a sample of that level looks at."""
    first = first_place(level)
    return range(first, first + (count << level), 1 << level)
