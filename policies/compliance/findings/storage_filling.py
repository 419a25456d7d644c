"""A storage of the policy is about to be full, or has no room for the next round of backups."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.i18n.sentences import Size
from policies.model import Policy, Severity

FULL = 85  # percent at which a storage is about to be a problem
ROUND = 1.3  # room that one round of backups needs, as a multiple of the last one (pve-facts 3.11)


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each storage that has too little room. A shared one
    is told of once.
    """
    ours = {job.storage for job in policy.jobs} | {policy.scratch.storage}
    seen: set[str] = set()
    # the size of each guest's newest archive on each storage: of each node, and ("") of any
    newest = [
        {(one.storage, ""): one.size for one in guest.held}
        | {(one.storage, one.node): one.size for one in guest.held}
        for guest in facts.guests
    ]
    for item in facts.storages:
        subject = item.name if item.shared else f"{item.name} ({item.node})"
        if item.name not in ours or not item.active or item.total <= 0 or subject in seen:
            continue
        seen.add(subject)  # each node lists a shared storage once more
        share = round(100 * item.used / item.total)
        where = item.name, "" if item.shared else item.node
        needed = int(ROUND * sum(guest.get(where, 0) for guest in newest))
        if needed > item.available:
            left, amount = Size(item.available, (needed,)), Size(needed, (item.available,))
            yield Seen(subject, {"available": left, "needed": amount}, "night")
        elif share >= FULL:
            yield Seen(subject, {"share": share, "available": Size(item.available)})


RULE = Rule("storage-filling", Severity.WARNING, find, forms={"night": Severity.CRITICAL})
