"""Put together what is said of a cluster's high availability: its votes, its nodes, each guest under
it, what is wrong and the next action.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from policies.amounts import apart
from policies.compliance.evaluation import exemption_for
from policies.ha.facts import Group, HaFacts, Rebalancing, Rule
from policies.ha.lrm import Life, Lrm, lrm
from policies.ha.places import memory_of, spare
from policies.ha.resources import ResourceStatus, blockers, master_doubt, resource_status
from policies.i18n import duration, names
from policies.model import Finding, Policy, Severity


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps HA from its work, or may do so, and the next action."""

    what: str
    action: str


@dataclass(frozen=True, slots=True)
class QuorumStatus:
    """The cluster's votes: ``votes`` in all, ``online`` that are there, ``needed`` for quorum.
    ``survives``: whether quorum is left when one more node is lost; None where only a QDevice could
    say, which PVE's API does not show. ``clustered`` False: a node that is alone.
    """

    clustered: bool | None
    quorate: bool | None
    votes: int
    online: int
    needed: int
    survives: bool | None
    fatal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What is said of one node. ``drift``: seconds that its clock is ahead of the service's."""

    name: str
    state: str
    votes: int
    lrm: Lrm
    drift: int | None
    master: bool


@dataclass(frozen=True, slots=True)
class HaReport:
    """All that is said. ``armed`` None: not known; ``armed_state`` is PVE's own word, "" where it
    has none.
    """

    quorum: QuorumStatus
    nodes: tuple[NodeStatus, ...]
    resources: tuple[ResourceStatus, ...]
    master: str | None
    armed: bool | None
    armed_state: str
    rules: tuple[Rule, ...] | None
    groups: tuple[Group, ...] | None
    rebalancing: Rebalancing | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether nothing was found, and nothing that matters is unknown."""
        return not self.problems


def decide(facts: HaFacts, policy: Policy) -> HaReport:
    """Given what was seen and the policy, return what is said of it."""
    # asked once for all: what keeps HA from everything is no fault of each guest
    blocked = tuple(blockers(facts))
    quorum = quorum_status(facts)
    resources = tuple(
        resource_status(facts, policy, one, blocked)
        for one in sorted(facts.resources, key=lambda one: (one.vmid or 0, one.sid))
    )
    status = facts.status
    nodes = tuple(
        NodeStatus(
            node.name,
            facts.down.get(node.name, "online"),
            _votes(facts, node.name),
            lrm(facts, node.name),
            facts.offsets.get(node.name),
            status is not None and status.master == node.name,
        )
        for node in facts.nodes
    )
    # before pve-ha-manager 5.1.3 there is no such word, and HA is armed (pve-facts 9.4)
    armed = None if status is None else status.armed not in ("disarmed", "disarming")
    managed = any(not one.left_alone for one in resources)
    told = [*_quorum_problems(facts, policy, quorum, managed), *_stack_problems(facts, managed)]
    problems = [one for one in told if isinstance(one, Problem)]
    notes = [one for one in told if isinstance(one, str)]
    known = {one.why for one in blocked}  # each is told of by itself, once
    problems += _guest_problems(facts, resources, known)
    return HaReport(
        quorum,
        nodes,
        resources,
        status.master if status else None,
        armed,
        status.armed if status else "",
        facts.rules,
        facts.groups,
        facts.rebalancing,
        tuple(problems),
        (*notes, *_notes(facts, policy, managed)),
    )


def quorum_status(facts: HaFacts) -> QuorumStatus:
    """Given what was seen, return the votes; a node has one where its own number was not read."""
    online = facts.members or {node.name: node.online for node in facts.nodes}
    votes = {name: _votes(facts, name) for name in {*online, *(facts.votes or {})}}
    total, there = sum(votes.values()), sum(votes[name] for name, up in online.items() if up)
    needed = total // 2 + 1
    clustered, quorate = facts.quorum.clustered if facts.quorum else None, facts.quorate
    fatal = tuple(
        sorted(name for name, up in online.items() if up and there - votes[name] < needed)
    )
    if clustered is False or quorate is False:
        survives: bool | None = False
    else:
        # what seems fatal a QDevice may save, which PVE's API does not show: not known is not no
        survives = None if fatal or quorate is None else True
    return QuorumStatus(clustered, quorate, total, there, needed, survives, fatal)


def _votes(facts: HaFacts, name: str) -> int:
    return facts.votes.get(name, 1) if facts.votes is not None else 1


def _quorum_problems(
    facts: HaFacts, policy: Policy, quorum: QuorumStatus, managed: bool
) -> Iterator[Problem | str]:
    counted = f"{quorum.online} of {quorum.votes} votes are there, {quorum.needed} are needed"
    if quorum.quorate is False:
        yield Problem(
            f"the cluster has no quorum ({counted}): HA moves nothing, and PVE refuses every change",
            "bring a node or the QDevice back: pvecm status",
        )
    # who has nothing under HA need not hear what HA could not do
    elif not managed or quorum.survives is True:
        return
    elif quorum.clustered is False:
        yield Problem(
            "this node is alone: there is nowhere for HA to take a guest",
            "join a cluster, or take the guests out of HA",
        )
    elif quorum.quorate is None:
        yield Problem("whether the cluster has quorum could not be read", "pvecm status")
    elif quorum.votes == 2:
        what = (
            "when one of the two nodes dies, one vote of two is left and no quorum: HA takes "
            "nothing over, unless a QDevice gives a third vote, which PVE's API does not show"
        )
        # so a person who has looked may say it for good, in an exemption
        finding = Finding("quorum-two-votes", Severity.CRITICAL, "", "", "")
        if accepted := exemption_for(finding, policy, facts.at):
            yield f"{what}; accepted until {accepted.until} by {accepted.owner}: {accepted.reason}"
        else:
            yield Problem(
                what,
                "add one: pvecm qdevice setup ADDRESS; if there is one (pvecm status tells), "
                "record an exemption of quorum-two-votes in the policy",
            )
    else:
        yield Problem(
            f"if {names(quorum.fatal)} were lost now, no quorum would be left ({counted}) unless a "
            "QDevice has a vote, and HA would take nothing over",
            "bring the nodes back that are missing"
            if quorum.online < quorum.votes
            else "give each node one vote, and the cluster an odd number of them",
        )


def _stack_problems(facts: HaFacts, managed: bool) -> Iterator[Problem | str]:
    status = facts.status
    if status is None:
        if managed:
            yield Problem(
                "what HA says of itself could not be read", "ha-manager status on a node tells it"
            )
        return
    if status.armed in ("disarmed", "disarming"):
        yield Problem(
            f"HA is {status.armed}: no guest is recovered when its node dies",
            "if nobody works on the cluster now, arm it: pvesh create /cluster/ha/status/arm-ha",
        )
    if managed and status.master is None:
        yield Problem(
            "no node is HA's master: nothing is moved and nothing recovered",
            "systemctl status pve-ha-crm on each node",
        )
    elif managed and (doubt := master_doubt(facts)):
        yield Problem(doubt.why, f"systemctl status pve-ha-crm on {status.master}")
    for node in facts.nodes:
        found = lrm(facts, node.name)
        if found.life is Life.DEAD:
            since = f" for {duration(found.age, 'en')}" if found.age is not None else ""
            yield Problem(
                f"the LRM of {node.name} has written nothing{since}: HA does nothing on that node",
                f"systemctl status pve-ha-lrm watchdog-mux on {node.name}",
            )


def _guest_problems(
    facts: HaFacts, resources: Sequence[ResourceStatus], known: Collection[str]
) -> Iterator[Problem]:
    for found in (one for one in resources if not one.left_alone):
        who = f"{found.sid} {found.name}".rstrip()
        if reasons := [why for why in found.reasons if why not in known]:
            word = "cannot move" if found.can_move is False else "may not be able to move"
            action = "; ".join(found.actions) or "see the reasons"
            yield Problem(f"{who} {word}: {'; '.join(reasons)}", action)
        if not found.backup_follows and found.backups:
            word = "would not follow" if found.backup_follows is False else "may not follow"
            yield Problem(
                f"the backup of {who} {word}: {'; '.join(found.backup_reasons)}",
                "let a job of the policy back it up to a storage that each of its nodes has, or "
                "unpin PVE's job (no node)",
            )
    by_sid = {one.sid: one for one in facts.resources}
    # each of two guests may fit where both do not
    for home in sorted({one.node for one in resources if one.node}):
        moving = [one for one in resources if one.node == home and one.can_move]
        takers = sorted({place.node for one in moving for place in one.places if place.fits})
        needed = sum(memory_of(facts, by_sid[one.sid]) or 0 for one in moving)
        free = sum(spare(facts, node) or 0 for node in takers)
        if len(moving) > 1 and needed > free:
            wanted, there = apart(needed, free)
            yield Problem(
                f"if {home} is lost, {names([one.sid for one in moving])} need {wanted} of memory "
                f"together, and {names(takers)} have {there} to spare: each could move, and not all",
                "give the other nodes memory, or take the less important guests out of HA",
            )


def _notes(facts: HaFacts, policy: Policy, managed: bool) -> Iterator[str]:
    for name, state in sorted(facts.down.items()):
        yield f"node {name} is {state}: nothing is known of it but what the others remember"
    limit = policy.max_clock_drift
    wrong = {node: off for node, off in sorted(facts.offsets.items()) if abs(off) > limit}
    for node, off in wrong.items():
        way = "ahead of" if off > 0 else "behind"
        yield (
            f"the clock of {node} is {abs(off)} s {way} this machine's: HA's and the logs' times are "
            f"wrong there (timedatectl and chronyc tracking on {node})"
        )
    if facts.status:
        for node in facts.status.drifting:
            yield f"HA says: {facts.status.lrm[node]}"
    for rule in facts.rules or ():
        if rule.errors:
            yield f"PVE does not follow the rule {rule.name}: {rule.errors}"
    crs = facts.rebalancing
    if managed and crs is None:
        yield "whether HA moves guests by itself could not be read (datacenter.cfg, crs)"
    elif managed and crs:
        words = ((crs.automatic, "at any time"), (crs.on_start, "when one is started"))
        if when := [word for on, word in words if on]:
            yield (
                f"HA moves guests by itself, {names(when)} (crs, {crs.mode}): a job of PVE that "
                "names a node misses them, and archives on storages of single nodes become spread "
                "over those"
            )
    for gap in facts.gaps:
        yield f"not known: {gap.kind} {gap.subject}".rstrip() + f" ({gap.reason})"
