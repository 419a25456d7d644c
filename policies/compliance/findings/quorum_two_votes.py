"""The cluster has two votes, so that losing one node loses quorum, or has lost it."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case if the cluster's quorum is lost, or would be with the next
    node.
    """
    quorum = facts.quorum
    if quorum is None or not quorum.clustered:
        return
    if quorum.quorate is False:
        yield Seen(facts.cluster, {"votes": quorum.votes}, "lost", waits=True)
    # PVE's API lists nodes, and never shows a QDevice: whoever has one records an exemption.
    elif quorum.votes == 2 and not quorum.qdevice:
        yield Seen(facts.cluster, {"votes": quorum.votes})


RULE = Rule("quorum-two-votes", Severity.CRITICAL, find)
