"""Whether what a recovery is of is still away, as the cluster says now: a node, or a storage on nodes
that live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backupsvc.errors import OutOfReach, Refused
from backupsvc.operations.recover.memory import RecoverMemory
from backupsvc.operations.services import Cluster

# one storage that hangs keeps its node from telling any of them
ASK_STATUS = (
    "see `pvesm status` on that node: a storage that hangs keeps it from telling the others"
)


@dataclass(frozen=True, slots=True)
class Users:
    """Nodes by what they say of a storage: those ``having`` it can use it now, those ``without`` list
    it and cannot. ``silent`` did not say, each with why: what these have is not known (law 4).
    """

    having: frozenset[str]
    without: frozenset[str]
    silent: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """``back``: what was lost is there. ``untold`` says why that is not known, "" where it is. On the
    nodes ``without`` the storage that is lost no guest of the plan is back.
    """

    back: bool
    untold: str = ""
    without: frozenset[str] = frozenset()


def users(service: Cluster, storage: str) -> Users:
    """Given a storage, return which nodes can use it now, by what either token is told: PVE leaves
    out in silence what one has no right on.
    """
    having, without, silent = set[str](), set[str](), dict[str, str]()
    for pve in (service.pve, service.restore_pve):
        seen = pve.storage.seen()
        silent |= seen.silent
        for one in seen.storages:
            if one.name == storage:
                (having if one.active and one.enabled else without).add(one.node)
    known = having | without
    return Users(
        frozenset(having),
        frozenset(without - having),
        {node: why for node, why in silent.items() if node not in known},
    )


def untold(storage: str, silent: Mapping[str, str]) -> tuple[str, ...]:
    """Given a storage and the nodes that did not say theirs, each with why, return that as sentences."""
    return tuple(
        f"{node} did not say its storages ({why}), so whether {storage} is lost there is not known"
        for node, why in sorted(silent.items())
    )


def node_is_back(service: Cluster, node: str) -> bool:
    """Given a node, return whether the cluster says that it is there. One that is in no list is
    not.
    """
    return any(one.name == node and one.online for one in service.restore_pve.cluster.nodes())


def look(service: Cluster, memory: RecoverMemory) -> Look:
    """Return how what was lost is now: the node, or the storage on the nodes that have the plan's
    guests.
    """
    if not memory.storage:
        return Look(node_is_back(service, memory.node))
    homes = {one.home for one in memory.plan}
    found = users(service, memory.storage)
    if homes & found.having:
        return Look(back=True)
    silent = {node: why for node, why in found.silent.items() if node in homes}
    return Look(
        back=False,
        untold="; ".join(untold(memory.storage, silent)),
        without=found.without | homes | found.silent.keys(),
    )


def require_away(service: Cluster, memory: RecoverMemory) -> None:
    """Raise Refused if what was lost is there: then nothing of its guests is lost. Raise OutOfReach
    while that is not known.
    """
    found = look(service, memory)
    if memory.storage and found.back:
        raise Refused(
            f"storage {memory.storage} is active on a node that has a guest of the plan: nothing is "
            "restored in the place of what lies there",
            "if it was made anew and is empty, bring its guests back one by one: `backupsvc restore "
            "VMID`",
        )
    if found.back:
        raise Refused(
            f"node {memory.node} is online: its guests are there, and nothing is restored in their "
            "place",
            f"see how they are with `backupsvc doctor` and in PVE; a configuration that was moved "
            f"away goes back to /etc/pve/nodes/{memory.node}/",
        )
    if found.untold:
        raise OutOfReach(found.untold, ASK_STATUS)
