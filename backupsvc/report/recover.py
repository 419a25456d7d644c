"""What the recovery of a node would do, asked of the site before anything happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.inventory.listing import FAILS
from backupsvc.operations.recover.memory import recall
from backupsvc.operations.recover.steps import is_back
from backupsvc.operations.restore.absence import quorate
from backupsvc.report import what_if
from policies import restore_guard
from policies.i18n import names
from policies.recover import by_hand, turns
from policies.recover.plan import Planned, Way, plan
from policies.recover.turns import Seat, seat
from policies.what_if.decide import WhatIf
from policies.what_if.loss import Loss

if TYPE_CHECKING:
    from backupsvc.operations.services import Nodes


_RECENT = 20  # recoveries that are looked at for guests that one of them left


@dataclass(frozen=True, slots=True)
class Ahead:
    """What would be done (``plan``), by what ``found`` says. ``online``: the node is there, so that
    nothing would be; ``to_do`` is what a person has to do, in sentences and commands, ``left_over`` says which guests an earlier
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

    @property
    def well(self) -> bool:
        """Whether every guest of the most urgent tiers has a way back here."""
        good = (Way.RESTORE, Way.HA)
        return not self.found.hidden and all(one.way in good for one in self.plan if one.urgent)


def look_ahead(service: Nodes, node: str) -> Ahead:
    """Given a node, return what its recovery would do now. Raise what ``what_if.ask`` raises."""
    found = what_if.ask(service, Loss(frozenset({node})))
    guests = service.restore_pve.cluster.guests()
    online, has_quorum = is_back(service, node), quorate(service)
    # of a node that answers what-if has asked that itself, with how new each replica is
    replicated: dict[int, tuple[str, ...]] | None = {}
    if not online:
        try:
            replicated = service.pve.ha.replicated()
        except FAILS:
            replicated = None
    planned = plan(found, service.policy, guests, node, replicated)
    listed = {guest.vmid: guest for guest in guests}
    left = [
        one
        for one in planned
        if one.way is Way.RESTORE and seat(listed.get(one.vmid), node) is Seat.LEFT
    ]
    alive = [one.name for one in service.restore_pve.cluster.nodes() if one.online]
    quorum_steps: tuple[str, ...] = ()
    if has_quorum is False:
        steps = restore_guard.quorum_steps(alive[0] if alive else "a node that lives", [node])
        quorum_steps = ("the cluster has no quorum, so PVE refuses every restore:", *steps)
    to_do = (
        *quorum_steps,
        *by_hand.unmanage((one.vmid, one.type) for one in left if one.managed),
        *by_hand.free(node, ((one.vmid, one.type) for one in left)),
    )
    return Ahead(
        node,
        found,
        planned,
        online,
        has_quorum,
        to_do,
        _left_over(service, node, planned),
        int(service.clock.now()),
    )


def _left_over(service: Nodes, node: str, planned: tuple[Planned, ...]) -> tuple[str, ...]:
    """Once its configuration was moved away a guest belongs to no node: the plan that it was in is the
    only one that knows it.
    """
    for operation in service.catalog.operations.find(kind="recover", limit=_RECENT):
        try:
            memory = recall(operation)
        except MemoryUnreadable:
            continue
        if memory.node != node:
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
                f"an earlier recovery of {node} left {names(left)}, which no list has any more: go on "
                f"with that by `backupsvc operations retry {operation.id}`",
            )
        return ()
    return ()
