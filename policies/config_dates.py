"""Which kept configuration a person means by a date."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from policies.model import PolicyError

LATEST = "latest"
_STAMP = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)Z", re.ASCII)


def pick(said: str, times: Collection[int], zone: str) -> int | None:
    """Given ``latest``, a day (the last set of that day in the zone) or a time in UTC, and the
    times of all sets (epoch seconds), return the one that is meant, None if there is none. Raise
    PolicyError if it is no date.
    """
    if said == LATEST:
        return max(times, default=None)
    if found := _STAMP.fullmatch(said):
        try:
            moment = datetime.strptime("".join(found.groups()), "%Y%m%d%H%M%S")
            at = int(moment.replace(tzinfo=UTC).timestamp())
        except ValueError:
            raise PolicyError(f"{said} is no time") from None
        return at if at in times else None
    try:
        wanted = date.fromisoformat(said)
    except ValueError:
        raise PolicyError(f"{said} is no date") from None
    of_day = [at for at in times if datetime.fromtimestamp(at, ZoneInfo(zone)).date() == wanted]
    return max(of_day, default=None)
