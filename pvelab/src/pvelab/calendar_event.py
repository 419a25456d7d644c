"""Calendar events, as PVE::CalendarEvent reads them: when a backup job comes next.

``[WEEKDAYS] [[YEAR-]MONTH-DAY] [[HOUR:]MINUTE[:SECOND]]``, or a word such as ``daily``
(systemd.time(7)). Each field is ``*`` or a list of numbers, ranges ``a..b`` and steps ``a/n``,
``a..b/n`` or, for the whole field, ``*/n``. A time that is not there is midnight, and a lone number
is a minute.

An event is read into the days on which it falls and the seconds of such a day, counted by the clock
on the wall. On a day when that clock is changed, an event of every hour falls whenever the clock
shows one of its times, twice or never; any other falls
once for each of its times: at the first of two, and as much later as the clock was put forward
where it shows that time never.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WHOLE_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WORDS = {
    "minutely": "*:*",
    "hourly": "*:0",
    "daily": "0:0",
    "weekly": "mon 0:0",
    "monthly": "*-1 0:0",
    "quarterly": "1,4,7,10-1 0:0",
    "semiannually": "1,7-1 0:0",
    "semi-annually": "1,7-1 0:0",
    "yearly": "1-1 0:0",
    "annually": "1-1 0:0",
}
_ITEM = re.compile(r"(?P<first>\d{1,4})(?:\.\.(?P<last>\d{1,4}))?(?:/(?P<step>\d{1,4}))?", re.ASCII)
# systemd knows no year after 2199, and neither does PVE
_YEARS, _MONTHS, _DAYS = range(2200), range(1, 13), range(1, 32)
_END = int(datetime(_YEARS.stop, 1, 2, tzinfo=UTC).timestamp())  # wherever the clock is
_HOURS, _SIXTY = range(24), range(60)


class BadEvent(ValueError):
    """A text that is no calendar event."""


@dataclass(frozen=True)
class CalendarEvent:
    """One event: the days on which it falls, and at which seconds of them (ascending). ``hourly``:
    it falls in every hour.
    """

    years: frozenset[int]
    months: tuple[int, ...]
    days: tuple[int, ...]
    weekdays: frozenset[int]
    seconds: tuple[int, ...]
    hourly: bool

    def next_after(self, epoch: int, zone: ZoneInfo) -> int | None:
        """Return the first time in epoch seconds after ``epoch`` at which it falls in a time zone,
        None if that is never.
        """
        if epoch >= _END:
            return None
        best: tuple[int, date] | None = None
        for day in self._dates(datetime.fromtimestamp(epoch, zone).date() - timedelta(days=1)):
            # the clock can be put back over midnight: the day after the first one that is found can
            # begin before
            if best and day > best[1] + timedelta(days=1):
                break
            found = self._first_of(day, epoch, zone)
            if found is not None and (best is None or found < best[0]):
                best = (found, day)
        return best[0] if best else None

    def _dates(self, start: date) -> Iterator[date]:
        for year in range(start.year, _YEARS.stop):
            if year not in self.years:
                continue
            for month, day in product(self.months, self.days):
                try:
                    found = date(year, month, day)
                except ValueError:  # the 30th of February
                    continue
                if found >= start and found.weekday() in self.weekdays:
                    yield found

    def _first_of(self, day: date, epoch: int, zone: ZoneInfo) -> int | None:
        """Return the first time of a day after ``epoch``, None if there is none."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
        # by how many seconds the clock on the wall is ahead of UTC, at the day's begin and end
        low, high = sorted(
            int((moment.utcoffset() or timedelta()).total_seconds())
            for moment in (midnight, (midnight + timedelta(days=1)).replace(fold=1))
        )
        wall = int(midnight.replace(tzinfo=UTC).timestamp())
        best: int | None = None
        for second in self.seconds[bisect_right(self.seconds, epoch + low - wall) :]:
            if best is not None and wall + second - high >= best:
                break
            shown = midnight + timedelta(seconds=second)
            moments = [shown]
            # what falls in every hour falls twice in one that the clock repeats, and never in one
            # that it skips: a time that does not come back from UTC as it went is not on the wall
            if self.hourly:
                moments = [
                    moment
                    for moment in (shown.replace(fold=0), shown.replace(fold=1))
                    if moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
                    == shown.replace(tzinfo=None)
                ]
            later = [time for one in moments if (time := int(one.timestamp())) > epoch]
            best = min(later if best is None else [best, *later], default=None)
        return best


def read(text: str) -> CalendarEvent:
    """Given a calendar event as PVE writes it, return it. Raise BadEvent, saying why, for any other
    text.
    """
    plain = text.strip().lower()
    words = _WORDS.get(plain, plain).split()
    if not words:
        raise BadEvent("date or time specification expected")
    weekdays = _weekdays(words.pop(0)) if words[0][0].isalpha() else frozenset(range(7))
    date_word = words.pop(0) if words and "-" in words[0] else "*-*"
    fields = date_word.split("-")
    if len(fields) not in (2, 3):
        raise BadEvent(f"'{date_word}' is no date")
    year, month, day = fields if len(fields) == 3 else ["*", *fields]
    years, months, days = _field(year, _YEARS), _field(month, _MONTHS), _field(day, _DAYS)
    time_word = words.pop(0) if words else "0:0"
    fields = time_word.split(":")
    if len(fields) > 3:
        raise BadEvent(f"'{time_word}' is no time")
    hour, minute, second = {1: ["*", *fields, "0"], 2: [*fields, "0"], 3: fields}[len(fields)]
    hours, minutes, seconds = _field(hour, _HOURS), _field(minute, _SIXTY), _field(second, _SIXTY)
    if words:
        raise BadEvent(f"unexpected '{' '.join(words)}'")
    times = tuple(
        hour * 3600 + minute * 60 + second
        for hour, minute, second in product(hours, minutes, seconds)
    )
    return CalendarEvent(
        frozenset(years), tuple(months), tuple(days), weekdays, times, len(hours) == len(_HOURS)
    )


def _weekdays(word: str) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        first, range_, last = part.partition("..")
        begin, end = _weekday(first), _weekday(last) if range_ else _weekday(first)
        if begin > end:
            raise BadEvent(f"wrong order in range '{part}'")
        found.update(range(begin, end + 1))
    return frozenset(found)


def _weekday(name: str) -> int:
    for names in (_WEEKDAYS, _WHOLE_NAMES):
        if name in names:
            return names.index(name)
    raise BadEvent(f"unknown weekday '{name}'")


def _field(text: str, known: range) -> range | list[int]:
    """Return the numbers of a field in ascending order. ``known`` are those that it can have."""
    if text == "*":
        return known
    if text.startswith("*/") and "," not in text:
        text = f"{known.start}{text[1:]}"
    found: set[int] = set()
    for part in text.split(","):
        item = _ITEM.fullmatch(part)
        if not item:
            raise BadEvent(f"'{part}' is no number, range or repetition")
        first = int(item["first"])
        last = int(item["last"]) if item["last"] else first
        step = int(item["step"]) if item["step"] else None
        if first not in known or last not in known:
            raise BadEvent(f"value '{first if first not in known else last}' out of range")
        if step is not None and not 0 < step < known.stop:
            raise BadEvent(f"repetition '{step}' out of range")
        if first > last:
            raise BadEvent(f"wrong order in range '{part}'")
        end = known.stop if step and not item["last"] else last + 1
        found.update(range(first, end, step or 1))
    return sorted(found)
