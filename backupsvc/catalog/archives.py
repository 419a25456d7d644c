"""What the catalog knows of archives: what the storages listed, what was learnt about each, and how
far each is proven.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    case,
    func,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog.database import Database
from backupsvc.catalog.inspections import last_inspections, record_inspections
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.rows import ARCHIVE_COLUMNS, archive_from, archive_of, plain
from backupsvc.catalog.tables import ARCHIVE
from backupsvc.errors import PveNotFound
from policies import lineage, whole
from policies.model import Archive, GuestType, Rung
from policies.pve import guest_config

Key = tuple[str, str]  # (place, volid); place is "" on a shared storage

MAX_LISTING = 3600  # seconds
# guests that are looked up by their VMIDs: the rows of more are found sooner by where they lie
_MAX_VMIDS = 20
_LISTED = ("node", "storage", "ctime", "size", "format", "protected", "shared", "notes")
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
_UNPROVEN: dict[str, Any] = {"rung": Rung.RECORDED.value, "rung_at": None, "proven_at": None}
_OF_ANOTHER = _UNPROVEN | dict.fromkeys(
    (
        "sha256",
        "config",
        "uuid",
        "born",
        "changed",
        "changed_at",
        "damaged",
        "damaged_at",
        "checked_at",
    )
)
# decided in the database, so that a listing needs no configs; only those of small archives are
# looked at
_HOLDS_DISK = case(
    (ARCHIVE.c.type != GuestType.QEMU.value, null()),
    (ARCHIVE.c.size > whole.MAX_DISKLESS_BYTES, 1),
    (ARCHIVE.c.config.is_(None), null()),
    (ARCHIVE.c.config.contains(guest_config.DUMPED, autoescape=True), 1),
    else_=0,
).label("holds_disk")
# of a storage that was made shared, or is no more: what is there
_THERE = (ARCHIVE.c.gone_at.is_not(None), ARCHIVE.c.place)
_LIGHT = (
    *(column for column in ARCHIVE.c if column.name not in ("config", "excluded")),
    _HOLDS_DISK,
)
# by position: faster
_in_order = itemgetter(
    *([column.name for column in _LIGHT].index(name) for name in ARCHIVE_COLUMNS)
)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a listing changed: archives not there before, archives gone since, and how many its
    scope held before.
    """

    new: tuple[Archive, ...]
    gone: tuple[Archive, ...]
    known_before: int


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
            return self._observe(listing, scope, at, looked)
        except IntegrityError:
            # PostgreSQL: another process remembered the same new archive in this very moment
            return self._observe(listing, scope, at, looked)

    def _observe(
        self,
        listing: Sequence[Archive],
        scope: Collection[tuple[str, str]],
        at: int,
        looked: Collection[tuple[str, str]],
    ) -> Observation:
        listed = {
            _key(archive): archive for archive in reversed(listing)
        }  # reversed: the first of two listings of one file stays
        with self._database.write() as connection:
            before = _before(connection, listed, scope)
            listed = {
                key: archive
                for key, archive in listed.items()
                if key not in before or not _went_since(before[key], at)
            }
            new = [key for key in listed if key not in before or before[key].gone_at is not None]
            within = [
                key for key, row in before.items() if row.gone_at is None and _in_scope(row, scope)
            ]
            gone = [key for key in within if key not in listed]
            looks = last_inspections(connection)
            _insert(connection, [listed[key] for key in new if key not in before], looks, at)
            _refresh(
                connection,
                [(before[key], archive) for key, archive in listed.items() if key in before],
                at,
            )
            _mark_gone(connection, [before[key] for key in gone], at)
            record_inspections(connection, looked, looks, at)
        newest = sorted((listed[key] for key in new), key=lambda archive: archive.ctime)
        return Observation(
            tuple(newest), tuple(archive_of(before[key]) for key in gone), len(within)
        )

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
            select(*_LIGHT)
            .where(*wanted)
            .order_by(ARCHIVE.c.ctime.desc(), ARCHIVE.c.volid)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [archive_from(_in_order(row)) for row in connection.execute(query)]

    @retried
    def count(self, *, vmid: int | None = None, since: int | None = None) -> int:
        """Return how many archives ``find`` would return."""
        with self._database.read() as connection:
            return int(
                connection.execute(select(func.count()).where(*_wanted(vmid, since))).scalar_one()
            )

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
                select(*_LIGHT).where(_is(node, volid)).order_by(*_THERE)
            ).first()
        return archive_of(row) if row else None

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
            row = _locate(connection, node, volid)
            known = {} if anew else _recorded(connection, row)
            differs = _differences(known, size, sha256, config)
            facts |= (_OF_ANOTHER if anew else {}) | _first(known, sha256, config, uuid)
            if facts:
                connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(facts))
            if differs:
                _mark_changed(connection, row, differs, row.first_seen if at is None else at)
        return differs

    @retried
    def facts(self, node: str, volid: str) -> dict[str, Any]:
        """Given an archive, return what is known beyond its listing ({} if it was never seen).
        Times in epoch seconds.
        """
        with self._database.read() as connection:
            row = connection.execute(
                select(*(ARCHIVE.c[name] for name in _FACTS))
                .where(_is(node, volid))
                .order_by(*_THERE)
            ).first()
        return dict(row._mapping) if row else {}

    @repeatable
    def raise_rung(self, node: str, volid: str, rung: Rung, at: int) -> None:
        """Given an archive and a rung that it reached, remember it unless it stands higher. Raise
        PveNotFound if never seen.
        """
        with self._database.write() as connection:
            lift(connection, _locate(connection, node, volid), rung, at)

    @repeatable
    def record_damaged(self, node: str, volid: str, problem: str, at: int) -> None:
        """Given an archive whose bytes were found damaged, and what is wrong with them, let it
        stand unproven, at recorded, until they are read whole again. Raise PveNotFound if unknown.
        """
        with self._database.write() as connection:
            row = _locate(connection, node, volid)
            withdraw(connection, row, Rung.RECORDED, at)
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
            row = _locate(connection, node, volid)
            connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(whole))
            lift(connection, _locate(connection, node, volid), Rung.INTACT, at)

    @repeatable
    def record_read(self, node: str, volid: str, at: int) -> None:
        """Given an archive whose bytes were read whole, and nothing says whether they are right,
        remember when. Raise PveNotFound if unknown.
        """
        with self._database.write() as connection:
            row = _locate(connection, node, volid)
            connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(checked_at=at))

    @repeatable
    def mark_gone(self, node: str, volid: str, at: int) -> None:
        """Given an archive that we removed ourselves, remember it, so that nobody misses it. Raise
        PveNotFound if never seen.
        """
        with self._database.write() as connection:
            _mark_gone(connection, [_locate(connection, node, volid)], at)


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


