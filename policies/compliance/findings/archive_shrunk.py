"""The newest archive of a guest is empty, holds no disk, or is far smaller than those before it."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from policies import whole
from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.i18n.sentences import Size
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each guest whose newest archive may lack data."""
    for item in facts.guests:
        # that is a finding of its own
        held = [one for one in item.archives if not (one.changed or one.damaged)]
        newest = max(held, key=attrgetter("ctime", "size"), default=None)
        if newest is None:
            continue
        # What is worse is told alone: an empty archive is also smaller than those before it.
        if newest.size <= 0:
            yield about(item, "empty", volid=newest.volid)
        elif whole.key(newest) in whole.hollow(item.archives):
            yield about(item, "no-disk", volid=newest.volid)
        elif (before := whole.usual(item.archives, newest)) and whole.below(newest, before):
            count, usual = before[0], int(before[1])
            size, usual_size = Size(newest.size, (usual,)), Size(usual, (newest.size,))
            yield about(item, volid=newest.volid, size=size, count=count, usual=usual_size)


RULE = Rule("archive-shrunk", Severity.CRITICAL, find, forms={"": Severity.WARNING})
