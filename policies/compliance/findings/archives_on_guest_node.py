"""Every archive of a guest lies on the node that runs it, or will by its job's storage."""

from __future__ import annotations

from collections.abc import Iterator

from policies import reach
from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.jobs import job_for
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each guest that would be lost together with its
    archives.
    """
    gone = reach.down(facts.nodes, facts.silent)
    for item in facts.guests:
        if item.guest is None:
            continue
        held = item.known
        if item.anywhere(held) == {item.guest.node}:
            yield about(
                item,
                "down" if item.guest.node in gone else "",
                node=item.guest.node,
                count=len(held),
            )
        elif not held and (job := job_for(policy, item.vmid)):
            node = item.guest.node
            # A node that is down shows no storage: what another one shows of that name is the same
            # definition.
            asked = {one.node for one in facts.storages} if node in gone else {node}
            if any(
                one.name == job.storage and one.node in asked and not one.shared
                for one in facts.storages
            ):
                yield about(item, "planned", node=node, job=job.id, storage=job.storage)


RULE = Rule("archives-on-guest-node", Severity.CRITICAL, find)
