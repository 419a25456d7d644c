"""The bytes of an archive were found damaged: it counts for nothing until they are read whole again."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts, place
from policies.compliance.rule import Rule, Seen, about
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each archive whose bytes are damaged."""
    for item in facts.guests:
        for archive in item.archives:
            if archive.damaged:
                yield about(item, volid=archive.volid, node=place(archive), what=archive.damaged)


RULE = Rule("archive-corrupt", Severity.CRITICAL, find)
