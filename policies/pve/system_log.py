"""Lines of a node's system log as ``/nodes/{node}/syslog`` gives them: journalctl's short form, in
the node's own time zone and without a year (pve-facts 9.11).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Sep 08 15:29:23 clovis pve-ha-crm[1409]: what it said
_LINE = re.compile(
    rf"(?P<month>{'|'.join(_MONTHS)}) +(?P<day>\d{{1,2}}) (?P<hour>\d\d):(?P<minute>\d\d):"
    r"(?P<second>\d\d) \S+ (?P<who>[^\s\[:]+)(?:\[\d+\])?: (?P<text>.*)"
)
_DAY = 86400


def read(line: str, zone: tzinfo, now: int) -> tuple[int, str, str] | None:
    """Given a line, the node's time zone and its time now (epoch seconds), return when it was
    written, who wrote it and what; None for what is no such line.

    Of the years that fit the latest that is not in the future is taken: an older line seems newer
    than it is, never the other way round.
    """
    found = _LINE.fullmatch(line)
    if not found:
        return None
    month = _MONTHS.index(found["month"]) + 1
    clock = (int(found["day"]), int(found["hour"]), int(found["minute"]), int(found["second"]))
    last = datetime.fromtimestamp(now, UTC).year + 1
    # four years and one more hold a 29th of February wherever there is one
    for year in range(last, last - 9, -1):
        try:
            at = int(datetime(year, month, *clock, tzinfo=zone).timestamp())
        except ValueError:
            continue
        if at <= now + _DAY:
            return at, found["who"], found["text"]
    return None


def written(at: int, zone: tzinfo) -> str:
    """Given epoch seconds and the node's time zone, return the time as the call takes it."""
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")
