"""Whether a guest's backup would still be made after it moved, and what of it would be lost with
its node.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.ha.answers import any_of, without
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
    covering: list[tuple[str, str, str]] = [
        (f"job {job.id}", job.storage, "") for job in jobs_for(policy, vmid)
    ] + [
        (f"PVE's job {job.id}", job.storage, job.node or "")
        for job in facts.jobs or ()
        if job.enabled and job.covers(vmid)
    ]
    told: list[tuple[bool | None, str]] = []
    for name, storage, pinned in covering:
        if pinned and pinned != node:
            told.append((False, f"{name} runs on {pinned} alone, and skips it silently"))
        elif doubt := storage_doubt(facts, storage, node):
            told.append((without([doubt]), f"{name}: {doubt.why}"))
        elif "backup" not in facts.by_place[node, storage].content:
            told.append((False, f"{name}: storage {storage} takes no backups there"))
        else:
            told.append((True, ""))
    if facts.jobs is None:
        told.append((None, "PVE's own jobs could not be read"))
    follows = any_of(answer for answer, _ in told)
    if follows:
        return BackupThere(node, True)
    return BackupThere(node, follows, tuple(why for _, why in told) or ("no job backs it up",))


def lost_with(facts: HaFacts, vmid: int, node: str) -> int | None:
    """Given a guest and its node, return how many of its archives would be lost with that node if
    all would; else None.
    """
    item = facts.held.get(vmid)
    if item is None or not item.known:
        return None
    # one that lies elsewhere too, a copy included, outlives the node
    places = item.anywhere(item.known)
    return len(item.known) if places == {node} else None
