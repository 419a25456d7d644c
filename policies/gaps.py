"""Which nights left each guest an archive: a calendar of nights and guests, so that a hole in it is
seen before it is needed.

A night belongs to the local date of a job's occurrence. What was archived stays archived here
though retention has removed it
since: the question is whether the night did its work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo

from policies.model import Archive

UNREAD = "unread"  # the lineage of archives in which nobody has read yet which machine they hold


class _OfGuest(Protocol):
    @property
    def vmid(self) -> int | None: ...


T = TypeVar("T", bound=_OfGuest)


class NightState(StrEnum):
    """What a night was for a guest. WARNED: it is archived, and somebody should look at how;
    NOT_DUE: no job covered it then.
    """

    ARCHIVED = "archived"
    WARNED = "warned"
    FAILED = "failed"
    MISSED = "missed"
    NOT_DUE = "not-due"


@dataclass(frozen=True, slots=True)
class Due:
    """A job's occurrence at which a guest was to be backed up: from ``at`` until the job's next one
    (epoch seconds).

    ``running``: its backup has not ended, so nobody can say yet what came of it.
    """

    vmid: int
    at: int
    until: int
    running: bool = False


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup of this service that has ended, of the night of ``at`` (epoch seconds), with the
    archive that it made, if any.
    """

    vmid: int
    at: int
    good: bool
    warned: bool = False
    volid: str | None = None


@dataclass(frozen=True, slots=True)
class Night:
    """One night of a guest. ``volid`` is the archive that it left, if it is known."""

    date: date
    state: NightState
    volid: str | None = None


@dataclass(frozen=True, slots=True)
class GuestNights:
    """The nights of one machine, oldest first: a VMID that was used again has two of these, told
    apart by SMBIOS UUID.
    """

    vmid: int
    lineage: str
    nights: tuple[Night, ...]


def calendar(
    dates: Sequence[date],
    timezone: str,
    dues: Iterable[Due],
    backups: Iterable[Backup],
    archives: Iterable[Archive],
    drift: int = 0,
) -> tuple[GuestNights, ...]:
    """Given local dates (oldest first), what was due on them, and all that came of it, return each
    guest's nights by VMID.

    ``archives`` are those that the catalog knows, also those that are gone; ``drift`` is how far a
    node's clock may be behind, in seconds, so that its archive seems to be older than the
    occurrence that made it.
    """
    zone = ZoneInfo(timezone)
    due, ended, made = _by_vmid(dues), _by_vmid(backups), _by_vmid(archives)
    found = []
    for vmid in sorted({*due, *made}):
        chains = _chains(made.get(vmid, []))
        days = sorted(
            (_day(one.ctime, zone), one.ctime, lineage)
            for lineage, chain in chains.items()
            for one in chain
        )
        whose: dict[date, set[str]] = {}
        for day in dates:
            whose[day] = {lineage for one, _, lineage in days if one == day}
            if not whose[day]:
                # a day without an archive is a gap of the machine that left one last before it, and
                # before all archives of the first one
                before = [lineage for one, _, lineage in days if one < day]
                whose[day] = set(before[-1:]) or {lineage for _, _, lineage in days[:1]}
        for lineage, chain in chains.items():
            nights = [
                _night(day, due.get(vmid, []), ended.get(vmid, []), chain, zone, drift)
                if lineage in whose[day]
                else Night(day, NightState.NOT_DUE)
                for day in dates
            ]
            found.append(GuestNights(vmid, lineage, tuple(nights)))
        if not chains:
            nights = [_night(day, due[vmid], ended.get(vmid, []), [], zone, drift) for day in dates]
            found.append(GuestNights(vmid, UNREAD, tuple(nights)))
    return tuple(found)


def _by_vmid(items: Iterable[T]) -> dict[int, list[T]]:
    found: dict[int, list[T]] = {}
    for item in items:
        if item.vmid is not None:
            found.setdefault(item.vmid, []).append(item)
    return found


def _chains(archives: Iterable[Archive]) -> dict[str, list[Archive]]:
    """The archives of each machine, oldest first; those that nobody has read go with the machine of
    the last one before them.
    """
    chains: dict[str, list[Archive]] = {}
    lineage = UNREAD
    for archive in sorted(archives, key=lambda one: (one.ctime, one.volid)):
        lineage = archive.uuid or lineage
        if lineage != UNREAD and UNREAD in chains:
            chains = {lineage: chains.pop(UNREAD), **chains}
        chains.setdefault(lineage, []).append(archive)
    return chains


def _night(
    day: date,
    dues: Sequence[Due],
    backups: Sequence[Backup],
    archives: Sequence[Archive],
    zone: ZoneInfo,
    drift: int,
) -> Night:
    today = [due for due in dues if _day(due.at, zone) == day]
    spans = [(due.at, due.until) for due in today]
    ours = [one for one in backups if any(at <= one.at < until for at, until in spans)]
    # what was broken off is listed too, with nothing in it
    whole = [one for one in archives if one.size > 0]
    there = [one for one in whole if any(at - drift <= one.ctime < until for at, until in spans)]
    if not spans:
        there = [one for one in whole if _day(one.ctime, zone) == day]
    named = [one.volid for one in ours if one.volid] + [one.volid for one in there]
    if there or any(one.good for one in ours):
        doubtful = any(one.warned or not one.good for one in ours[-1:])
        doubtful |= any(one.unfit or one.holds_disk is False for one in there[-1:])
        return Night(
            day,
            NightState.WARNED if doubtful else NightState.ARCHIVED,
            named[-1] if named else None,
        )
    if ours:
        return Night(day, NightState.FAILED, named[-1] if named else None)
    over = any(not due.running for due in today)
    return Night(day, NightState.MISSED if over else NightState.NOT_DUE)


def _day(epoch: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(epoch, zone).date()
