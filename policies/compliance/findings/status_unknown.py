"""PVE knows nothing new of a node that answers by itself: its pvestatd is dead, mostly on a storage
that hangs.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each node whose status is unknown and that answers."""
    for node in facts.nodes:
        if node.unknown and node.online and node.name not in facts.silent:
            yield Seen(node.name, {"node": node.name})


RULE = Rule("status-unknown", Severity.WARNING, find, exemptable=False)
