"""PVE applies a retention of its own on a storage with backups: it may remove what the policy
keeps.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.model import Policy, Severity
from policies.pve import prune_backups


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each enabled storage whose retention removes anything."""
    rules = {
        item.name: item.prune
        for item in facts.storages
        if "backup" in item.content and item.enabled
    }
    for name, prune in sorted(rules.items()):
        # PVE would prune there after a dump of its own, by a rule that is not the policy's
        if prune_backups.prunes(prune):
            yield Seen(name, {"prune": prune})


RULE = Rule("storage-prunes", Severity.WARNING, find)
