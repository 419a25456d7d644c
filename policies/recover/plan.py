"""What the recovery of a node will do, guest by guest, as a person is shown it before anything
happens. Made once, of what ``what-if`` says: whatever comes later, nothing else is restored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from policies import runbook
from policies.compliance.objectives import tier_of
from policies.model import Guest, GuestType, Policy
from policies.recover import by_hand
from policies.what_if.decide import GuestAfter, WhatIf
from policies.what_if.sources import Kind

# what HA is told to leave alone it moves nowhere
_LEFT_ALONE = frozenset({"ignored", "disabled"})


class Way(StrEnum):
    """How a guest comes back. HA: high availability moves it by itself. BY_HAND: a person must do
    what PVE has no call for. NO_PLACE: something is left of it, and no node can take it. LOST:
    nothing is left.
    """

    RESTORE = "restore"
    HA = "ha"
    BY_HAND = "by-hand"
    NO_PLACE = "no-place"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Planned:
    """One guest of the lost node, in the order of the plan. ``source`` says in words what it comes
    back from, ``at`` how new its data are (epoch seconds, None: there are none), ``seconds`` how
    long its return was measured to take (None: it was not).

    ``target`` is the node where to, ``storage`` takes all disks (None: each goes to where it was).
    ``urgent``: it is of the tiers with the shortest RTO. ``after`` are the guests of its tier that
    start before it, ``managed``: HA manages it, ``home`` the node that has its configuration ("": the
    lost one). ``commands`` are for a person, ``reasons`` what else
    is to be known.
    """

    vmid: int
    name: str
    tier: str
    urgent: bool
    way: Way
    type: GuestType = GuestType.QEMU
    source: str = ""
    at: int | None = None
    volid: str | None = None
    proven: bool = False
    target: str | None = None
    storage: str | None = None
    seconds: float | None = None
    after: tuple[int, ...] = ()
    managed: bool = False
    home: str = ""
    commands: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def plan(
    found: WhatIf,
    policy: Policy,
    guests: Iterable[Guest],
    node: str,
    replicated: Mapping[int, tuple[str, ...]] | None,
) -> tuple[Planned, ...]:
    """Given what ``what-if`` says of the loss of a node, the guests as the cluster lists them, and
    the nodes to which each is replicated (None: not known), return the plan: the most urgent guest
    first. ``node`` is "" where a storage is lost, and every node lives.
    """
    listed = {guest.vmid: guest for guest in guests}
    lost = [
        _with_replica(_planned(found, one, policy, listed.get(one.vmid), node), node, replicated)
        for one in found.guests
    ]
    vmids = {one.vmid for one in lost}
    left = [
        _given_up(found, policy, guest, node)
        for guest in listed.values()
        if node
        and guest.ha_state == "error"
        and guest.vmid not in vmids
        and guest.node != node
        and guest.status != "running"
    ]
    # what HA gave up stands behind the others of its urgency: it needs a person, they do not
    return tuple(sorted([*lost, *left], key=lambda one: _urgency(policy, one.vmid)))


def _urgency(policy: Policy, vmid: int) -> tuple[int, int]:
    tier = tier_of(policy, vmid)
    return tier.rto, tier.rpo


def _given_up(found: WhatIf, policy: Policy, guest: Guest, node: str) -> Planned:
    """A guest that HA has on a node that lives, and gave up: it is in the list of no lost node any
    more. Its configuration is there, so nothing is restored over it (law 1).
    """
    tier = tier_of(policy, guest.vmid).name
    return Planned(
        guest.vmid,
        guest.name,
        tier,
        tier in found.critical,
        Way.BY_HAND,
        guest.type,
        f"what HA has in state error on {guest.node}",
        target=guest.node,
        managed=True,
        commands=by_hand.out_of_error(guest.vmid, guest.type, node, guest.node),
        reasons=(
            f"HA gave it up on {guest.node}: if it was on {node}, HA moved its configuration and could "
            "not start it, most likely because its disks are not there",
        ),
    )


def _with_replica(
    one: Planned, node: str, replicated: Mapping[int, tuple[str, ...]] | None
) -> Planned:
    """A dead node cannot tell how new the replicas of its guests are, so ``what-if`` counts none of
    them; whether there is one matters all the same.
    """
    if one.way in (Way.HA, Way.BY_HAND):
        return one
    if replicated is None:
        unknown = "whether it is replicated could not be read: if it is, leave it to HA"
        return replace(one, reasons=(*one.reasons, unknown)) if one.managed else one
    if not (targets := replicated.get(one.vmid)):
        return one
    source = f"replica on {' or '.join(targets)}, of which only {node} tells how new it is"
    if one.managed:
        return replace(one, way=Way.HA, source=source, at=None, volid=None, proven=False)
    commands = by_hand.move_and_start(one.vmid, one.type, node, targets[0])
    if one.way is Way.LOST:
        return replace(one, way=Way.BY_HAND, source=source, commands=commands)
    instead = f"a {source}; to start from that instead: {'; '.join(commands)}"
    return replace(one, reasons=(*one.reasons, instead))


def _planned(
    found: WhatIf, one: GuestAfter, policy: Policy, guest: Guest | None, node: str
) -> Planned:
    source, type = one.source, guest.type if guest else GuestType.QEMU
    managed = bool(guest and guest.ha_state and guest.ha_state not in _LEFT_ALONE)
    # HA moves the guests of a node that is lost; a storage it does not look at (pve-facts 9.6)
    way, commands = _way(one, moved=managed and bool(node)), tuple[str, ...]()
    home = node or one.node or ""
    if way is Way.BY_HAND and source and source.kind is Kind.COPY:
        commands = tuple(runbook.fetch(policy, one.vmid, type, source))
        if not node:  # under a VMID that is taken PVE restores nothing
            commands = (*by_hand.free(home, [(one.vmid, type)]), *commands)
    elif way is Way.RESTORE and type is GuestType.LXC and source and source.archive:
        way = Way.BY_HAND
        commands = by_hand.restore_container(one.vmid, home, source.archive.volid, one.storage)
    elif way is Way.BY_HAND:
        commands = by_hand.move_and_start(one.vmid, type, home, one.target or "")
    if commands and not node:
        ended = by_hand.end_at_home(one.vmid, type, home, managed=managed)
        commands = (*ended, f"# on {one.target}:", *commands)
    return Planned(
        one.vmid,
        one.name,
        one.tier,
        one.tier in found.critical,
        way,
        type,
        f"{source.kind}, {source.place}" if source else "",
        source.at if source else None,
        source.archive.volid if source and source.archive else None,
        bool(source and source.proof),
        one.target,
        one.storage,
        one.rto,
        tuple(
            other.vmid
            for other in found.guests
            # in PVE's start order what has no place in it comes last
            if other.tier == one.tier
            and other.order is not None
            and (one.order is None or other.order < one.order)
        ),
        managed,
        home,
        commands,
        (*one.reasons, *one.notes),
    )


def _way(one: GuestAfter, *, moved: bool) -> Way:
    if one.source is None:
        return Way.LOST
    # whether it surely fits nobody may know: PVE and the restore's own questions will tell
    if one.recoverable is False or one.target is None:
        return Way.NO_PLACE
    if one.source.kind is Kind.ARCHIVE:
        return Way.RESTORE
    return Way.HA if moved and one.source.kind is not Kind.COPY else Way.BY_HAND
