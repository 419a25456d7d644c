"""What the recovery of a node, or of a storage, would do, asked of the site before anything happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.inventory.listing import FAILS
from backupsvc.operations.recover.away import node_is_back, untold, users
from backupsvc.operations.recover.memory import named, recall
from backupsvc.operations.recover.steps import freeing
from backupsvc.operations.restore.absence import quorate
from backupsvc.report import what_if
from policies import restore_guard
from policies.i18n import names
from policies.model import Guest
from policies.recover import turns
from policies.recover.plan import Planned, Way, plan
from policies.recover.turns import Seat, seat
from policies.what_if.decide import WhatIf
from policies.what_if.loss import Loss

if TYPE_CHECKING:
    from backupsvc.operations.services import Nodes


_RECENT = 20  # recoveries that are looked at for guests that one of them left


@dataclass(frozen=True, slots=True)
class Ahead:
    """What would be done (``plan``), by what ``found`` says: ``node`` is lost, or ("") ``storage``.
    ``online``: it is there, so that nothing would be; ``to_do`` is what a person has to do, in sentences and
    commands, ``left_over`` says which guests an earlier
    recovery left that are in no list any more; ``now`` in epoch seconds.
    """

    node: str
    found: WhatIf
    plan: tuple[Planned, ...]
    online: bool
    quorate: bool | None
    to_do: tuple[str, ...]
    left_over: tuple[str, ...]
    now: int
    storage: str = ""

    @property
    def lost(self) -> str:
        """What is lost, in words."""
        return named(self.node, self.storage)

    @property
    def well(self) -> bool:
        """Whether every guest of the most urgent tiers has a way back here."""
        good = (Way.RESTORE, Way.HA)
        return not self.found.hidden and all(one.way in good for one in self.plan if one.urgent)


def look_ahead(service: Nodes, node: str, storage: str = "") -> Ahead:
    """Given a node, or ("") a storage, return what its recovery would do now. Raise what
    ``what_if.ask`` raises.
    """
    if storage:
        return _without_storage(service, storage)
    found = what_if.ask(service, Loss(frozenset({node})))
    guests = service.restore_pve.cluster.guests()
    online = node_is_back(service, node)
    # of a node that answers what-if has asked that itself, with how new each replica is
    replicated: dict[int, tuple[str, ...]] | None = {}
    if not online:
        try:
            replicated = service.pve.ha.replicated()
        except FAILS:
            replicated = None
    planned = plan(found, service.policy, guests, node, replicated)
    return _ahead(service, found, planned, guests, node=node, online=online)


def _without_storage(service: Nodes, storage: str) -> Ahead:
    """A storage is lost to the guests on nodes that live and cannot use it; where it is active
    nothing is.
    """
    seen = users(service, storage)
    # what a node does not say it may have (law 4)
    sound = seen.having | seen.silent.keys()
    loss = Loss(storages=frozenset({storage}), sound=sound)
    found = what_if.ask(service, loss)
    guests = service.restore_pve.cluster.guests()
    up = {one.name for one in service.restore_pve.cluster.nodes() if one.online} - sound
    # their nodes live, so that what-if has asked them for their replicas itself
    every = plan(found, service.policy, guests, "", {})
    planned = tuple(one for one in every if one.home in up)
    # of a node that is away nobody knows how its storages are: that is the recovery of a node
    away = sorted({one.home for one in every} - up)
    hidden = [
        f"{one} is away: `backupsvc recover --node {one}` is about its guests" for one in away
    ]
    hidden += untold(storage, seen.silent)
    if not (seen.having or seen.without):
        hidden.append(
            f"no node lists storage {storage}: it is configured no more, or no token has the right to "
            f"see it (Datastore.Audit on /storage/{storage}), and then it may be well"
        )
    found = replace(found, hidden=(*found.hidden, *hidden))
    online = not planned and bool(seen.having) and not seen.silent
    return _ahead(service, found, planned, guests, storage=storage, online=online)


def _ahead(
    service: Nodes,
    found: WhatIf,
    planned: tuple[Planned, ...],
    guests: Sequence[Guest],
    *,
    node: str = "",
    storage: str = "",
    online: bool,
) -> Ahead:
    has_quorum = quorate(service)
    listed = {guest.vmid: guest for guest in guests}
    left = [
        one
        for one in planned
        if one.way is Way.RESTORE and seat(listed.get(one.vmid), one.home) is Seat.LEFT
    ]
    nodes = service.restore_pve.cluster.nodes()
    alive = [one.name for one in nodes if one.online]
    dead = [node] if node else [one.name for one in nodes if not one.online]
    to_do = (*(_quorum(dead, alive) if has_quorum is False else ()), *freeing(left, node))
    return Ahead(
        node,
        found,
        planned,
        online,
        has_quorum,
        to_do,
        _left_over(service, node, storage, planned),
        int(service.clock.now()),
        storage,
    )


def _quorum(dead: list[str], alive: list[str]) -> tuple[str, ...]:
    steps = restore_guard.quorum_steps(alive[0] if alive else "a node that lives", dead)
    return ("the cluster has no quorum, so PVE refuses every restore:", *steps)


def _left_over(
    service: Nodes, node: str, storage: str, planned: tuple[Planned, ...]
) -> tuple[str, ...]:
    """Once its configuration was moved away a guest belongs to no node: the plan that it was in is the
    only one that knows it.
    """
    for operation in service.catalog.operations.find(kind="recover", limit=_RECENT):
        try:
            memory = recall(operation)
        except MemoryUnreadable:
            continue
        if (memory.node, memory.storage) != (node, storage):
            continue
        mine = {one.vmid for one in planned}
        left = [
            vmid
            for vmid in turns.missing(
                (one for one in memory.plan if one.way is Way.RESTORE), memory.ends
            )
            if vmid not in mine and service.restore_pve.cluster.vmid_free(vmid)
        ]
        if left:
            return (
                f"an earlier recovery of {memory.lost} left {names(left)}, which no list has any more: go on "
                f"with that by `backupsvc operations retry {operation.id}`",
            )
        return ()
    return ()
