"""Decide when scheduled restore tests may run: inside their window, and stopped before the next
backup starts.

A window is a range of the site's local time. It opens at the first moment at which the clock shows
its beginning or more, and
closes at the first moment at which it shows its end or more: where an hour comes twice the first
one counts, and where an hour is left out the jump itself does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from policies.model import Policy, PolicyError, Window
from policies.pve import calendar_event

MARGIN = 300  # seconds before a backup starts by which tests must be over: time to take a copy down
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALLOWED = (
    "HH:MM-HH:MM, with weekdays before it if not every day, such as 01:00-06:00, mon..fri "
    "22:00-05:30 or sat,sun 00:00-24:00"
)
_DAY = 24 * 60
_FORM = re.compile(r"(?:(?P<days>[a-z.,]+) +)?(?P<opens>\d\d:\d\d) *- *(?P<closes>\d\d:\d\d)")
_MAX_SPANS = 200  # slots looked at before it is believed that backups leave no room at all


@dataclass(frozen=True, slots=True)
class Slot:
    """A time in which tests may run, in epoch seconds. ``closes`` None: it does not close."""

    opens: int
    closes: int | None

    def is_open(self, now: int) -> bool:
        """Given the time, return whether a test may run."""
        return self.opens <= now and (self.closes is None or now < self.closes)

    def fits(self, begins: int, seconds: float) -> bool:
        """Given when a test would begin and how long it takes, return whether it would be over in
        time.
        """
        return self.opens <= begins and (self.closes is None or begins + seconds <= self.closes)


def parse(text: str) -> Window:
    """Given a window as a policy writes it, return it. Raise PolicyError if it is none."""
    found = _FORM.fullmatch(text.strip().lower())
    if not found:
        raise PolicyError(f"{text!r} is not a time range; allowed: {ALLOWED}")
    opens, closes = _minutes(found["opens"], text, _DAY - 1), _minutes(found["closes"], text, _DAY)
    if opens == closes:
        raise PolicyError(
            f"{text!r} lasts no time; allowed: {ALLOWED}, or no window at all for any time"
        )
    days: set[int] = set() if found["days"] else set(range(7))
    for part in found["days"].split(",") if found["days"] else ():
        first, dots, last = part.partition("..")
        if first not in DAYS or (dots and last not in DAYS):
            raise PolicyError(f"{part!r} in {text!r} is no weekday; allowed: {ALLOWED}")
        # a range may run over the week's end, as sat..mon does
        begin, length = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % 7 if dots else 0
        days |= {(begin + step) % 7 for step in range(length + 1)}
    return Window(opens, closes, tuple(sorted(days)), " ".join(text.split()))


def span(window: Window, timezone: str, now: int) -> Slot:
    """Given a window and the time, return its present opening, or else its next one."""
    zone = calendar_event.zone(timezone)
    today = datetime.fromtimestamp(now, zone).date()
    day = today - timedelta(days=1)
    while True:
        if day.weekday() in window.days:
            last = day + timedelta(days=1) if window.closes <= window.opens else day
            opens, closes = _moment(day, window.opens, zone), _moment(last, window.closes, zone)
            if now < closes and opens < closes:
                return Slot(opens, closes)
        day += timedelta(days=1)


def slot(policy: Policy, now: int) -> Slot | None:
    """Given a policy and the time, return the slot for restore tests that is open now, or else the
    next one.

    It closes at the window's end, or ``MARGIN`` before the next backup of any job. None if the
    backups leave no room.
    """
    return next((found for found in slots(policy, now)), None)


def slots(policy: Policy, now: int) -> Iterator[Slot]:
    """Given a policy and the time, yield the slots for restore tests, the one that is open now
    first.
    """
    jobs = [calendar_event.parse(job.schedule, policy.timezone) for job in policy.jobs]
    moment = now
    for _ in range(_MAX_SPANS):
        whole = (
            span(policy.scratch.window, policy.timezone, moment)
            if policy.scratch.window
            else Slot(moment, None)
        )
        opens = max(moment, whole.opens)
        backup = min(
            (at for job in jobs if (at := job.next_after(opens)) is not None), default=None
        )
        ends = [
            end
            for end in (whole.closes, backup - MARGIN if backup is not None else None)
            if end is not None
        ]
        if not ends:
            yield Slot(opens, None)
            return
        if min(ends) > opens:
            yield Slot(opens, min(ends))
        moment = min(end for end in (whole.closes, backup) if end is not None)


def _minutes(text: str, whole: str, most: int) -> int:
    hours, minutes = map(int, text.split(":"))
    if minutes > 59 or hours * 60 + minutes > most:
        raise PolicyError(f"{text} in {whole!r} is no time of day; allowed: {ALLOWED}")
    return hours * 60 + minutes


def _moment(day: date, minutes: int, zone: ZoneInfo) -> int:
    """The first moment at which the clock of that day shows so many minutes after midnight, or
    more.
    """
    local = datetime.combine(day, time()) + timedelta(minutes=minutes)
    latest = int(local.replace(tzinfo=zone).timestamp())
    if datetime.fromtimestamp(latest, zone).replace(tzinfo=None) == local:
        return latest
    # the clock jumps over it somewhere in between
    earliest = int(local.replace(tzinfo=zone, fold=1).timestamp())
    while latest - earliest > 1:
        middle = (earliest + latest) // 2
        shown = datetime.fromtimestamp(middle, zone).replace(tzinfo=None)
        earliest, latest = (middle, latest) if shown < local else (earliest, middle)
    return latest
