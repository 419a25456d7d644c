"""Which of the nodes that are left could run a guest, one guest after the other: what one takes is
no longer there for the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from policies import room
from policies.amounts import apart
from policies.compliance.facts import GuestFacts, SiteFacts
from policies.i18n import names
from policies.model import Storage
from policies.needs import Needs
from policies.what_if.loss import Loss, storages_left, survivors
from policies.what_if.sources import Kind, Source


@dataclass(frozen=True, slots=True)
class Place:
    """Whether a guest could run on a node. ``fits`` None: it is not known. ``storage`` is where its
    disks go, None: each where it was. ``reasons`` speak against it, or say what is not known.
    """

    node: str
    fits: bool | None
    storage: str | None = None
    reasons: tuple[str, ...] = ()


class Spare:
    """What the nodes that are left have to spare; each guest that is placed takes its share."""

    def __init__(self, facts: SiteFacts, loss: Loss) -> None:
        self._bridges: Mapping[str, frozenset[str]] | None = (
            None
            if facts.bridges is None
            else {
                node.name: frozenset(one.name for one in facts.bridges if one.node == node.name)
                for node in facts.nodes
            }
        )
        self._silent, self._site = facts.silent, loss.site
        # PVE tells 0 to a token that may not see a node's memory
        self._memory = {
            node.name: node.max_memory - node.memory if node.max_memory and node.memory else None
            for node in survivors(facts, loss)
        }
        self._cpus = {node.name: node.max_cpu for node in facts.nodes}
        self._storages: dict[str, list[Storage]] = {node: [] for node in self._memory}
        for one in storages_left(facts, loss):
            self._storages[one.node].append(one)

    def best(self, item: GuestFacts, source: Source) -> Place:
        """Given a guest and what it comes back from, return the best node for it: one where it
        fits, else one where that is not known.
        """
        if self._site:
            return Place("", True, None, ("on a cluster that must be set up first",))
        readers = self._memory.keys() if source.nodes is None else source.nodes
        found = [self._look(node, item, source) for node in sorted(readers)]
        # of equals the one with the most memory to spare, so that guests spread over the nodes
        rank = {True: 0, None: 1, False: 2}
        return min(
            found,
            key=lambda one: (rank[one.fits], -(self._memory.get(one.node) or 0), one.node),
            default=Place("", False, None, ("no node that is left can use it",)),
        )

    def take(self, place: Place, item: GuestFacts, source: Source) -> None:
        """Count what a guest takes of the node where it was placed."""
        if self._site:
            return
        free = self._memory[place.node]
        if free is not None:
            self._memory[place.node] = free - _memory(item)
        # its disks are there already, and take no further room
        if item.needs is None or source.kind in (Kind.SHARED, Kind.REPLICA):
            return
        for need in item.needs.restored:
            name, size = place.storage or need.storage, need.needed
            there = next((one for one in self._storages[place.node] if one.name == name), None)
            # a shared storage is one, whichever node looks at it
            for node in self._storages if there and there.shared else (place.node,):
                self._storages[node] = [
                    replace(one, available=max(0, one.available - size))
                    if one.name == name
                    else one
                    for one in self._storages[node]
                ]

    def _look(self, node: str, item: GuestFacts, source: Source) -> Place:
        if node not in self._memory:
            return Place(node, False, None, (f"{node} does not answer",))
        against, unknown = list[str](), list[str]()
        free, needed, needs = self._memory[node], _memory(item), item.needs
        # not known is not none, and speaks against nothing
        if free is None:
            unknown.append(f"{node} does not tell how much memory it has to spare")
        elif free < needed:
            wanted, there = apart(needed, max(free, 0))
            against.append(f"{node} has {there} of memory to spare, {wanted} are needed")
        # what is against it is known all the same, and said; what it needs is not, so nothing
        # speaks for it
        if needs is None:
            unknown.append("its configuration is not known, so what it needs is not")
            return Place(node, False if against else None, None, (*against, *unknown))
        storage = None
        if source.kind in (Kind.ARCHIVE, Kind.COPY):
            storage, no_room, perhaps = self._room(node, needs, source)
            against, unknown = against + no_room, unknown + perhaps
        # a copy must first be brought into a storage, from which PVE can restore it
        size = source.archive.size if source.archive else 0
        if source.kind is Kind.COPY and not any(
            "backup" in one.content and one.available >= size for one in self._storages[node]
        ):
            against.append(f"{node} has no storage with room to bring the copy to")
        no_bridge, perhaps = self._networks(node, needs)
        against, unknown = against + no_bridge, unknown + perhaps
        shared = {one.name for one in self._storages[node] if one.shared}
        if media := [one.volid for one in needs.files if one.storage not in shared]:
            unknown.append(f"whether {names(media)} is on {node} is not known")
        unknown += (*needs.local, *needs.unsure)
        if needs.cpus > (cpus := self._cpus[node]) > 0:
            against.append(f"PVE starts no VM of {needs.cpus} CPUs on {node}: it has {cpus}")
        fits = False if against else None if unknown else True
        return Place(node, fits, storage, (*against, *unknown))

    def _room(
        self, node: str, needs: Needs, source: Source
    ) -> tuple[str | None, list[str], list[str]]:
        """Where on a node the disks go (None: each where it was), what speaks against it, and what
        is not known.
        """
        here = room.for_disks(needs.restored, node, self._storages[node])
        if all(one.there and not one.short for one in here):
            blind = [one.need.storage for one in here if one.free is None]
            unsized = [disk for need in needs.restored for disk in need.unsized]
            perhaps = [f"{node}: how much room {names(blind)} has is not known"] if blind else []
            if unsized:
                perhaps.append(f"how large {names(unsized)} of it is, is not known")
            return None, [], perhaps
        # a restore can put all of its disks on one storage that has the room
        if others := room.roomier(needs.size, node, self._storages[node]):
            return others[0].name, [], []
        missing = [one.need.storage for one in here if not one.there]
        if missing:
            return None, [f"{node} has no storage {names(missing)}, and none with room"], []
        least = source.archive.size if source.archive else 0
        short = next(one for one in here if one.short)
        free, needed = apart(short.free or 0, short.need.needed)
        said = f"{node}: storage {short.need.storage} has {free} free, {needed} are needed"
        # thin disks take what is written, which no archive is larger than
        if short.impossible or (short.free or 0) < least:
            return None, [said], []
        return None, [], [f"{said} once its disks are full"]

    def _networks(self, node: str, needs: Needs) -> tuple[list[str], list[str]]:
        if not needs.bridges:
            return [], []
        if self._bridges is None or node in self._silent:
            return [], [f"{node} does not tell its bridges"]
        missing = [name for name in needs.bridges if name not in self._bridges.get(node, ())]
        # what no node lists may be a VNet, or a bridge that PVE does not show to this token
        anywhere = frozenset[str]().union(*self._bridges.values())
        lacking = [name for name in missing if name in anywhere]
        vnets = [name for name in missing if name not in anywhere]
        return (
            [f"{node} has no bridge {names(lacking)}"] if lacking else [],
            [
                f"whether {node} has {names(vnets)} is not known: no node lists such a bridge to a "
                "token without SDN.Audit on it (/sdn/zones/localnetwork/BRIDGE)"
            ]
            if vnets
            else [],
        )


def _memory(item: GuestFacts) -> int:
    """Bytes that it takes once it runs; one that is stopped takes none."""
    guest = item.guest
    if guest is None or guest.template or guest.status == "stopped":
        return 0
    # of a guest whose node is dead PVE may list none
    return guest.max_memory or (item.needs.memory if item.needs else 0)
