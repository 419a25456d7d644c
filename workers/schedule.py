"""What beat sends: a crontab entry for each job that has a plain time of day, and a tick that finds
whatever else is due.

Both only say "look": ``open_due`` of job runs decides by the policy's calendar, so a beat that was
down, runs twice, or trips over a clock change does no harm.
"""

from __future__ import annotations

from typing import Any

from celery.schedules import crontab

from backupsvc.serve.queues import QUEUES
from backupsvc.settings import Settings
from policies.model import Policy
from policies.pve.calendar_event import time_of_day
from policies.site import load_policy


def site_policy(settings: Settings) -> Policy | None:
    """Return the site's policy, or None where none is configured. Raise PolicyError if it is
    wrong.
    """
    if settings.policy is None:
        return None
    return load_policy(settings.policy.read_text(encoding="utf-8"), str(settings.policy))


def beat_schedule(policy: Policy | None, tick: float) -> dict[str, dict[str, Any]]:
    """Given the policy and the seconds between ticks, return beat's entries, which count in the
    policy's time zone.

    Without a policy there are only the tick and a canary for each queue. What nobody consumed in
    time is dropped: the next says the same, and a worker that comes back after days must not handle
    thousands of them.
    """
    entries: dict[str, dict[str, Any]] = {"tick": _entry("workers.tasks.tick", tick, tick)}
    for queue in QUEUES:
        entries[f"canary {queue}"] = _entry("workers.pulse.beat", tick, tick, queue)
    for job in policy.jobs if policy else ():
        if entry := daily(job.schedule):
            # only to be on time: the tick would open it a little later
            entries[f"job {job.id}"] = _entry("workers.tasks.tick", entry, tick)
    return entries


def _entry(task: str, schedule: float | crontab, tick: float, *args: str) -> dict[str, Any]:
    return {"task": task, "schedule": schedule, "args": args, "options": {"expires": 3 * tick}}


def daily(schedule: str) -> crontab | None:
    """Given a calendar event, return beat's crontab for it if it is a plain time of day, else
    None.
    """
    found = time_of_day(schedule)
    return crontab(hour=found[0], minute=found[1]) if found else None
