"""Copies of archives at the targets of the policy, and how far those came that are not whole yet.

Only whoever drives the operation that copies may write here: a driver that slept through its lease
must not call bytes verified that another one is writing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, exists, func, insert, or_, select, update

from backupsvc.catalog.database import Database
from backupsvc.catalog.fences import Fence, hold
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.tables import ARCHIVE, CANARY, COPY, REHEARSAL
from policies.copy_decision import Progress
from policies.model import ArchiveCopy, Canary, CopyRoute, DamagedCopy, Rehearsal

_DAMAGE = "damaged", "damaged_at", "damaged_file", "damaged_segments"
# a copy counts once it was read back at its target, and until its removal is begun
_VERIFIED = COPY.c.verified_at.is_not(None), COPY.c.removing_at.is_(None)


class CopyRepository:
    """The catalog's copies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    def progress(self, route: CopyRoute) -> Progress | None:
        """Return how far the copy came that was begun last on a route, None if none was begun, or
        it was verified.
        """
        query = select(COPY).where(*_on(route), COPY.c.verified_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return Progress(
            row.volid,
            row.size,
            row.modified,
            row.file,
            row.sent,
            row.sha256,
            tuple(row.recipients.split()),
            row.segments,
        )

    @retried
    def get(self, route: CopyRoute) -> ArchiveCopy | None:
        """Return the copy on a route that was verified, None if there is none. It may have been
        found damaged since.
        """
        query = select(COPY).where(*_on(route), *_VERIFIED)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return _copy(row) if row else None

    @retried
    def damaged(self, route: CopyRoute) -> DamagedCopy | None:
        """Return the damaged copy on a route, None if none was found so: also while another one is
        on its way in its stead.
        """
        query = select(COPY).where(*_on(route), COPY.c.damaged.is_not(None))
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return DamagedCopy(row.damaged_file, row.damaged_segments, row.damaged) if row else None

    @retried
    def find(
        self,
        vmid: int | None = None,
        *,
        archives: bool = True,
        folder: str | None = None,
        damaged: bool = False,
    ) -> list[ArchiveCopy]:
        """Return the copies that were verified, of one guest's archives or of all, in one target's
        folder or in all, by VMID, volid and target: without those that PVE listed once, and that are
        gone. Without ``archives`` only those that PVE never listed: of the others its listings tell.
        Those that were found damaged since are copies no more: only with ``damaged`` are they there.
        """
        # what PVE lists at a target is there for as long as its listings say so
        lists = exists().where(
            ARCHIVE.c.place.in_((COPY.c.site, "")),  # "": the storage is shared
            ARCHIVE.c.volid == COPY.c.listed,
            ARCHIVE.c.gone_at.is_(None),
        )
        unlisted = COPY.c.listed.is_(None)
        there = or_(unlisted, lists) if archives else unlisted
        query = select(COPY).where(*_VERIFIED, there)
        if not damaged:
            query = query.where(COPY.c.damaged.is_(None))
        if vmid is not None:
            query = query.where(COPY.c.vmid == vmid)
        if folder is not None:
            query = query.where(COPY.c.folder == folder)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(COPY.c.vmid, COPY.c.volid, COPY.c.target))
            return [_copy(row) for row in rows]

    @repeatable
    def record_progress(self, route: CopyRoute, progress: Progress, at: int, fence: Fence) -> None:
        """Write down how far a copy came at ``at`` (epoch seconds). What was verified on that route
        before is no copy any more; what was found damaged stays known as that.
        """
        values = {
            "file": progress.file,
            "size": progress.size,
            "modified": progress.modified,
            "sent": progress.sent,
            "sha256": progress.sha256,
            "at": at,
            "operation": fence[0],
            "recipients": " ".join(progress.recipients),
            "segments": progress.segments,
        }
        self._replace(route, values, fence, _DAMAGE)

    @repeatable
    def record_verified(self, copy: ArchiveCopy, modified: int, fence: Fence) -> None:
        """Write down that a copy is there. ``modified`` is the archive's time, in epoch seconds."""
        values = {
            "file": copy.file,
            "size": copy.size,
            "modified": modified,
            "sent": copy.size,
            "sha256": copy.sha256,
            "at": copy.verified_at,
            "operation": copy.operation,
            "verified_at": copy.verified_at,
            "how": copy.how,
            "recipients": " ".join(copy.recipients),
            "segments": copy.segments,
            "rung": copy.rung,
        }
        self._replace(copy.route, values, fence)

    @repeatable
    def record_listed(
        self, route: CopyRoute, volid: str, place: str, at: int, how: str, fence: Fence
    ) -> None:
        """Write down that a copy which is there in full is verified (``at`` in epoch seconds, and
        how it was read back), under which volid PVE lists it, and what would be lost together with
        it: its node, or the shared storage that it turned out to lie on.
        """
        values = {"listed": volid, "site": place, "verified_at": at, "how": how}
        values |= {"operation": fence[0], "at": at}
        with self._database.write() as connection:
            hold(connection, fence)
            connection.execute(update(COPY).where(*_on(route)).values(values))

    @repeatable
    def record_checked(self, copy: ArchiveCopy, at: int, damaged: str, fence: Fence) -> None:
        """Write down that a copy was read anew at its target from ``at`` (epoch seconds) on, and
        what is wrong with it, "" if it is as it was verified. One that was replaced, or whose
        removal was begun, since it was looked up is left alone.
        """
        same = COPY.c.file == copy.file, COPY.c.verified_at == copy.verified_at
        # found good, it is a copy again: whatever was wrong with it is over
        values: dict[str, Any] = {"checked_at": at} | dict.fromkeys(_DAMAGE)
        if damaged:
            values |= {
                "damaged": damaged,
                "damaged_at": at,
                "damaged_file": copy.file,
                "damaged_segments": copy.segments,
            }
        with self._database.write() as connection:
            hold(connection, fence)
            connection.execute(
                update(COPY).where(*_on(copy.route), *_VERIFIED, *same).values(values)
            )

    @repeatable
    def forget(self, route: CopyRoute, fence: Fence) -> None:
        """Remove what is known of a copy: it was looked for at its target, and is not there."""
        with self._database.write() as connection:
            hold(connection, fence)
            connection.execute(delete(COPY).where(*_on(route)))

    @repeatable
    def forget_lost(self, copies: Iterable[ArchiveCopy]) -> None:
        """Forget copies that somebody knows to be lost; one that was verified anew since it was
        looked up stays.
        """
        with self._database.write() as connection:
            for copy in copies:
                same = COPY.c.verified_at == copy.verified_at, COPY.c.file == copy.file
                connection.execute(delete(COPY).where(*_on(copy.route), *same))

    @retried
    def being_removed(self, folder: str) -> list[ArchiveCopy]:
        """Return the copies in a target's folder whose removal was begun and not ended."""
        query = select(COPY).where(COPY.c.folder == folder, COPY.c.removing_at.is_not(None))
        with self._database.read() as connection:
            return [_copy(row) for row in connection.execute(query.order_by(COPY.c.file))]

    @repeatable
    def begin_removal(self, copy: ArchiveCopy, at: int, fence: Fence) -> None:
        """Write down, at ``at`` (epoch seconds), that a copy is about to be removed from its target:
        from now on it counts as none, by whichever route it came.
        """
        with self._database.write() as connection:
            hold(connection, fence)
            connection.execute(
                update(COPY).where(*_is_file(copy), *_VERIFIED).values(removing_at=at)
            )

    @repeatable
    def record_removed(self, copy: ArchiveCopy, fence: Fence) -> None:
        """Forget a copy whose removal was begun: nothing of it is left at its target."""
        with self._database.write() as connection:
            hold(connection, fence)
            connection.execute(delete(COPY).where(*_is_file(copy), COPY.c.removing_at.is_not(None)))

    @retried
    def record_canary(self, canary: Canary) -> None:
        """Write down what was tried at an immutable target."""
        with self._database.write() as connection:
            # only inserted, as every evidence (law 6)
            connection.execute(insert(CANARY).values(asdict(canary)))

    @retried
    def canaries(self) -> list[Canary]:
        """Return what was tried last at each folder, by target."""
        last = select(func.max(CANARY.c.number)).group_by(CANARY.c.folder)
        query = select(CANARY).where(CANARY.c.number.in_(last)).order_by(CANARY.c.target)
        with self._database.read() as connection:
            return [
                Canary(row.target, row.folder, row.at, row.overwritten, row.deleted, row.said)
                for row in connection.execute(query)
            ]

    @retried
    def record_rehearsal(self, rehearsal: Rehearsal) -> None:
        """Write down that a person's key opened an encrypted copy."""
        with self._database.write() as connection:
            connection.execute(insert(REHEARSAL).values(asdict(rehearsal)))

    @retried
    def rehearsals(self) -> list[Rehearsal]:
        """Return the last rehearsal of each key at each folder, by target and time."""
        last = select(func.max(REHEARSAL.c.number)).group_by(REHEARSAL.c.folder, REHEARSAL.c.key)
        query = select(REHEARSAL).where(REHEARSAL.c.number.in_(last))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(REHEARSAL.c.target, REHEARSAL.c.at))
            return [
                Rehearsal(
                    row.target,
                    row.folder,
                    row.at,
                    row.vmid,
                    row.volid,
                    row.file,
                    row.size,
                    row.sha256,
                    row.key,
                    row.seconds,
                )
                for row in rows
            ]

    def _replace(
        self, route: CopyRoute, values: dict[str, Any], fence: Fence, kept: Iterable[str] = ()
    ) -> None:
        about = {
            "folder": route.folder,
            "place": route.node,
            "volid": route.volid,
            "target": route.target,
            "site": route.place,
            "vmid": route.vmid,
        }
        with self._database.write() as connection:
            hold(connection, fence)
            known = connection.execute(select(COPY).where(*_on(route))).mappings().first()
            values = values | {name: known[name] for name in kept if known}
            # A route has one row: while the file at the target is written anew, what was verified
            # there is a copy no more.
            connection.execute(delete(COPY).where(*_on(route)))
            connection.execute(insert(COPY).values(about | values))


def _on(route: CopyRoute) -> tuple[Any, ...]:
    return (
        COPY.c.folder == route.folder,
        COPY.c.place == route.node,
        COPY.c.volid == route.volid,
    )


def _is_file(copy: ArchiveCopy) -> tuple[Any, ...]:
    return COPY.c.folder == copy.route.folder, COPY.c.file == copy.file


def _copy(row: Any) -> ArchiveCopy:
    route = CopyRoute(row.target, row.folder, row.site, row.place, row.volid, row.vmid)
    return ArchiveCopy(
        route,
        row.file,
        row.size,
        row.sha256,
        row.verified_at,
        row.how,
        row.operation,
        tuple(row.recipients.split()),
        row.segments,
        row.rung,
        row.checked_at,
        row.damaged or "",
    )
