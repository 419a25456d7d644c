"""A copy at a target was read anew and is damaged: it counts for nothing until it is made anew or
read whole again.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each copy that is damaged."""
    for item in facts.guests:
        for copy in item.damaged_copies:
            yield about(item, volid=copy.route.volid, target=copy.route.target, what=copy.damaged)


RULE = Rule("copy-corrupt", Severity.CRITICAL, find)
