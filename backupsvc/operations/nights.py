"""The calendar of nights: what was due, and what the catalog knows to have come of it
(``policies.gaps``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.operations.backup.memory import recall
from backupsvc.operations.backup.result import backup_outcome
from backupsvc.services import Records
from policies import gaps
from policies.gaps import Backup, Due, GuestNights
from policies.model import Operation, OperationState
from policies.pve.calendar_event import parse

# seconds: an occurrence of the first date may have begun so long before its archive
_BEFORE = 2 * 86400


def look(
    service: Records, dates: Sequence[date], vmid: int | None = None
) -> tuple[GuestNights, ...]:
    """Given local dates (oldest first), return each guest's nights, or one guest's, by the catalog
    alone.

    A job that names no guests was to back up all that the catalog knows archives or backups of.
    """
    policy, catalog = service.policy, service.catalog
    zone = ZoneInfo(policy.timezone)
    begin, end = _epoch(dates[0], zone), _epoch(dates[-1] + timedelta(days=1), zone)
    found = [*catalog.archives.find(vmid=vmid), *catalog.archives.find(vmid=vmid, gone=True)]
    archives = [one for one in found if one.vmid is not None and one.vmid not in policy.scratch]
    known = catalog.operations.find(kind="backup", subject=vmid, since=begin - _BEFORE)
    backups = [
        _backup(one)
        for one in known
        if one.state is not OperationState.OPEN and one.subject is not None
    ]
    everybody = {one.vmid for one in archives if one.vmid is not None} | {
        one.vmid for one in backups
    }
    running = {one.subject: _night_of(one) for one in known if one.state is OperationState.OPEN}
    dues: list[Due] = []
    over = min(end, int(service.clock.now()))
    for job in policy.jobs:
        named = set(job.guests) if job.guests is not None else everybody
        guests = [one for one in sorted(named - set(job.exclude)) if vmid in (None, one)]
        schedule = parse(job.schedule, policy.timezone)
        at = schedule.next_after(begin - 1)
        while at is not None and at < over:
            # an occurrence lasts until the next one
            following = schedule.next_after(at)
            until = over if following is None else following
            dues += [Due(one, at, until, running=running.get(one, -1) >= at) for one in guests]
            at = following
    return gaps.calendar(dates, policy.timezone, dues, backups, archives, policy.max_clock_drift)


def last(service: Records, days: int) -> list[date]:
    """Return the last so many local dates, oldest first, today being the last."""
    today = datetime.fromtimestamp(service.clock.now(), ZoneInfo(service.policy.timezone)).date()
    return [today - timedelta(days=back) for back in range(days - 1, -1, -1)]


def _backup(operation: Operation) -> Backup:
    vmid, at = operation.subject or 0, _night_of(operation)
    try:
        made, status = recall(operation).archive, backup_outcome(operation)["status"]
    except MemoryUnreadable:  # which archive it made is not known; how it ended stands beside it
        return Backup(vmid, at, operation.state is OperationState.DONE)
    return Backup(vmid, at, status != "failed", status == "warnings", made.volid if made else None)


def _night_of(operation: Operation) -> int:
    """When a backup was due; one that a person asked for, and one whose memory another version
    wrote, was due when it was opened.
    """
    try:
        return recall(operation).at or operation.created
    except MemoryUnreadable:
        return operation.created


def _epoch(day: date, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, time(), zone).timestamp())
