"""A listing that shows less than there is: PVE answers an empty list to a token that may not see
(pve-facts 5.6).
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.model import Policy, Severity
from policies.pve.privileges import privileges


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each right that is missing and each listing that
    lacks known archives.
    """
    if facts.permissions is not None:
        # With Datastore.Allocate PVE lists all archives of a storage, also those of guests that the
        # token has no right on.
        everything = True
        for storage in sorted({job.storage for job in policy.jobs}):
            rights = privileges(facts.permissions, f"/storage/{storage}")
            everything = everything and "Datastore.Allocate" in rights
            if not rights & {"Datastore.AllocateSpace", "Datastore.Allocate"}:
                yield Seen(storage, {"storage": storage}, "storage")
        if not everything and "VM.Backup" not in privileges(facts.permissions, "/vms"):
            yield Seen(facts.cluster, form="guests")
    if not any(item.guest for item in facts.guests):
        yield Seen(facts.cluster, form="empty")
    for listing in facts.listings:
        if listing.lost > 0:
            values = {"now": listing.now, "lost": listing.lost, "storage": listing.storage}
            yield Seen(f"{listing.storage} ({listing.node})", values, "" if listing.now else "all")


RULE = Rule(
    "listing-blind",
    Severity.CRITICAL,
    find,
    forms={"": Severity.WARNING, "guests": Severity.WARNING},
)
