"""Read PVE's calendar events in a site's time zone, right on both days of the year on which clocks
change.

PVE's grammar (pve-facts 4.2): ``[WEEKDAY] [[YEAR-]MONTH-DAY] [HOUR:MINUTE[:SECOND]]`` with lists
``,``, ranges ``..``, repeats ``start/step`` and ``*``; a lone number means minutes. oncalendar
reads nearly all of it; the rest is rewritten first.

On the days when the clock changes
- an event at set hours happens once a day: in autumn, when 02:30 comes twice, at the first one; in
  spring, when there is no
  02:30, at 03:30 by the new clock, as mktime reads it: a night without a backup would be worse than
  an odd hour;
- an event of every hour (``*/30``, ``hourly``) follows elapsed time: no gap in autumn, no double in
  spring.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from oncalendar import BaseIterator, OnCalendarError

from policies.model import PolicyError

MAX_LENGTH = 128  # characters, PVE's own limit of a schedule (pve-facts 4.2)
ALLOWED = (
    "allowed: [WEEKDAY] [[YEAR-]MONTH-DAY] [HOUR:MINUTE[:SECOND]] with lists `,`, ranges `..` and "
    "repeats `start/step`, such as `21:00`, `mon..fri 22:30`, `sat *-*-1..7 15:00`, `*:0/30`, "
    "`hourly`, `daily`"
)
_DAILY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_MINUTES = re.compile(r"[0-9*][0-9*,./]*")
_EVERY_HOUR = frozenset(range(24))
# no clock in use skips more in spring; only candidates are looked at twice for it
_MAX_GAP = timedelta(hours=3)


def zone(name: str) -> ZoneInfo:
    """Given a time zone's name, return it. Raise PolicyError if this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # OSError: a directory of zones, such as "Europe"
        allowed = "allowed: a name of the tz database, such as Europe/Paris or UTC"
        raise PolicyError(f"{name!r} is not a known time zone; {allowed}") from None


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar event in a time zone. ``spec`` is as the user wrote it, ``expression`` as
    oncalendar reads it.
    """

    spec: str
    expression: str
    zone: ZoneInfo

    def next_after(self, epoch: int) -> int | None:
        """Given a time in epoch seconds, return the first occurrence strictly after it, or None if
        there is none before 2200.
        """
        iterator = BaseIterator(self.expression, datetime(2000, 1, 1))
        if iterator.hours == _EVERY_HOUR:
            return self._next_elapsed(iterator, epoch)
        # at set hours: once for each local time, even when that is absent or comes twice
        iterator.dt = datetime.fromtimestamp(epoch, self.zone).replace(tzinfo=None) - _MAX_GAP
        best: int | None = None
        for local in iterator:
            moment = local.replace(tzinfo=self.zone)
            found = int(moment.timestamp())
            if found > epoch:
                best = found if best is None else min(best, found)
                if moment.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) == local:
                    # a local time that exists: whatever comes later in local time comes later in
                    # truth
                    return best
        return best

    def _next_elapsed(self, iterator: BaseIterator, after: int) -> int | None:
        """The next occurrence of an event of every hour: local time by the offset in force, which
        changes when the clock does.
        """
        offset = self._offset(after)
        while True:
            iterator.dt = datetime.fromtimestamp(after, timezone(offset)).replace(tzinfo=None)
            local = next(iterator, None)
            if local is None:
                return None
            found = int(local.replace(tzinfo=timezone(offset)).timestamp())
            if self._offset(found) == offset:
                return found
            change = self._change(after, found, offset)
            after, offset = change - 1, self._offset(change)

    def _offset(self, epoch: int) -> timedelta:
        return datetime.fromtimestamp(epoch, self.zone).utcoffset() or timedelta()

    def _change(self, before: int, after: int, offset: timedelta) -> int:
        """Given a time up to which ``offset`` holds and one at which it does not, return the first
        second without it.
        """
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if self._offset(middle) == offset else (before, middle)
        return after


@lru_cache(256)  # each tick asks for the jobs' schedules again and again
def parse(spec: str, tz: str) -> Calendar:
    """Given a PVE calendar event and a time zone's name, return the Calendar. Raise PolicyError if
    either is wrong.
    """
    if len(spec) > MAX_LENGTH:
        raise PolicyError(
            f"the schedule is {len(spec)} characters long; allowed: at most {MAX_LENGTH}"
        )
    # oncalendar's form: */5 and 30 are minutes, */n starts at the field's first value
    parts = spec.lower().replace("semi-annually", "semiannually").split()
    if parts and _MINUTES.fullmatch(parts[-1]):
        parts[-1] = f"*:{parts[-1]}"
    written = []
    for part in parts:
        # a field's first value is 0 in a time and 1 in a date; a repeat of years has none, so it
        # stays and is refused
        if ":" in part:
            written.append(":".join(re.sub(r"^\*/", "0/", field) for field in part.split(":")))
        else:
            fields = part.split("-")
            years = fields[:-2] if len(fields) == 3 else []
            rest = [re.sub(r"^\*/", "1/", field) for field in fields[len(years) :]]
            written.append("-".join(years + rest))
    calendar = Calendar(spec, " ".join(written), zone(tz))
    try:
        first = calendar.next_after(0)
    except OnCalendarError as error:
        raise PolicyError(
            f"the schedule {spec!r} is not a calendar event ({error}); {ALLOWED}"
        ) from None
    if first is None:
        raise PolicyError(f"the schedule {spec!r} never happens; {ALLOWED}")
    return calendar


def occurrences(spec: str, tz: str, after: int, until: int) -> list[int]:
    """Given an event, return its occurrences in (after, until], in epoch seconds, ascending. Raise
    PolicyError as parse does.
    """
    calendar = parse(spec, tz)
    found: list[int] = []
    moment = calendar.next_after(after)
    while moment is not None and moment <= until:
        found.append(moment)
        moment = calendar.next_after(moment)
    return found


def time_of_day(spec: str) -> tuple[int, int] | None:
    """Given a calendar event, return its hour and minute if it is a plain time of day (as a crontab
    has it), else None.
    """
    found = _DAILY.fullmatch(spec.strip())
    return (int(found[1]), int(found[2])) if found else None


def clock_changes(tz: str, after: int, until: int) -> list[tuple[int, int]]:
    """Given a time zone, return when its clocks change in (after, until], and by how many seconds
    they go forward.

    Times are epoch seconds; the clocks go back where the seconds are negative.
    """
    calendar, found, start = Calendar("", "", zone(tz)), [], after
    while start < until:
        end = min(until, start + 86400)
        before, behind = calendar._offset(start), calendar._offset(end)
        if before != behind:
            found.append(
                (calendar._change(start, end, before), int((behind - before).total_seconds()))
            )
        start = end
    return found
