"""Restored copies could meet production: the isolated bridge leads somewhere, or the token may use
others (law 2).
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.compliance.scratch_network import scratch_network
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each way in which the scratch network is open."""
    for fault in scratch_network(facts, policy.scratch):
        yield Seen(fault.subject, fault.values, fault.kind)


# A bridge that leads out is the one fault by which a copy that is started would meet production.
RULE = Rule("scratch-not-isolated", Severity.WARNING, find, forms={"ports": Severity.CRITICAL})
