"""Decide what could be brought back tonight after a loss, guest by guest, and how long it would
take.

Only what is seen counts: a source that cannot be listed now, a node that does not answer and a need
that is not known are said to be so, and never taken for good.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from policies.compliance.facts import GuestFacts, SiteFacts
from policies.compliance.objectives import tier_of
from policies.ha.facts import Replica
from policies.i18n import duration
from policies.model import Policy, Proof, Rehearsal, Tier
from policies.pve.privileges import privileges
from policies.valid_proofs import good
from policies.what_if.loss import Loss, QuorumAfter, gaps_that_hide, quorum_after
from policies.what_if.places import Spare
from policies.what_if.sources import Kind, Source, sources

_LAST = 1 << 31  # in the start order: a guest without a place in it


@dataclass(frozen=True, slots=True)
class GuestAfter:
    """What becomes of one guest that is lost. ``source`` None: nothing is left of it.

    ``age`` in seconds: how old the data are that it comes back with. ``recoverable`` None: it is
    not known. ``rto`` in seconds, by measured restore tests, None where nothing was measured.
    ``order`` is its place in PVE's start order, None: it has none.
    """

    vmid: int
    name: str
    tier: str
    node: str | None
    source: Source | None
    age: int | None
    target: str | None
    storage: str | None
    recoverable: bool | None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rto: float | None = None
    order: int | None = None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The answer. ``guests`` are those that are lost, in the order in which to bring them back.

    ``serial`` and ``parallel`` are the seconds that it takes to bring back what can be, or may be,
    brought back, one after the other, or one at a time on each node; without ``unmeasured``, whose
    restores were never measured. ``critical`` are the tiers with the shortest RTO. ``exposed`` are guests that
    live on without any backup; ``hidden`` says why there may be guests among the lost that are not
    told here, ``unseen`` what else could not be looked at.
    """

    loss: Loss
    quorum: QuorumAfter
    guests: tuple[GuestAfter, ...]
    serial: float
    parallel: float
    unmeasured: tuple[int, ...]
    critical: tuple[str, ...]
    exposed: tuple[int, ...] = ()
    hidden: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether every guest of the most urgent tiers can be brought back, as far as can be seen;
        what is not known is not well.
        """
        return not self.hidden and all(
            one.recoverable for one in self.guests if one.tier in self.critical
        )


def decide(
    facts: SiteFacts,
    policy: Policy,
    replicas: Iterable[Replica],
    loss: Loss,
    now: int,
) -> WhatIf:
    """Given what is known of the site, the replicas of disks, what is lost and the time, return what
    could be brought back.
    """
    copied: dict[int, list[Replica]] = defaultdict(list)
    for replica in replicas:
        copied[replica.vmid].append(replica)
    spare = Spare(facts, loss)
    found, exposed = [], []
    # the most urgent ones choose first: what they take is not there for the others
    for item in sorted(facts.guests, key=lambda one: urgency(policy, one)):
        tier = tier_of(policy, item.vmid)
        if _is_lost(facts, item, loss):
            left = sources(facts, policy, item, copied[item.vmid], loss, tier.proof_rung)
            found.append(_after(item, tier, left, spare, facts.rehearsals, now))
        # an archive that is only out of reach now is not lost
        elif item.known and all(loss.archive(one) for one in item.known):
            left = sources(facts, policy, item, (), loss, tier.proof_rung)
            if not any(one.kind in (Kind.ARCHIVE, Kind.COPY) for one in left):
                exposed.append(item.vmid)
    back = [one for one in found if one.recoverable is not False]
    seconds: dict[str, float] = defaultdict(float)
    for one in back:
        # a node restores one guest at a time, nodes beside one another
        seconds[one.target or ""] += one.rto or 0.0
    simulated = ("the cluster is simulated: nothing there proves anything",)
    return WhatIf(
        loss,
        quorum_after(facts, loss),
        tuple(found),
        round(sum(seconds.values()), 3),
        round(max(seconds.values(), default=0.0), 3),
        tuple(one.vmid for one in back if one.rto is None),
        critical_tiers(policy),
        tuple(sorted(exposed)),
        tuple(_hidden(facts, policy, loss)),
        (*(simulated if facts.simulated else ()), *gaps_that_hide(facts)),
    )


def critical_tiers(policy: Policy) -> tuple[str, ...]:
    """Given a policy, return its most urgent tiers: those with the shortest RTO."""
    # also tiers that no guest is in: the policy says what is urgent, not who is there
    shortest = min(tier.rto for tier in policy.tiers.values())
    return tuple(name for name, tier in policy.tiers.items() if tier.rto == shortest)


def urgency(policy: Policy, item: GuestFacts) -> tuple[int, ...]:
    """Given a guest, return what sorts it among others that are to be brought back: by its tier's
    objectives, then in the start order that PVE itself would keep.
    """
    tier = tier_of(policy, item.vmid)
    order = item.needs.order if item.needs and item.needs.order is not None else _LAST
    return tier.rto, tier.rpo, order, item.vmid


def _is_lost(facts: SiteFacts, item: GuestFacts, loss: Loss) -> bool:
    """Whether the guest is gone with its node, or with one of its disks."""
    if item.guest is None:  # it is not there to be lost, and a site without it starts without it
        return False
    if loss.node(item.guest.node):
        return True
    shared = {one.name for one in facts.storages if one.shared}
    return item.needs is not None and any(
        loss.storage(name, item.guest.node, shared=name in shared) for name in item.needs.storages
    )


def _after(
    item: GuestFacts,
    tier: Tier,
    left: Sequence[Source],
    spare: Spare,
    rehearsals: Collection[Rehearsal],
    now: int,
) -> GuestAfter:
    home = item.guest.node if item.guest else None
    order = item.needs.order if item.needs else None
    after = GuestAfter(
        item.vmid, item.name, tier.name, home, None, None, None, None, False, order=order
    )
    if not left:
        why = "it has no archive at all"
        if item.known:
            why = "all of its archives are lost with it, and there is no copy elsewhere"
        elif item.unreachable:
            why = "what is known of its archives is out of reach"
        return replace(after, reasons=(why,))
    places = [(source, spare.best(item, source)) for source in left]
    # the best that surely fits; what only may fit is next, before what surely does not
    source, place = next(
        (pair for wanted in (True, None) for pair in places if pair[1].fits is wanted), places[0]
    )
    # what it takes is gone for the guests that come after it
    if place.fits is not False:
        spare.take(place, item, source)
    worth = ["never proven"] if source.kind in (Kind.ARCHIVE, Kind.COPY) else []
    if source.proof:
        worth = [f"proven {duration(max(0, now - source.proof.ended), 'en')} ago"]
    passed = [
        f"{other.kind} at {other.place} was passed over: {'; '.join(there.reasons)}"
        for other, there in places[: [one for one, _ in places].index(source)]
    ]
    return replace(
        after,
        source=source,
        age=max(0, now - source.at),
        target=place.node or None,
        storage=place.storage,
        recoverable=place.fits,
        reasons=(*place.reasons, *passed),
        notes=(*worth, *source.notes),
        rto=_seconds(item, tier, source, rehearsals),
    )


def _seconds(
    item: GuestFacts, tier: Tier, source: Source, rehearsals: Collection[Rehearsal]
) -> float | None:
    """By the guest's latest good restore test; disks that are there need not be restored, and a
    copy must be brought first, as fast as one was brought last.
    """
    latest = measured(item, tier)
    if latest is None or latest.rto is None:
        return None
    if source.kind in (Kind.SHARED, Kind.REPLICA):
        restoring = sum(stage.seconds for stage in latest.stages if stage.name == "restore")
        return round(max(0.0, latest.rto - restoring), 3)
    if source.kind is Kind.ARCHIVE:
        return latest.rto
    target = source.copy.route.target if source.copy else None
    last = max(
        (one for one in rehearsals if one.target == target and one.seconds > 0),
        key=lambda one: one.at,
        default=None,
    )
    # nobody has measured how fast a copy comes back from there: then no time is told
    if last is None or source.archive is None or not last.size:
        return None
    return round(latest.rto + source.archive.size * last.seconds / last.size, 3)


def measured(item: GuestFacts, tier: Tier) -> Proof | None:
    """Given a guest and its tier, return its latest good restore test whose return was timed, None if
    there is none.
    """
    timed = (one for one in item.proofs if one.rto is not None and good(one, tier.proof_rung))
    return max(timed, key=lambda one: one.ended, default=None)


def _hidden(facts: SiteFacts, policy: Policy, loss: Loss) -> Iterator[str]:
    """PVE leaves out of its list what the token may not see, and of a guest whose disks are not known
    it is not known whether a storage takes it along.
    """
    if facts.permissions is None:
        yield "the token's rights could not be read, so there may be guests that it does not see"
    elif "VM.Audit" not in privileges(facts.permissions, "/vms"):
        yield "the token lacks VM.Audit on /vms, so there may be guests that it does not see"
    urgent = critical_tiers(policy)
    blind = [
        str(item.vmid)
        for item in facts.guests
        if loss.storages
        and item.guest
        and item.needs is None
        and not loss.node(item.guest.node)
        and not item.guest.template
        and tier_of(policy, item.vmid).name in urgent
    ]
    if blind:
        yield f"whether disks of guest {', '.join(blind)} lie on what is lost is not known"
