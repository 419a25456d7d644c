"""What beat sends: a crontab entry for each job that has a plain time of day, and a tick that finds whatever else is due.

Both only say "look": ``night.open_due`` decides by the policy's calendar, so a beat that was down, runs twice, or trips over a
clock change does no harm.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from celery.schedules import crontab

from backupsvc.settings import Settings
from policies.site import load_policy

TICK_SECONDS = 30.0
_DAILY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Given the settings, return beat's entries. Without a policy there is only the tick."""
    entries: dict[str, dict[str, Any]] = {"tick": {"task": "workers.tasks.tick", "schedule": TICK_SECONDS}}
    if settings.policy is None:
        return entries
    policy = load_policy(settings.policy.read_text(encoding="utf-8"), str(settings.policy))
    for job in policy.jobs:
        if entry := daily(job.schedule, policy.timezone):
            entries[f"job {job.id}"] = {"task": "workers.tasks.tick", "schedule": entry}
    return entries


def daily(schedule: str, timezone: str) -> crontab | None:
    """Given a calendar event and a time zone, return beat's crontab for it if it is a plain time of day, else None."""
    found = _DAILY.fullmatch(schedule.strip())
    zone = ZoneInfo(timezone)
    return crontab(hour=int(found[1]), minute=int(found[2]), nowfun=lambda: datetime.now(zone)) if found else None
