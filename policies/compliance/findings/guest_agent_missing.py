"""A VM has no guest agent configured, so that its backups are not consistent and its copies cannot
be asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.compliance.selecting import backed_up
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each VM whose configuration was read and has no
    agent switched on.
    """
    for item in backed_up(facts, policy):
        if item.agent_matters and item.agent is False:
            yield about(item)


RULE = Rule("guest-agent-missing", Severity.WARNING, find)
