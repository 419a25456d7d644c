"""A backup job of PVE's own names one node: a guest that moves to another is silently skipped."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.compliance.selecting import guests_of
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each enabled job with a node. On a single node there is
    nowhere to go to.
    """
    if len(facts.nodes) < 2:
        return
    for job in facts.jobs or ():
        if job.enabled and job.node:
            away = [
                item
                for item in guests_of(facts, job)
                # PVE skips a guest that left the job's node, without a word (pve-facts 3.1)
                if item.ha_managed or (item.guest and item.guest.node != job.node)
            ]
            guests = tuple(f"{item.vmid} {item.name}" for item in away)
            yield Seen(job.id, {"node": job.node, "guests": guests}, "skips" if away else "")


RULE = Rule("job-pinned-to-node", Severity.WARNING, find, forms={"skips": Severity.CRITICAL})
