"""What a listing of the storages changes in the catalog: archives that are new, that changed and
that are gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from backupsvc.catalog.archive_rows import LIGHT, UNPROVEN, mark_changed, mark_gone
from backupsvc.catalog.inspections import last_inspections, record_inspections
from backupsvc.catalog.rows import archive_of
from backupsvc.catalog.tables import ARCHIVE
from policies import lineage
from policies.model import Archive, Rung

Key = tuple[str, str]  # (place, volid); place is "" on a shared storage

# Seconds that a listing takes at most. What went later than that after it began was written by a
# wrong clock.
MAX_LISTING = 3600
# Guests that are looked up by their VMIDs: the rows of more are found sooner by where they lie
_MAX_VMIDS = 20
_LISTED = ("node", "storage", "ctime", "size", "format", "protected", "shared", "notes")


@dataclass(frozen=True, slots=True)
class Observation:
    """What a listing changed: archives not there before, archives gone since, and how many its
    scope held before.
    """

    new: tuple[Archive, ...]
    gone: tuple[Archive, ...]
    known_before: int


def observe(
    connection: Connection,
    listing: Sequence[Archive],
    scope: Collection[tuple[str, str]],
    at: int,
    looked: Collection[tuple[str, str]],
) -> Observation:
    """Given what ``ArchiveRepository.observe`` was given, write it down and return what changed."""
    # reversed: the first of two listings of one file stays
    listed = {_key(archive): archive for archive in reversed(listing)}
    before = _before(connection, listed, scope)
    # Of one that went while the listing was made the catalog's word is the newer.
    late = {
        key
        for key, row in before.items()
        if row.gone_at is not None and at <= row.gone_at <= at + MAX_LISTING
    }
    listed = {key: archive for key, archive in listed.items() if key not in late}
    new = [key for key in listed if key not in before or before[key].gone_at is not None]
    names = {storage for _, storage in scope}
    within = [
        key
        for key, row in before.items()
        if row.gone_at is None
        # a shared storage was listed where any of its nodes was
        and ((row.node, row.storage) in scope or (row.shared and row.storage in names))
    ]
    gone = [key for key in within if key not in listed]
    # read before they are renewed: what is new came after the last look that did not see it
    looks = last_inspections(connection)
    _insert(connection, [listed[key] for key in new if key not in before], looks, at)
    known = [(before[key], archive) for key, archive in listed.items() if key in before]
    _refresh(connection, known, at)
    mark_gone(connection, [before[key] for key in gone], at)
    record_inspections(connection, looked, looks, at)
    newest = sorted((listed[key] for key in new), key=lambda archive: archive.ctime)
    return Observation(tuple(newest), tuple(archive_of(before[key]) for key in gone), len(within))


def _key(archive: Archive) -> Key:
    return ("" if archive.shared else archive.node, archive.volid)


def _before(
    connection: Connection, listed: Mapping[Key, Archive], scope: Collection[tuple[str, str]]
) -> dict[Key, Row[Any]]:
    """The rows that a listing may change: all of its storages in its places, or only its guests'
    when nothing can have gone.
    """
    vmids = {archive.vmid for archive in listed.values()}
    query = select(*LIGHT)
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
            mark_changed(connection, row, differs, at)
        # another file of the same size under the same name: nothing of it has been proven
        elif row.ctime != archive.ctime:
            connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(UNPROVEN))
