"""Whether a guest under HA may be moved for an exercise now, and where to.

Nothing is done to production that its backup could not mend, and what is not known counts as a no:
the guest's restore is proven, its window is open, no vote is missing, the other node could really
take it, and somebody here hears its service, else nothing could be measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from policies import windows
from policies.compliance.evaluation import exemption_for
from policies.gate import SIMULATED, GuestGate
from policies.guest_policy import policy_for
from policies.ha import allowed
from policies.ha.facts import HaFacts, Resource
from policies.ha.resources import ResourceStatus, blockers, resource_status
from policies.ha.status import quorum_status
from policies.i18n import duration, moment, names
from policies.jobs import jobs_for
from policies.model import CheckSpec, Finding, Policy, Severity
from policies.pve import calendar_event, guest_config

MARGIN = 900  # seconds that must be left of the window, and until the guest's next backup
PRIVILEGE = (
    "Sys.Console"  # on /, which PVE asks of whoever asks HA to move something (pve-facts 9.10)
)
MIGRATE, RELOCATE = "migrate", "relocate"
# the first that a guest has is asked; SSH servers ban or throttle who knocks too often, so that of
# ssh only the port is
_ASKED = ("http", "ldap", "tcp", "ssh")
_USUAL_PORT = 22


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks: this guest, to this node (None: one that fits), stopped and started
    (``relocate``) or kept running.
    """

    vmid: int
    to: str | None = None
    relocate: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard from outside before: ``answers`` of ``asked`` questions were answered well,
    else ``detail`` says what came. ``mac`` is the hardware address behind the guest's address, None
    where this machine does not see it: behind a router, or not asked.
    """

    asked: int = 0
    answers: int = 0
    detail: str = ""
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen. ``gate`` None: nobody could say whether the guest's restore is proven.
    ``may``: whether the token holds the privilege, None: not known.
    """

    ha: HaFacts
    gate: GuestGate | None
    simulated: bool
    may: bool | None
    heard: Heard
    now: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, and all that keeps it from being done (``blockers``)."""

    vmid: int
    name: str
    sid: str
    home: str | None
    target: str | None
    how: str
    check: CheckSpec | None
    address: str | None
    blockers: tuple[str, ...]
    notes: tuple[str, ...] = ()
    simulated: bool = False


def question(policy: Policy, vmid: int) -> tuple[CheckSpec | None, str | None]:
    """Given a guest, return what its service is asked from outside, ten times a second, and at
    which address; None where the policy names none.
    """
    wanted = policy_for(policy, vmid, "")
    by_kind = {check.kind: check for check in reversed(wanted.checks)}
    check = next((by_kind[kind] for kind in _ASKED if kind in by_kind), None)
    if check is not None and check.kind == "ssh":
        port = check.options.get("port", _USUAL_PORT)
        check = replace(check, kind="tcp", options={"port": port})
    return (check if wanted.address else None), wanted.address


def decide(seen: Seen, policy: Policy, asked: Asked) -> Plan:
    """Given what was seen, the policy and what is asked, return the plan."""
    check, address = question(policy, asked.vmid)
    how = RELOCATE if asked.relocate else MIGRATE
    known = seen.ha.by_vmid.get(asked.vmid)
    name = known.name if known else policy_for(policy, asked.vmid, "").name
    resource = next((one for one in seen.ha.resources if one.vmid == asked.vmid), None)
    if resource is None:
        why = f"guest {asked.vmid} is not under HA: there is nothing to exercise"
        return Plan(
            asked.vmid, name, "", None, None, how, check, address, (why,), (), seen.simulated
        )
    found = resource_status(seen.ha, policy, resource, tuple(blockers(seen.ha)))
    target, unfit = _target(seen.ha, resource, found, asked.to)
    stops = [
        *_guest(seen.ha, resource, found),
        *unfit,
        *_votes(seen.ha, policy),
        *_proof(seen),
        *hours(policy, asked.vmid, seen.now),
        *_right(seen.may),
        *_outside(seen, asked.vmid, check, address),
    ]
    return Plan(
        asked.vmid,
        name,
        resource.sid,
        found.node,
        target,
        how,
        check,
        address,
        tuple(dict.fromkeys(stops)),
        tuple(_notes(seen, policy, resource, found, target, how)),
        seen.simulated,
    )


def _guest(facts: HaFacts, resource: Resource, found: ResourceStatus) -> Iterator[str]:
    if found.can_move is not True:
        yield from found.reasons
    if resource.left_alone:
        return
    if resource.wanted not in ("started", "enabled"):
        yield f"HA keeps it {resource.wanted}: there is no service to listen to"
    elif found.state != "started":
        yield f"HA says of it {found.state or 'nothing'}: only what is started is moved"
    if found.node is None:
        yield "nobody says on which node it is"
    if others := sorted(allowed.companions(facts, resource.sid)):
        yield f"a rule keeps {names(others)} with it, and nobody asked that they be moved"


def _target(
    facts: HaFacts, resource: Resource, found: ResourceStatus, to: str | None
) -> tuple[str | None, list[str]]:
    """Where it would go, and what speaks against that."""
    if to is None:
        fit = [one.node for one in found.places if one.fits]
        first = sorted(allowed.first_choice(facts, resource, fit))
        return (first[0], []) if first else (None, ["no other node could take it"])
    if to == found.node:
        return to, [f"it is on {to} already"]
    place = next((one for one in found.places if one.node == to), None)
    if place is None:
        return to, [f"the cluster has no node {to}"]
    return to, [] if place.fits else [f"{to}: {why}" for why in place.reasons]


def _votes(facts: HaFacts, policy: Policy) -> Iterator[str]:
    quorum = quorum_status(facts)
    if quorum.online < quorum.votes:
        yield f"{quorum.online} of {quorum.votes} votes are there: first bring back what is missing"
    elif quorum.survives is not True and not _accepted(facts, policy, quorum.votes):
        yield (
            f"whether quorum outlives the loss of a node is not known ({quorum.votes} votes): if one "
            "died during the exercise, HA might take nothing over. Who has a QDevice records an "
            "exemption of quorum-two-votes in the policy"
        )


def _accepted(facts: HaFacts, policy: Policy, votes: int) -> bool:
    finding = Finding("quorum-two-votes", Severity.CRITICAL, "", "", "")
    return votes == 2 and exemption_for(finding, policy, facts.at) is not None


def _proof(seen: Seen) -> Iterator[str]:
    if seen.gate is None:
        yield "whether a restore of it is proven could not be told"
        return
    # what is only modelled proves nothing, and nothing real can be lost with it
    yield from (why for why in seen.gate.reasons if not (seen.simulated and why == SIMULATED))


def hours(policy: Policy, vmid: int, now: int) -> Iterator[str]:
    """Given the time, yield why now is none to move a guest: its window, its next backup."""
    window = policy.ha.drill_window
    if window is None:
        yield "the policy names no window for exercises (ha.drill.window)"
        return
    slot = windows.span(window, policy.timezone, now)
    if not slot.is_open(now):
        opens = moment(slot.opens, policy.timezone, "en")
        yield f"it is outside the window {window.spec}, which opens {opens}"
    elif not slot.fits(now, MARGIN):
        left = duration((slot.closes or now) - now, "en")
        yield f"the window {window.spec} closes in {left}, and {duration(MARGIN, 'en')} are needed"
    for job in jobs_for(policy, vmid):
        due = calendar_event.parse(job.schedule, policy.timezone).next_after(now)
        if due is not None and due - now < MARGIN:
            yield f"its backup by job {job.id} begins in {duration(due - now, 'en')}"


def _right(may: bool | None) -> Iterator[str]:
    if may is None:
        yield f"whether the token holds {PRIVILEGE} on / could not be read"
    elif not may:
        yield (
            f"the token lacks {PRIVILEGE} on /, which PVE asks for before HA moves anything: "
            "`backupsvc doctor --role` prints how to grant it"
        )


def _outside(seen: Seen, vmid: int, check: CheckSpec | None, address: str | None) -> Iterator[str]:
    if check is None or address is None:
        yield (
            f"the policy names no address of guest {vmid} with a check that is asked over the "
            "network: nothing could be measured"
        )
        return
    heard = seen.heard
    if not heard.asked or heard.answers < heard.asked:
        why = f" ({heard.detail})" if heard.detail else ""
        yield (
            f"from here {check.name} at {address} answered {heard.answers} of {heard.asked} "
            f"times{why}: nothing could be measured"
        )
    config = seen.ha.configs.get(vmid)
    macs = guest_config.macs(config) if config is not None else ()
    if heard.mac and macs and heard.mac.lower() not in macs:
        yield f"what answers at {address} is another machine: its MAC {heard.mac} is not the guest's"


def _notes(
    seen: Seen,
    policy: Policy,
    resource: Resource,
    found: ResourceStatus,
    target: str | None,
    how: str,
) -> Iterator[str]:
    if seen.simulated:
        yield "the cluster is simulated: what is measured shows nothing of a real one"
    if how == RELOCATE:
        yield "HA shuts it down, and switches it off after a minute if it does not obey"
    tied = allowed.preference(seen.ha, resource)
    if tied and resource.failback and target and found.node:
        there, home = tied.nodes.get(target, -1), tied.nodes.get(found.node, -1)
        if home > there:
            yield f"{tied.name} prefers {found.node}: HA itself takes it back (failback)"
    if (crs := seen.ha.rebalancing) is None or crs.automatic:
        yield "HA may move guests by itself meanwhile (crs)"
    if not seen.heard.mac:
        yield "whose MAC answers is not seen from here: that it is the guest follows from the policy"
    if _accepted(seen.ha, policy, quorum_status(seen.ha).votes):
        yield "that quorum may not outlive the loss of a node is accepted (quorum-two-votes)"
    yield from found.notes
