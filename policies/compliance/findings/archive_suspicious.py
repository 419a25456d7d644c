"""An archive is not what the guest's earlier ones let expect, and nobody has said that it is right:
its data may be encrypted, or gone.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies import archive_signs
from policies.compliance.facts import SiteFacts, place
from policies.compliance.rule import Rule, Seen, about
from policies.i18n.sentences import Listed, Size
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each guest with suspicious archives: the oldest of them,
    which is the one to look at, and what is held because of them.
    """
    for item in facts.guests:
        there = (*item.archives, *item.unreachable)
        # also what is gone: an archive that was pruned since still says when it began
        known = (*there, *item.removed)
        if hold := archive_signs.holds(known).get(item.vmid):
            first = next(one for one in known if one.suspicious and one.volid == hold.volid)
            older = [one for one in there if one.ctime < hold.until]
            yield about(
                item,
                volid=first.volid,
                node=place(first),
                what=Listed([archive_signs.sentence(one) for one in first.suspicious]),
                held=len(older),
                bytes=Size(sum(one.size for one in older)),
            )


RULE = Rule("archive-suspicious", Severity.CRITICAL, find)
