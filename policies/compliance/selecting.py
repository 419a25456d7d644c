"""Which guests and archives the findings look at."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import ClusterJob, GuestFacts, SiteFacts
from policies.jobs import job_for
from policies.model import Job, Policy
from policies.pve.calendar_event import occurrences

TOLD_FOR_S = 7 * 86400  # how long something is told of that happened once, and is over
# How far to look back for a job's last occurrence: in steps, since a yearly schedule needs 400 days
# and most need two.
_LOOK_BACK_S = tuple(days * 86400 for days in (2, 9, 40, 400))


def backed_up(facts: SiteFacts, policy: Policy) -> Iterator[GuestFacts]:
    """Given facts and policy, yield the guests that are there and that a backup is wanted of: those
    of a job.
    """
    for item in facts.guests:
        if item.guest is not None and not item.guest.template and job_for(policy, item.vmid):
            yield item


def guests_of(facts: SiteFacts, job: ClusterJob) -> list[GuestFacts]:
    """Given a backup job of PVE's own, return the guests that it backs up."""
    return [
        item
        for item in facts.guests
        if item.guest is not None and not item.guest.template and job.covers(item.vmid)
    ]


def last_due(job: Job, timezone: str, now: int) -> int | None:
    """Given a job, return its last occurrence whose window has passed, in epoch seconds, or None
    within the last 400 days.
    """
    until = now - job.window
    for back in _LOOK_BACK_S:
        if found := occurrences(job.schedule, timezone, until - back, until):
            return found[-1]
    return None
