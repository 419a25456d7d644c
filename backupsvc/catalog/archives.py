"""What the catalog knows of archives: what the storages listed, what was learnt about each, and how
far each is proven.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog import listings
from backupsvc.catalog.archive_rows import (
    LIGHT,
    THERE,
    UNPROVEN,
    is_archive,
    lift,
    mark_changed,
    mark_gone,
    require,
    withdraw,
)
from backupsvc.catalog.database import Database
from backupsvc.catalog.lineages import decisions
from backupsvc.catalog.listings import Observation
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.rows import ARCHIVE_COLUMNS, archive_from, archive_of, plain
from backupsvc.catalog.tables import ARCHIVE
from policies import lineage
from policies.chains import settle
from policies.model import Archive, Rung

_LEARNT = ("name", "sha256", "config", "uuid", "consistency", "excluded", "operation")
_FACTS = (
    *_LEARNT,
    "born",
    "rung_at",
    "first_seen",
    "gone_at",
    "changed_at",
    "changed",
    "damaged_at",
    "damaged",
    "checked_at",
)
# all that was known of the bytes of a file which another has replaced
_OF_ANOTHER = UNPROVEN | dict.fromkeys(
    (
        "sha256",
        "config",
        "uuid",
        "born",
        "macs",
        "changed",
        "changed_at",
        "damaged",
        "damaged_at",
        "checked_at",
        "suspicious",
    )
)
# what an archive is made of, in its order, and nothing else: of a million rows all is looked at
_columns = {column.name: column for column in LIGHT}
_PLAIN = [_columns[name] for name in ARCHIVE_COLUMNS]
_PART = 1000  # rows that are fetched in one go


class ArchiveRepository:
    """The catalog's archives."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    def observe(
        self,
        listing: Sequence[Archive],
        *,
        scope: Collection[tuple[str, str]],
        at: int,
        looked: Collection[tuple[str, str]] = (),
    ) -> Observation:
        """Given what storages listed, remember it, and return what changed. ``at``: when the
        listing began, in epoch seconds.

        ``scope`` names the (node, storage) pairs that were listed completely: only there does an
        absent archive count as gone (its row is kept, with what it proved). An archive whose size
        or time differs proves nothing any more; one of another size was changed, and is never taken
        for good again. ``looked`` names the (place, storage) pairs of which all guests were
        listed: what a later listing finds new there came after ``at``. An archive that went while
        the listing was made stays
        gone: the listing is the older news.
        """
        try:
            with self._database.write() as connection:
                return listings.observe(connection, listing, scope, at, looked)
        except IntegrityError:
            # PostgreSQL: another process remembered the same new archive in this very moment
            with self._database.write() as connection:
                return listings.observe(connection, listing, scope, at, looked)

    @retried
    def find(
        self,
        *,
        vmid: int | None = None,
        vmids: Collection[int] | None = None,
        storage: str | None = None,
        place: str | None = None,
        since: int | None = None,
        limit: int | None = None,
        gone: bool = False,
    ) -> list[Archive]:
        """Return the archives that the storages hold (with ``gone``: those that they no longer
        hold), newest first.

        ``place`` is their node, "" for shared storages; with ``since`` (epoch seconds) none that is
        older, with ``limit`` the newest so many.
        """
        wanted = _wanted(vmid, since, gone=gone)
        if vmids is not None:
            wanted.append(ARCHIVE.c.vmid.in_(vmids))
        if storage is not None:
            wanted.append(_beside(vmid, ARCHIVE.c.storage) == storage)
        if place is not None:
            wanted.append(_beside(vmid, ARCHIVE.c.place) == place)
        query = (
            select(*_PLAIN)
            .where(*wanted)
            .order_by(ARCHIVE.c.ctime.desc(), ARCHIVE.c.volid)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query)
            found = [archive_from(row) for part in rows.partitions(_PART) for row in part]
            said = decisions(connection, vmid)
        # what people said of the machines has the last word (law 10), and mostly nobody said
        # anything
        return settle(found, said) if said else found

    @retried
    def count(self, *, vmid: int | None = None, since: int | None = None) -> int:
        """Return how many archives ``find`` would return."""
        with self._database.read() as connection:
            return int(
                connection.execute(select(func.count()).where(*_wanted(vmid, since))).scalar_one()
            )

    @retried
    def machines(self) -> dict[int, set[tuple[str | None, str | None, int | None, str | None]]]:
        """Return, by VMID, what tells machines apart among the archives that the storages hold:
        each kind of guest, UUID, time of creation and MAC addresses that occur.
        """
        columns = (ARCHIVE.c.type, ARCHIVE.c.uuid, ARCHIVE.c.born, ARCHIVE.c.macs)
        query = select(ARCHIVE.c.vmid, *columns).where(*_wanted()).distinct()
        found: dict[int, set[tuple[str | None, str | None, int | None, str | None]]] = {}
        with self._database.read() as connection:
            for vmid, *told in connection.execute(query):
                if vmid is not None:
                    found.setdefault(vmid, set()).add((told[0], told[1], told[2], told[3]))
        return found

    @retried
    def places(self, vmid: int | None = None) -> list[tuple[str, str, str]]:
        """Return where archives (of one guest, or all) lie that the storages hold, each as (place,
        node, storage).
        """
        columns = ARCHIVE.c.place, ARCHIVE.c.node, ARCHIVE.c.storage
        with self._database.read() as connection:
            rows = connection.execute(
                select(*columns).where(*_wanted(vmid)).distinct().order_by(*columns)
            )
            return [(row.place, row.node, row.storage) for row in rows]

    @retried
    def get(self, node: str, volid: str) -> Archive | None:
        """Given a node and a volid, return the archive (also one that has gone since), or None if
        none was ever seen.

        On a shared storage every node names the same archive.
        """
        with self._database.read() as connection:
            row = connection.execute(
                select(*LIGHT).where(is_archive(node, volid)).order_by(*THERE)
            ).first()
            said = decisions(connection, row.vmid) if row and row.vmid is not None else []
        return settle([archive_of(row)], said)[0] if row else None

    @repeatable
    def annotate(
        self,
        node: str,
        volid: str,
        *,
        name: str | None = None,
        sha256: str | None = None,
        size: int | None = None,
        config: str | None = None,
        uuid: str | None = None,
        consistency: str | None = None,
        excluded: Collection[str] | None = None,
        operation: str | None = None,
        at: int | None = None,
        anew: bool = False,
    ) -> tuple[str, ...]:
        """Given an archive, remember what was learnt about it (None: nothing new). Raise
        PveNotFound if it was never seen.

        What was recorded of its bytes (``size``, ``sha256``, ``config``) is never overwritten:
        where it differs the archive was changed, stands unproven from ``at`` on (epoch seconds),
        and what differs is returned. ``anew``: it was seen to be made just now, so whatever is
        recorded under its name is of another file.
        """
        given = {"name": name, "consistency": consistency, "operation": operation}
        facts: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if excluded is not None:
            facts["excluded"] = plain(excluded)
        with self._database.write() as connection:
            row = require(connection, node, volid)
            config_of = select(ARCHIVE.c.config).where(ARCHIVE.c.id == row.id)
            recorded = {
                name: getattr(row, name) for name in ("size", "sha256", "uuid", "born", "macs")
            }
            # of a file that was made just now nothing is recorded, so that nothing can differ
            known: dict[str, Any] = {}
            if not anew:
                known = recorded | {"config": connection.execute(config_of).scalar_one()}
            differs, first = _compared(known, size, sha256, config, uuid)
            facts |= (_OF_ANOTHER if anew else {}) | first
            if facts:
                connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(facts))
            if differs:
                mark_changed(connection, row, differs, row.first_seen if at is None else at)
        return differs

    @retried
    def facts(self, node: str, volid: str) -> dict[str, Any]:
        """Given an archive, return what is known beyond its listing ({} if it was never seen).
        Times in epoch seconds.
        """
        with self._database.read() as connection:
            row = connection.execute(
                select(*(ARCHIVE.c[name] for name in _FACTS))
                .where(is_archive(node, volid))
                .order_by(*THERE)
            ).first()
        return dict(row._mapping) if row else {}

    @repeatable
    def raise_rung(self, node: str, volid: str, rung: Rung, at: int) -> None:
        """Given an archive and a rung that it reached, remember it unless it stands higher. Raise
        PveNotFound if never seen.
        """
        with self._database.write() as connection:
            lift(connection, require(connection, node, volid), rung, at)

    @repeatable
    def record_damaged(self, node: str, volid: str, problem: str, at: int) -> None:
        """Given an archive whose bytes were found damaged, and what is wrong with them, let it
        stand unproven, at recorded, until they are read whole again. Raise PveNotFound if unknown.
        """
        with self._database.write() as connection:
            row = require(connection, node, volid)
            withdraw(connection, row, Rung.RECORDED, at)
            # the first reading that found it so dates the damage
            values = {"damaged": problem, "damaged_at": row.damaged_at or at, "checked_at": at}
            connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(values))

    @repeatable
    def record_intact(self, node: str, volid: str, at: int) -> None:
        """Given an archive whose bytes were read whole and found good, by their own checksums or
        by the SHA-256 that was recorded, remember it; its rung is intact at least. Raise
        PveNotFound if unknown.
        """
        whole = {"damaged": None, "damaged_at": None, "checked_at": at}
        with self._database.write() as connection:
            row = require(connection, node, volid)
            connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(whole))
            # read anew: a row that still says damaged is not lifted
            lift(connection, require(connection, node, volid), Rung.INTACT, at)

    @repeatable
    def record_read(self, node: str, volid: str, at: int) -> None:
        """Given an archive whose bytes were read whole, and nothing says whether they are right,
        remember when. Raise PveNotFound if unknown.
        """
        with self._database.write() as connection:
            row = require(connection, node, volid)
            connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(checked_at=at))

    @repeatable
    def mark_gone(self, node: str, volid: str, at: int) -> None:
        """Given an archive that we removed ourselves, remember it, so that nobody misses it. Raise
        PveNotFound if never seen.
        """
        with self._database.write() as connection:
            mark_gone(connection, [require(connection, node, volid)], at)


