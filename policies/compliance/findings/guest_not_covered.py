"""An expected guest that is absent, that no job covers, or that has no archive (law 4)."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts, place, usable
from policies.compliance.rule import Rule, Seen, about
from policies.jobs import job_for
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each guest that could not be brought back."""
    for item in facts.guests:
        if item.guest is None:
            yield about(item, "absent", count=len(item.held))
        elif item.guest.template:
            continue
        elif job_for(policy, item.vmid) is None:
            yield about(item, "job")
        # Out of reach is not gone (law 4): it says what to bring back, not to back up anew.
        elif not item.held and (out := item.known):
            places = tuple(sorted({f"{one.storage} ({place(one)})" for one in out}))
            yield about(item, "unreachable", waits=True, count=len(out), places=places)
        elif not item.held and (others := usable(item.archives + item.unreachable)):
            yield about(item, "stranger", waits=True, count=len(others))
        elif not item.held:
            yield about(item, "archive", waits=True)


RULE = Rule("guest-not-covered", Severity.CRITICAL, find)
