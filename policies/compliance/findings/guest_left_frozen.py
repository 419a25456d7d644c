"""A dump left the guest's file systems frozen, and no later look showed them thawed."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.i18n.sentences import Moment
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each guest that is, or may be, frozen."""
    for item in facts.guests:
        if item.guest is not None and (left := item.left_frozen):
            yield about(
                item,
                "" if left.certain else "unknown",
                waits=True,
                when=Moment(left.at),
                why=left.why,
            )


RULE = Rule("guest-left-frozen", Severity.CRITICAL, find)
