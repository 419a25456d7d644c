"""Whose turn it is in the recovery of a node, and how each guest ends. Every guest ends once, with
one outcome; none is restored twice, and none that is not in the plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from policies.i18n import names
from policies.model import Guest
from policies.recover import by_hand
from policies.recover.plan import Planned, Way
from policies.restore_verdict import WELL, Health

HA_WAIT = 600.0  # seconds; HA needs two to three minutes after the loss (pve-facts 9.5)
_RETURNS = (Way.RESTORE, Way.HA)  # what comes back while the recovery is at work


class Outcome(StrEnum):
    """How a guest ended. NOT_DONE: nothing was begun. BY_HAND: it is left to a person."""

    BACK = "back"
    FAILED = "failed"
    NOT_DONE = "not-done"
    BY_HAND = "by-hand"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Ended:
    """How one guest ended, at ``at`` (epoch seconds). ``why`` and ``hint`` are a sentence and the next
    action; ``seconds`` is how long its return took, where that was seen; ``health`` how it fares by
    its checks, None where it was not asked here.
    """

    vmid: int
    outcome: Outcome
    at: int
    why: str = ""
    hint: str = ""
    node: str | None = None
    seconds: float | None = None
    health: Health | None = None


class Seat(StrEnum):
    """What the cluster's configuration has under a guest's VMID. FREE: nothing that is seen. LEFT:
    what the lost node left. RUNS, EXISTS: a guest on another node, running or not.
    """

    FREE = "free"
    LEFT = "left"
    RUNS = "runs"
    EXISTS = "exists"


def seat(guest: Guest | None, node: str) -> Seat:
    """Given a guest as the cluster lists it (None: it does not) and the lost node, return what is
    under its VMID.
    """
    if guest is None:
        return Seat.FREE
    if guest.node == node:
        return Seat.LEFT
    return Seat.RUNS if guest.status == "running" else Seat.EXISTS


def next_up(
    plan: Sequence[Planned],
    begun: Collection[int],
    ended: Collection[int],
    held: Collection[int] = (),
    started: Collection[int] = (),
    *,
    alone: bool = False,
) -> Planned | None:
    """Given the plan, the guests whose restore was begun, those that have ended, those that cannot be
    begun now, and those that were restored and started and are only asked by their checks, return
    the guest to begin next, None if there is none.

    In the plan's order, one at a time on each node (``alone``: one at all). A guest waits until
    those that start before it have ended, however they did: one that failed, or is held back, keeps
    none of the others away.
    """
    running = [one for one in plan if one.vmid in begun and one.vmid not in ended]
    if alone and running:
        return None
    busy = {one.target for one in running if one.vmid not in started}
    # what HA moves comes in HA's own time: nothing waits for that
    waiting = [one for one in plan if one.way is Way.RESTORE and one.vmid not in {*ended, *held}]
    unended = {one.vmid for one in waiting}
    return next(
        (
            one
            for one in waiting
            if one.vmid not in begun and one.target not in busy and unended.isdisjoint(one.after)
        ),
        None,
    )


def seen(
    one: Planned, guest: Guest | None, node: str, at: int, without: Collection[str] = ()
) -> Ended | None:
    """Given a guest that is not restored here, or not yet, and how the cluster lists it, return its
    end if it runs on another node by now: HA did that, or somebody. On a node ``without`` the storage
    that is lost too it is not back.
    """
    if guest is None or guest.node in without or seat(guest, node) is not Seat.RUNS:
        return None
    who = "HA brought it back" if one.managed else "somebody brought it back meanwhile"
    return Ended(one.vmid, Outcome.BACK, at, who, node=guest.node)


def given_up(one: Planned, guest: Guest | None, node: str, waited: float, at: int) -> Ended | None:
    """Given a guest that HA moves away from a node, and how long it was waited for (seconds), return its end when HA
    gave it up, or did nothing for too long; None while it may still come.
    """
    state = guest.ha_state if guest else None
    if state != "error" and waited < HA_WAIT:
        return None
    where = f" on {guest.node}" if guest else ""
    hint = "see `ha-manager status`, and `backupsvc ha status`"
    if state == "error" and guest is not None and guest.node != node:
        hint = "; ".join(by_hand.out_of_error(one.vmid, one.type, node, guest.node))
    return Ended(
        one.vmid,
        Outcome.NOT_DONE,
        at,
        f"it is left to HA, and is in state {state or 'unknown'}{where}",
        hint,
    )


def unrestored(one: Planned, at: int) -> Ended:
    """Given a guest that no restore brings back here, return its end."""
    if one.way is Way.LOST:
        return Ended(one.vmid, Outcome.LOST, at, "; ".join(one.reasons))
    if one.way is Way.NO_PLACE:
        return Ended(one.vmid, Outcome.NOT_DONE, at, "; ".join(one.reasons))
    return Ended(
        one.vmid,
        Outcome.BY_HAND,
        at,
        f"it comes back by hand, from {one.source}",
    )


def cut_short(
    plan: Sequence[Planned], begun: Collection[int], ended: Collection[int], why: str, at: int
) -> tuple[Ended, ...]:
    """Given why a recovery goes no further, return the ends of the guests that it did not come to."""
    return tuple(
        unrestored(one, at)
        if one.way not in _RETURNS
        else Ended(one.vmid, Outcome.NOT_DONE, at, why)
        for one in plan
        if one.vmid not in begun and one.vmid not in ended
    )


def first_missing(one: Planned, ended: Mapping[int, Ended]) -> str:
    """Given a guest that is back, return a sentence on those that start before it and are not, ""
    if there are none.
    """
    missing = [
        vmid for vmid in one.after if vmid in ended and ended[vmid].outcome is not Outcome.BACK
    ]
    return f"{names(missing)}, which it starts after, is not back" if missing else ""


def missing(plan: Iterable[Planned], ended: Mapping[int, Ended]) -> tuple[int, ...]:
    """Given the plan and how its guests ended, return those that are not back."""
    return tuple(
        one.vmid
        for one in plan
        if one.vmid not in ended or ended[one.vmid].outcome is not Outcome.BACK
    )


def well(plan: Iterable[Planned], ended: Mapping[int, Ended]) -> bool:
    """Given the plan and how its guests ended, return whether all of the most urgent tiers are back,
    and none of them by its checks anything but well: what could not be asked is not.
    """
    return all(
        one.vmid in ended
        and ended[one.vmid].outcome is Outcome.BACK
        and ended[one.vmid].health in WELL
        for one in plan
        if one.urgent
    )