def lift(
    connection: Connection, row: Row[Any], rung: Rung, at: int, *, proven: bool = False
) -> None:
    """Given a row of the table archive, raise its rung if ``rung`` is higher and, if ``proven``,
    its date of proof to ``at``.

    One that was changed since it was recorded is proven no more, whatever came of it; nor is one
    that is damaged, until its bytes are read whole again.
    """
    if row.changed or row.damaged:
        return
    values: dict[str, Any] = {}
    if rung.height > Rung(row.rung).height:
        values |= {"rung": rung.value, "rung_at": at}
    if proven:
        values["proven_at"] = max(at, row.proven_at or 0)
    if values:
        connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(values))


def withdraw(connection: Connection, row: Row[Any], rung: Rung, at: int) -> None:
    """Given a row of the table archive whose newest restore test failed, let it stand no higher
    than ``rung``, and unproven.
    """
    values = {"rung": rung.value, "rung_at": at, "proven_at": None}
    connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(values))


def find(connection: Connection, node: str, volid: str) -> Row[Any] | None:
    """Given an archive's node and volid, return its row, locked until the transaction ends, or
    None.
    """
    return connection.execute(
        select(*_LIGHT).where(_is(node, volid)).order_by(*_THERE).with_for_update()
    ).first()


def _locate(connection: Connection, node: str, volid: str) -> Row[Any]:
    if row := find(connection, node, volid):
        return row
    raise PveNotFound(
        f"archive {volid} on {node} is not in the catalog", "run `backupsvc catalog sync`"
    )


def _is(node: str, volid: str) -> ColumnElement[bool]:
    return (ARCHIVE.c.volid == volid) & ARCHIVE.c.place.in_((node, ""))


def _key(archive: Archive) -> Key:
    return ("" if archive.shared else archive.node, archive.volid)


def _went_since(row: Row[Any], at: int) -> bool:
    """Whether an archive went since a listing began that still has it. What lies further ahead was
    written by a wrong clock.
    """
    return row.gone_at is not None and at <= row.gone_at <= at + MAX_LISTING


def _in_scope(row: Row[Any], scope: Collection[tuple[str, str]]) -> bool:
    return (row.node, row.storage) in scope or (
        row.shared and any(storage == row.storage for _, storage in scope)
    )


