"""What to do next while a guest is moved by HA, from where it is and what was asked.

HA works in rounds and answers nothing: whether it heeds a wish is seen from where the guest is. A
guest that is where nobody of us put it is left there.
"""

from __future__ import annotations

from dataclasses import dataclass

HEEDED = 60.0  # seconds, six rounds of HA, after which a wish that shows no effect was dropped
MOST_ASKED = 2
# HA is at work on it, and it will come to rest elsewhere, or where it was (pve-facts 9.4)
_MOVING = frozenset({"migrate", "relocate"})
_COMING = frozenset({"starting", "request_start", "request_start_balance", "queued", ""})
_LOST = frozenset({"fence", "recovery"})


@dataclass(frozen=True, slots=True)
class Where:
    """Where a guest is: ``node`` by the cluster's list, ``by_ha`` and ``state`` by HA's, None and
    "" where they do not say.
    """

    node: str | None
    by_ha: str | None
    state: str


@dataclass(frozen=True, slots=True)
class Leg:
    """One way of a drill. ``waited``: seconds since HA was asked last, None: not asked yet. ``moved``:
    it was seen under way, or elsewhere, since. ``asked`` counts how often HA was asked.

    ``pending``: seconds since an earlier wish to go elsewhere of which no effect was seen, None
    where there is none: HA may still take it up.
    """

    origin: str
    goal: str
    waited: float | None = None
    moved: bool = False
    asked: int = 0
    pending: float | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask HA to move it to the goal."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again. ``moving``: it is under way. ``lost``: not by this drill, but because its node was
    lost.
    """

    why: str
    moving: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """It is at the goal, at rest."""


@dataclass(frozen=True, slots=True)
class Returned:
    """It went, and is at rest where it was: the move failed, or HA took it back."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """It will not get there, for this reason."""

    why: str


Next = Ask | Wait | Arrived | Returned | Stuck


def following(leg: Leg, where: Where, heeded: float = HEEDED) -> Next:
    """Given one way of a drill, where the guest is now and the seconds after which a wish without
    effect was dropped, return what follows.
    """
    if where.state in _MOVING:
        return Wait(f"HA is at work on it ({where.state})", moving=True)
    if where.state in _LOST:
        return Wait(f"its node was lost meanwhile, and HA recovers it ({where.state})", lost=True)
    if where.state in _COMING or where.node is None:
        return Wait(f"HA is at work on it ({where.state or 'it does not say how'})")
    if where.state != "started":
        return Stuck(f"HA says of it {where.state}, on {where.node}")
    if where.by_ha != where.node:
        return Wait(f"the cluster lists it on {where.node}, HA on {where.by_ha or 'no node'}")
    if where.node == leg.goal:
        if leg.pending is not None and leg.pending < heeded:
            return Wait("HA may still take up what it was asked before")
        return Arrived()
    if where.node != leg.origin:
        return Stuck(f"it is on {where.node}, where this drill did not put it")
    if leg.waited is not None and leg.moved:
        return Returned()
    if leg.waited is not None and leg.waited < heeded:
        return Wait("HA was asked, and has not taken it up yet")
    if leg.asked >= MOST_ASKED:
        return Stuck(f"HA was asked {leg.asked} times, and did not take it up")
    return Ask()


def in_words(where: Where) -> str:
    """Given where a guest is, say it."""
    node = where.node or where.by_ha
    return f"on {node} ({where.state or 'HA says nothing of it'})" if node else "nobody knows where"
