"""Every archive of a guest lies on the node that runs it, or will by its job's storage."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from policies import reach
from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.jobs import job_for
from policies.model import Job, Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each guest that would be lost together with its
    archives.
    """
    gone = reach.down(facts.nodes, facts.silent)
    for item in facts.guests:
        if item.guest is None:
            continue
        held = item.known
        if held and set().union(*item.places(held).values()) == {item.guest.node}:
            yield about(
                item,
                "down" if item.guest.node in gone else "",
                node=item.guest.node,
                count=len(held),
            )
        elif (
            not held
            and (job := job_for(policy, item.vmid))
            and _writes_beside(facts, job, item.guest.node, gone)
        ):
            yield about(item, "planned", node=item.guest.node, job=job.id, storage=job.storage)


def _writes_beside(facts: SiteFacts, job: Job, node: str, gone: Collection[str]) -> bool:
    """A node that is down shows no storage: what another one shows of that name is the same
    definition.
    """
    places = {item.node for item in facts.storages} if node in gone else {node}
    return any(
        item.name == job.storage and item.node in places and not item.shared
        for item in facts.storages
    )


RULE = Rule("archives-on-guest-node", Severity.CRITICAL, find)
