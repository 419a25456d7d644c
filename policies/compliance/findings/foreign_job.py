"""A backup job of PVE's own backs up guests that this service backs up too."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.compliance.selecting import guests_of
from policies.jobs import job_for
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each enabled job that shares guests with the
    policy's jobs.
    """
    for job in facts.jobs or ():  # None could not be read, and is a gap
        both = tuple(item.vmid for item in guests_of(facts, job) if job_for(policy, item.vmid))
        if job.enabled and both:
            yield Seen(job.id, {"schedule": job.schedule, "storage": job.storage, "guests": both})


RULE = Rule("foreign-job", Severity.WARNING, find)
