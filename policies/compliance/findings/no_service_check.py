"""A guest that no restore test can prove, whatever comes of it, because nothing asks its
service.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.compliance.selecting import backed_up
from policies.model import GuestType, Policy, Severity
from policies.service_checks import unasked


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each VM whose checks are signs of life only, or that
    has none.
    """
    for item in backed_up(facts, policy):
        if (
            item.guest
            and item.guest.type is GuestType.QEMU
            and (lack := unasked(policy, item.vmid, item.name, item.guest.tags))
        ):
            form = "" if lack.checks else "none"
            yield about(
                item,
                form,
                checks=tuple(lack.checks),
                suggested=tuple(lack.suggested),
                tier=lack.tier,
            )


RULE = Rule("no-service-check", Severity.WARNING, find)
