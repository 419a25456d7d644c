"""An archive is not what was recorded of it. It never changes once written: whatever did this may
have done it to others.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts, place
from policies.compliance.rule import Rule, Seen, about
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each archive that was changed."""
    for item in facts.guests:
        for archive in item.archives:
            if archive.changed:
                yield about(item, volid=archive.volid, node=place(archive), what=archive.changed)


RULE = Rule("archive-changed", Severity.CRITICAL, find)
