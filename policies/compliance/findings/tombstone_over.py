"""The time of a guest that is gone is over, and nobody has decided what becomes of its archives; or
a guest stands at its VMID again, and nothing tells whether it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies import tombstones
from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.i18n.sentences import Moment
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each tombstone that waits for a person."""
    there = {item.vmid: item.guest for item in facts.guests if item.guest}
    for one in facts.tombstones:
        stone = one.tombstone
        guest = there.get(stone.vmid)
        # a guest at the same VMID is no proof that it is the same machine (law 10)
        again = guest is not None and tombstones.may_be(one, guest) and stone.released is None
        if again or one.over:
            values = {
                "vmid": stone.vmid,
                "count": len(one.archives),
                "when": Moment(one.until),
                "since": Moment(stone.missing_since),
            }
            subject = f"{stone.vmid} {stone.name}".strip()
            yield Seen(subject, values, form="again" if again else "", vmid=stone.vmid)


RULE = Rule("tombstone-over", Severity.WARNING, find)
