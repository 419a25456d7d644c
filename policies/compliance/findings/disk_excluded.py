"""A disk of a guest is excluded from its backups (``backup=0``)."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.compliance.selecting import backed_up
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each guest whose archives lack a disk."""
    for item in backed_up(facts, policy):
        if item.excluded:
            yield about(item, disks=tuple(item.excluded))


RULE = Rule("disk-excluded", Severity.WARNING, find)
