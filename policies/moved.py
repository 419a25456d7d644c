"""Decide where a copy is that was to be destroyed (law 1), and what a test is worth whose copy was
moved meanwhile (law 5).

"No such guest" from one node says only that it is not there. A copy is gone when the cluster, with
quorum, calls its VMID free after the deletion, and no volume of it is left. What could not be asked
is unknown, which is not gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from policies.causes import Cause
from policies.model import Scratch, Verdict
from policies.pve.volid import storage_of
from policies.verdict import Judgement


class Fate(StrEnum):
    """Where a copy is that was to be removed."""

    GONE = "gone"
    THERE = "there"
    ELSEWHERE = "elsewhere"
    LEFT = "left volumes"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Look:
    """What the cluster answered after a deletion on ``node``.

    ``quorate`` None: a node without a cluster. ``listed_on`` is the node on which the cluster lists
    the VMID, ``left`` those of its volumes that are still listed on the storages that it used.
    """

    vmid: int
    node: str
    quorate: bool | None
    free: bool
    listed_on: str | None = None
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of the copy, and the sentence that says why."""

    fate: Fate
    why: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A copy that was moved to another node while it was tested: from where to where, and when that
    was seen (epoch seconds).
    """

    from_node: str
    to_node: str
    at: int


def fate(look: Look) -> Decision:
    """Given what the cluster answered, return what became of the copy."""
    # what a node without quorum knows of the cluster is as old as its loss (pve-facts 9.3)
    if look.quorate is False:
        why = f"the node that answers has no quorum, so its word on VMID {look.vmid} is an old one"
        return Decision(Fate.UNKNOWN, why)
    # free in the whole cluster, by /cluster/nextid: a node's own list knows only its guests (pve-
    # facts 8.3)
    if not look.free:
        if look.listed_on is None:
            return Decision(
                Fate.UNKNOWN, f"VMID {look.vmid} is in use, and the cluster does not list where"
            )
        if look.listed_on != look.node:
            return Decision(
                Fate.ELSEWHERE,
                f"VMID {look.vmid} is on {look.listed_on} by now, not on {look.node}",
            )
        return Decision(Fate.THERE, f"VMID {look.vmid} is still in use on {look.node}")
    if look.left:
        return Decision(
            Fate.LEFT,
            f"VMID {look.vmid} is free, and these volumes of it are left: {', '.join(look.left)}",
        )
    return Decision(Fate.GONE, f"VMID {look.vmid} is free, and no volume of it is left")


def ours_to_remove(
    volids: Iterable[str], *, named: Collection[str], looked_empty: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Given volumes that a gone copy left, return those that it may be rid of, and those that
    somebody must look at.

    Ours are those that the copy's own config named while it bore our marker, and those on a storage
    that was looked at before the restore and held none of that VMID (``looked_empty``: storages).
    """
    given = tuple(volids)
    # a VMID may have been another's before, whose disks lie there still (law 1)
    ours = tuple(volid for volid in given if volid in named or storage_of(volid) in looked_empty)
    return ours, tuple(volid for volid in given if volid not in ours)


def judged(judgement: Judgement, away: Moved | None, lost: str | None) -> Judgement:
    """Given a verdict, return what may be said if the copy was moved (``away``), or if its node
    went off (``lost``).

    Its answers came from two places then, or from nowhere. What was found in the archive before the
    copy ever ran stands.
    """
    if (
        not (away or lost)
        or judgement.verdict is Verdict.SIMULATED
        or judgement.cause in (Cause.ARCHIVE, Cause.CONFIG)
    ):
        return judgement
    why = (
        f"the copy was moved from {away.from_node} to {away.to_node} in the middle of the test"
        if away
        else f"node {lost}, which had the copy, went off in the middle of the test"
    )
    return Judgement(
        Verdict.INCONCLUSIVE, judgement.rung, (why, *judgement.reasons), Cause.PLATFORM
    )


def in_ha(resources: Collection[str], scratch: Scratch) -> frozenset[int]:
    """Given the ids of what is configured in HA, return the scratch VMIDs among them: HA would
    start a copy that is made there.

    Asked of the configuration: while HA is disarmed, a guest's own ``ha.managed`` is 0.
    """
    every = range(scratch.first, scratch.last + 1)
    return frozenset(
        vmid for vmid in every if not {f"vm:{vmid}", f"ct:{vmid}"}.isdisjoint(resources)
    )
