"""Decide whether something may be done to guests that, if it goes wrong, only their backups mend:
an upgrade, a migration, a deletion.

The gate is open only for guests of which a restore was proven lately, of data as young as that, and
while nothing works on them. What cannot be told keeps it shut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from policies import reach
from policies.compliance.facts import (
    GuestFacts,
    SiteFacts,
    failed_since,
    newest_proof,
    once_proven,
    proven,
    usable,
)
from policies.compliance.objectives import tier_of
from policies.i18n import duration, names
from policies.model import GuestType, Policy, Proof
from policies.pve.privileges import privileges

SIMULATED = "the cluster is simulated: nothing there proves anything"


@dataclass(frozen=True, slots=True)
class AtWork:
    """What works now, in words. ``vmid`` None: on all guests, or nobody can tell on which; ``node``
    None: not known.
    """

    what: str
    vmid: int | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: these guests, and all that are on these nodes; all of the site if neither is
    named. ``within``: seconds that a proof may be old, None: as old as the guest's tier lets it be.
    """

    vmids: Collection[int] = ()
    nodes: Collection[str] = ()
    within: int | None = None

    @property
    def whole_site(self) -> bool:
        """Whether no guest and no node is named."""
        return not self.vmids and not self.nodes


@dataclass(frozen=True, slots=True)
class GuestGate:
    """What is said of one guest. ``proven_ago``: seconds since its last proof that stands, ``data``:
    how old the backup is that was proven; None where there is none.

    ``reasons`` say why it is not ``ok``; ``notes`` what to know all the same.
    """

    vmid: int
    name: str
    node: str | None
    proven_ago: int | None
    data: int | None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Gate:
    """The answer. ``at_work`` is what works on the guests or the nodes that were asked for,
    ``unseen`` why there may be guests among them that nobody sees.
    """

    guests: tuple[GuestGate, ...]
    at_work: tuple[AtWork, ...]
    unseen: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether all is proven and nothing is at work. Of no guest at all nothing is proven."""
        shut = self.at_work or self.unseen or not self.guests
        return not shut and all(one.ok for one in self.guests)


def decide(
    facts: SiteFacts, policy: Policy, working: Sequence[AtWork], asked: Asked, now: int
) -> Gate:
    """Given what is known of the site, what works there now, what is asked and the time, return
    whether the gate is open, guest by guest.

    A template has no data of its own and a scratch copy is no guest: they are told of only when
    they are named.
    """
    known = {item.vmid: item for item in facts.guests}
    wanted = set(asked.vmids) | {
        item.vmid
        for item in facts.guests
        if (asked.whole_site or (item.guest and item.guest.node in asked.nodes))
        and not (item.guest and item.guest.template)
    }
    busy = tuple(
        work
        for work in working
        if work.vmid is None or work.vmid in wanted or asked.whole_site or work.node in asked.nodes
    )
    guests = []
    for vmid in sorted(wanted):
        if item := known.get(vmid):
            guests.append(_guest(facts, policy, item, busy, asked, now))
            continue
        why = (
            "it is a scratch VMID: what is there is a copy, and no guest"
            if vmid in policy.scratch
            else "neither the cluster nor the policy knows a guest of that VMID"
        )
        guests.append(GuestGate(vmid, "", None, None, None, (why,)))
    held, unseen = facts.permissions, ""
    # PVE leaves out of its list, without a word, what the token may not see
    if held is None:
        unseen = "the token's rights could not be read, so there may be guests that it does not see"
    else:
        paths = {"/vms", *(path for path in held if path.startswith("/vms/"))}
        if blind := sorted(path for path in paths if "VM.Audit" not in privileges(held, path)):
            unseen = (
                f"the token may not see every guest (it lacks VM.Audit on {names(blind)}), so there "
                "may be more than these"
            )
    # whoever names guests alone has named them all
    named = not (asked.nodes or asked.whole_site)
    return Gate(tuple(guests), busy, (unseen,) if unseen and not named else ())


def _guest(
    facts: SiteFacts,
    policy: Policy,
    item: GuestFacts,
    busy: Sequence[AtWork],
    asked: Asked,
    now: int,
) -> GuestGate:
    tier = tier_of(policy, item.vmid)
    limit = tier.proof_age if asked.within is None else asked.within
    standing = proven(facts, item, tier.proof_rung)
    last = max(standing, key=lambda proof: proof.ended, default=None)
    # of what was proven lately one would go back to the youngest data
    fresh = [one for one in standing if now - one.ended <= limit]
    best = max(fresh, key=lambda proof: proof.archive_ctime, default=last)
    reasons = (
        *_presence(facts, item),
        *_against_proofs(facts, policy, item, last, best, limit, now),
        *(work.what for work in busy if work.vmid in (None, item.vmid)),
    )
    notes: list[str] = []
    if best and item.guest:
        of_that = [one for one in item.held if one.ctime == best.archive_ctime]
        places = sorted({where for found in item.places(of_that).values() for where in found})
        # it is lost together with the guest's node
        if places == [item.guest.node]:
            notes.append(f"what was proven of it lies on {names(places)} alone, where the guest is")
    return GuestGate(
        item.vmid,
        item.name,
        item.guest.node if item.guest else None,
        max(0, now - last.ended) if last else None,
        max(0, now - best.archive_ctime) if best else None,
        reasons,
        tuple(notes),
    )


def _presence(facts: SiteFacts, item: GuestFacts) -> Iterator[str]:
    if item.guest is None:
        yield "the cluster does not list it"
        return
    if item.guest.template:
        yield "it is a template, of which no restore is tested"
    down = reach.down(facts.nodes, facts.silent)
    if item.guest.node in down:
        yield f"its node {item.guest.node} is {down[item.guest.node]}: what it does is not known"
    # who cannot see whose config it is would take a reused VMID for the guest of before (law 10)
    elif item.machine is None and item.guest.type is GuestType.QEMU and not item.guest.template:
        yield "its configuration cannot be read, so whose the archives are is not known"
    if item.guest.lock:
        yield f"PVE holds it locked ({item.guest.lock})"


def _against_proofs(
    facts: SiteFacts,
    policy: Policy,
    item: GuestFacts,
    last: Proof | None,
    best: Proof | None,
    limit: int,
    now: int,
) -> Iterator[str]:
    """Why no proof of it stands, or what speaks against the last and the best of those that do."""
    if last and best:
        if max(last.ended, best.archive_ctime) > now + policy.max_clock_drift:
            yield "its last proof is dated in the future: a clock is wrong"
        ago, data = now - last.ended, now - best.archive_ctime
        if ago > limit:
            yield f"last proven {duration(ago, 'en')} ago, more than {duration(limit, 'en')}"
        elif data > limit:
            yield (
                f"what was proven is a backup of {duration(data, 'en')} ago, older than "
                f"{duration(limit, 'en')}"
            )
        if failed := failed_since(item, last):
            why = failed.reasons[0] if failed.reasons else "no reason was recorded"
            yield f"a restore test of a backup at least as new failed since: {why}"
    elif facts.simulated:
        yield SIMULATED
    elif not item.held and item.known:
        yield "its archives are out of reach: whether a proven one is among them is not known"
    elif not item.held and usable(item.archives + item.unreachable):
        yield "the archives under its VMID are of another machine"
    elif once_proven(facts, item, tier_of(policy, item.vmid).proof_rung):
        yield "what was proven of it is gone, out of reach, changed or has failed since"
    elif (latest := newest_proof(item)) is None:
        yield "no restore of it was ever tested"
    else:
        why = f": {latest.reasons[0]}" if latest.reasons else ""
        yield f"never proven; the latest restore test ended {latest.verdict}{why}"