def _wanted(
    vmid: int | None = None, since: int | None = None, *, gone: bool = False
) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [
        ARCHIVE.c.gone_at.is_not(None) if gone else ARCHIVE.c.gone_at.is_(None)
    ]
    if vmid is not None:
        wanted.append(ARCHIVE.c.vmid == vmid)
    if since is not None:
        wanted.append(ARCHIVE.c.ctime >= since)
    return wanted


def _beside(vmid: int | None, column: ColumnElement[str]) -> ColumnElement[str]:
    """A column that is compared: beside a guest, which has few archives, in a form for which no
    database takes an index.
    """
    return column if vmid is None else func.coalesce(column, "")


def _compared(
    known: Mapping[str, Any],
    size: int | None,
    sha256: str | None,
    config: str | None,
    uuid: str | None,
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Given what is recorded of an archive ({}: nothing) and what was read of it now, return what
    was changed, and what was not recorded before.
    """
    differs: list[str] = []
    if size is not None and "size" in known:
        differs += lineage.resized(known["size"], size)
    if sha256 is not None:
        differs += lineage.rehashed(known.get("sha256"), sha256)
    if config is not None and known.get("config") is not None:
        differs += lineage.changed(lineage.read(known["config"]), lineage.read(config))
    found = lineage.read(config) if config is not None else lineage.Identity()
    values = {
        "sha256": sha256,
        "config": config,
        "uuid": uuid.lower() if uuid else found.uuid,
        "born": found.born,
        "macs": " ".join(found.macs) or None,
    }
    # the first word about the bytes stands: later ones are held against it
    first = {
        key: value for key, value in values.items() if value is not None and known.get(key) is None
    }
    return tuple(differs), first