def _before(
    connection: Connection, listed: Mapping[Key, Archive], scope: Collection[tuple[str, str]]
) -> dict[Key, Row[Any]]:
    """The rows that a listing may change: all of its storages in its places, or only its guests'
    when nothing can have gone.
    """
    vmids = {archive.vmid for archive in listed.values()}
    query = select(*_LIGHT)
    if not scope and None not in vmids and len(vmids) <= _MAX_VMIDS:
        # and by nothing else: beside a storage, SQLite takes that for the index
        query = query.where(ARCHIVE.c.vmid.in_(vmids))
    else:
        storages = {archive.storage for archive in listed.values()} | {
            storage for _, storage in scope
        }
        places = {place for place, _ in listed} | {node for node, _ in scope} | {""}
        query = query.where(ARCHIVE.c.storage.in_(storages), ARCHIVE.c.place.in_(places))
    return {(row.place, row.volid): row for row in connection.execute(query)}


def _insert(
    connection: Connection, archives: Sequence[Archive], looks: Mapping[Key, int | None], at: int
) -> None:
    rows = [
        {name: getattr(archive, name) for name in _LISTED}
        | {
            "place": _key(archive)[0],
            "volid": archive.volid,
            "vmid": archive.vmid,
            "type": archive.type and archive.type.value,
        }
        | {
            "first_seen": at,
            "name": archive.name,
            "operation": archive.operation,
            "rung": Rung.RECORDED.value,
        }
        | {"not_before": looks.get((_key(archive)[0], archive.storage))}
        for archive in archives
    ]
    if rows:
        connection.execute(insert(ARCHIVE), rows)


def _refresh(connection: Connection, pairs: Sequence[tuple[Row[Any], Archive]], at: int) -> None:
    """Write only what differs: a nightly listing of a hundred thousand archives changes a few dozen
    rows.
    """
    changed = [
        (row, archive)
        for row, archive in pairs
        if row.gone_at is not None
        or any(getattr(row, name) != getattr(archive, name) for name in _LISTED)
    ]
    if changed:
        statement = update(ARCHIVE).where(ARCHIVE.c.id == bindparam("row")).values(gone_at=None)
        statement = statement.values({name: bindparam(f"new_{name}") for name in _LISTED})
        new = [
            {"row": row.id} | {f"new_{name}": getattr(archive, name) for name in _LISTED}
            for row, archive in changed
        ]
        connection.execute(statement, new)
    for row, archive in changed:
        if differs := lineage.resized(row.size, archive.size):
            _mark_changed(connection, row, differs, at)
        elif row.ctime != archive.ctime:
            connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(_UNPROVEN))


def _mark_changed(connection: Connection, row: Row[Any], differs: Sequence[str], at: int) -> None:
    """Let an archive stand changed from now on, and unproven; what was recorded of it stays. The
    first change dates it.
    """
    said = [text for text in differs if text not in (row.changed or "")]
    text = "; ".join(filter(None, [row.changed, *said]))
    values = _UNPROVEN | {"rung_at": at, "changed": text, "changed_at": row.changed_at or at}
    connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(values))


def _recorded(connection: Connection, row: Row[Any]) -> dict[str, Any]:
    found = connection.execute(select(ARCHIVE.c.config).where(ARCHIVE.c.id == row.id)).scalar_one()
    return {
        "size": row.size,
        "sha256": row.sha256,
        "config": found,
        "uuid": row.uuid,
        "born": row.born,
    }


def _differences(
    known: Mapping[str, Any], size: int | None, sha256: str | None, config: str | None
) -> tuple[str, ...]:
    """Given what is recorded of an archive ({}: nothing) and what was read of it now, return what
    was changed.
    """
    differs: list[str] = []
    if size is not None and "size" in known:
        differs += lineage.resized(known["size"], size)
    if sha256 is not None:
        differs += lineage.rehashed(known.get("sha256"), sha256)
    if config is not None and known.get("config") is not None:
        differs += lineage.changed(lineage.read(known["config"]), lineage.read(config))
    return tuple(differs)


def _first(
    known: Mapping[str, Any], sha256: str | None, config: str | None, uuid: str | None
) -> dict[str, Any]:
    """What of that was not recorded before."""
    found = lineage.read(config) if config is not None else lineage.Identity()
    values = {
        "sha256": sha256,
        "config": config,
        "uuid": uuid.lower() if uuid else found.uuid,
        "born": found.born,
    }
    return {
        key: value for key, value in values.items() if value is not None and known.get(key) is None
    }


def _mark_gone(connection: Connection, rows: Sequence[Row[Any]], at: int) -> None:
    if rows:
        statement = update(ARCHIVE).where(ARCHIVE.c.id == bindparam("row")).values(gone_at=at)
        connection.execute(statement, [{"row": row.id} for row in rows])
