"""Whether a guest's backup would still be made after it moved, and what of it would be lost with
its node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies.ha.answers import Doubt, any_of, without
from policies.ha.facts import HaFacts
from policies.ha.places import storage_doubt
from policies.jobs import jobs_for
from policies.model import Policy


@dataclass(frozen=True, slots=True)
class BackupThere:
    """Whether a guest's backup would be made on a node, and if not surely, why."""

    node: str
    follows: bool | None
    reasons: tuple[str, ...] = ()


def backup_there(facts: HaFacts, policy: Policy, vmid: int, node: str) -> BackupThere:
    """Given a guest and a node that it may move to, return whether one of its jobs, of this service
    or of PVE, would back it up there.
    """
    told = list(_jobs(facts, policy, vmid, node))
    if facts.jobs is None:
        told.append((None, "PVE's own jobs could not be read"))
    follows = any_of(answer for answer, _ in told)
    if follows:
        return BackupThere(node, True)
    return BackupThere(node, follows, tuple(why for _, why in told) or ("no job backs it up",))


def _jobs(
    facts: HaFacts, policy: Policy, vmid: int, node: str
) -> Iterator[tuple[bool | None, str]]:
    """Each job that covers the guest: whether it would back it up there, and why not."""
    for job in jobs_for(policy, vmid):
        doubt = _storage(facts, job.storage, node)
        yield (without(doubt[:1]), f"job {job.id}: {doubt[0].why}") if doubt else (True, "")
    for pve in facts.jobs or ():
        if not (pve.enabled and pve.covers(vmid)):
            continue
        if pve.node and pve.node != node:
            yield False, f"PVE's job {pve.id} runs on {pve.node} alone, and skips it silently"
            continue
        doubt = _storage(facts, pve.storage, node)
        yield (without(doubt[:1]), f"PVE's job {pve.id}: {doubt[0].why}") if doubt else (True, "")


def _storage(facts: HaFacts, storage: str, node: str) -> list[Doubt]:
    if doubt := storage_doubt(facts, storage, node):
        return [doubt]
    if "backup" not in facts.by_place[node, storage].content:
        return [Doubt(f"storage {storage} takes no backups there")]
    return []


def lost_with(facts: HaFacts, vmid: int, node: str) -> int | None:
    """Given a guest and its node, return how many of its archives would be lost with that node if
    all would; else None.
    """
    item = facts.held.get(vmid)
    if item is None or not item.known:
        return None
    places = set().union(*item.places(item.known).values())
    return len(item.known) if places == {node} else None
