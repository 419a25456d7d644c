"""Each guest under HA: whether it could really move, and whether its backup would follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies import reach
from policies.compliance.objectives import tier_of
from policies.ha import allowed
from policies.ha.answers import Doubt, any_of, every, without
from policies.ha.backups import BackupThere, backup_there, lost_with
from policies.ha.facts import HaFacts, Resource
from policies.ha.lrm import SILENT_AFTER, age_of, lrm_doubt
from policies.ha.places import Place, places
from policies.i18n import duration, names
from policies.model import Policy
from policies.pve import texts

# states in which HA is through with what it did (pve-facts 9.4)
_AT_REST = frozenset(
    {
        "started",
        "starting",
        "stopped",
        "stopping",
        "request_start",
        "request_start_balance",
        "request_stop",
    }
)
# locks that HA takes away from a guest whose node was lost (pve-facts 9.6)
_REMOVED_LOCKS = frozenset({None, "backup", "mounted"})


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """What is said of one resource. ``can_move``: whether HA could start it on at least one other
    node as things are; ``reasons`` why not, or why that cannot be told. ``backup_follows``: whether
    a job would back it up wherever it can move to. ``actions`` would mend what is wrong.
    """

    sid: str
    vmid: int | None
    name: str
    node: str | None
    wanted: str
    state: str
    can_move: bool | None
    reasons: tuple[str, ...]
    places: tuple[Place, ...]
    backup_follows: bool | None
    backups: tuple[BackupThere, ...]
    left_alone: bool = False
    actions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def backup_reasons(self) -> tuple[str, ...]:
        """Why its backup would not follow, or why that cannot be told."""
        return tuple(
            f"{one.node}: {'; '.join(one.reasons)}" for one in self.backups if not one.follows
        )


def resource_status(
    facts: HaFacts, policy: Policy, resource: Resource, blocked: Sequence[Doubt]
) -> ResourceStatus:
    """Given a resource and what keeps HA from moving anything at all, return what is said of it."""
    guest, found = facts.guest_of(resource), places(facts, resource)
    doubts = [*blocked, *_own(facts, resource)]
    somewhere = any_of(one.fits for one in found)
    can_move = every((without(doubts), somewhere))
    reasons = [one.why for one in doubts]
    # where it can go somewhere, what keeps it from other nodes is no reason
    if somewhere is not True:
        reasons += [f"{one.node}: {why}" for one in found for why in one.reasons]
        reasons += [] if found else ["there is no other node"]
    against = [*doubts, *(one for place in found for one in place.doubts if not somewhere)]
    # where it can move to; if that is nowhere, each node that is not known to be off
    fit = [one.node for one in found if one.fits]
    up = [one.node for one in found if facts.down.get(one.node) != reach.OFFLINE]
    vmid = resource.vmid
    backups = tuple(
        backup_there(facts, policy, vmid, node) for node in fit or up if vmid is not None
    )
    home = facts.home_of(resource.sid)
    return ResourceStatus(
        resource.sid,
        vmid,
        guest.name if guest else "",
        home,
        resource.wanted,
        _state(facts, resource),
        can_move,
        tuple(reasons),
        found,
        every(one.follows for one in backups) if backups else None,
        backups,
        resource.left_alone,
        tuple(dict.fromkeys(one.action for one in against if one.action)),
        tuple(_notes(facts, policy, resource, found, home)),
    )


def blockers(facts: HaFacts) -> Iterator[Doubt]:
    """Yield what keeps HA from moving anything."""
    status = facts.status
    if status is None:
        yield Doubt("what HA says of itself could not be read", surely=False)
        return
    if facts.quorate is False:
        yield Doubt("the cluster has no quorum: HA moves nothing")
    elif facts.quorate is None:
        yield Doubt("whether the cluster has quorum is not known", surely=False)
    if status.armed in ("disarmed", "disarming"):
        mode = f" (resources: {status.resource_mode})" if status.resource_mode else ""
        yield Doubt(f"HA is {status.armed}{mode}: it fences, recovers and moves nothing")
    if status.master is None:
        yield Doubt("no node is HA's master: nobody moves anything")
    elif why := master_doubt(facts):
        yield why


def master_doubt(facts: HaFacts) -> Doubt | None:
    """Return why HA's master may not be at work, None if it is, or there is none."""
    status = facts.status
    if status is None or status.master is None:
        return None
    if status.master in facts.down:
        return Doubt(
            f"HA's master {status.master} is {facts.down[status.master]}: whether another node "
            "takes over is not seen yet",
            surely=False,
        )
    if status.master not in {node.name for node in facts.nodes}:
        return Doubt(
            f"HA's master {status.master} is no node that the cluster lists: whether another takes "
            "over is not seen yet",
            surely=False,
        )
    age = age_of(facts, status.master, status.master_stamp)
    if age > SILENT_AFTER if age is not None else texts.CLOCK_OLD.search(status.master_line):
        since = f" for {duration(age, 'en')}" if age is not None else ""
        return Doubt(
            f"HA's master {status.master} has written nothing{since}: whether another node takes "
            "over is not seen yet",
            surely=False,
        )
    return None


