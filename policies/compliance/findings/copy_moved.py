"""A copy was moved to another node in the middle of its restore test."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.compliance.selecting import TOLD_FOR_S
from policies.i18n.sentences import Moment
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and the time, yield a case for each copy that was moved within the last week."""
    for move in facts.moves:
        if move.at > now - TOLD_FOR_S:
            values = {
                "operation": move.operation,
                "source": move.source,
                "target": move.target,
                "when": Moment(move.at),
            }
            yield Seen(str(move.vmid), values, vmid=move.vmid)


RULE = Rule("copy-moved", Severity.WARNING, find)