def _state(facts: HaFacts, resource: Resource) -> str:
    return facts.status.services.get(resource.sid, "") if facts.status else ""


def _own(facts: HaFacts, resource: Resource) -> Iterator[Doubt]:
    """What keeps HA from moving this one."""
    if resource.left_alone:
        yield Doubt(f"HA is told to leave it alone ({resource.wanted})")
        return
    state = _state(facts, resource)
    if state == "error":
        yield Doubt(
            "HA has given it up (error)",
            action=f"mend what failed, then: ha-manager set {resource.sid} --state disabled, and "
            "started again",
        )
    elif state == "not found":
        yield Doubt("HA finds no such guest", action=f"ha-manager remove {resource.sid}")
    elif state == "freeze":
        yield Doubt("HA has frozen it")
    elif facts.status is not None and state not in _AT_REST:
        yield Doubt(
            f"HA is at work on it ({state})" if state else "HA says nothing of it", surely=False
        )
    guest = facts.guest_of(resource)
    if guest is None and state != "not found":
        yield Doubt(
            "the cluster does not show such a guest: it is gone, or the token lacks VM.Audit on "
            f"/vms/{resource.vmid}",
            surely=False,
        )
    elif guest and guest.lock not in _REMOVED_LOCKS:
        yield Doubt(f"PVE holds it locked ({guest.lock})", surely=False)


def _notes(
    facts: HaFacts, policy: Policy, resource: Resource, found: Sequence[Place], home: str | None
) -> Iterator[str]:
    fit = [one for one in found if one.fits]
    tries = [
        one.node
        for one in found
        if one.node not in facts.down
        and not any(doubt.surely for doubt in allowed.doubts(facts, resource, one.node))
        and not lrm_doubt(facts, one.node)
    ]
    # HA chooses by priority alone, and learns only by failing that a disk is not there
    first = set(allowed.first_choice(facts, resource, tries))
    if fit and (vain := sorted(first - {one.node for one in fit})):
        yield (
            f"HA looks at no disks: it may try {names(vain)} first, where this guest cannot run, and "
            f"gives up after {resource.max_relocate} more; a strict rule would keep it to "
            f"{names([one.node for one in fit])}"
        )
    for one in fit:
        limit = tier_of(policy, resource.vmid).rpo if resource.vmid is not None else None
        if one.replica_age is not None:
            old = limit is not None and one.replica_age > limit
            more = f", more than its RPO of {duration(limit or 0, 'en')}" if old else ""
            yield f"on {one.node} it would begin with data of {duration(one.replica_age, 'en')} ago{more}"
    if resource.vmid is not None and home and (lost := lost_with(facts, resource.vmid, home)):
        yield (
            f"all {lost} of its archives lie on {home}, where it runs: a restore could not follow it "
            "(backupsvc copy run)"
        )
