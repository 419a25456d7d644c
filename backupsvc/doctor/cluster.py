"""What ``backupsvc doctor`` says of the cluster: who answers, whether it has quorum, and whether its
clocks agree with this machine's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from backupsvc.doctor import token
from backupsvc.doctor.lines import FAILED, OK, WARNING, Line
from backupsvc.errors import BackupsvcError, PvePermissionDenied
from backupsvc.inventory.listing import survey
from backupsvc.services import DoctorServices
from policies import i18n, reach, role
from policies.compliance.evaluation import findings
from policies.compliance.facts import GuestFacts, Quorum, SiteFacts
from policies.compliance.findings import node_offline, status_unknown
from policies.model import PolicyError, Severity

T = TypeVar("T")


def answers(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield whether the cluster answers with a release that we know, and which of
    its hosts does not.
    """
    cluster = service.pve.cluster
    version = cluster.version()
    seen = f"{service.pve.host} answers, Proxmox VE {version.version}"
    if token.major(version.release) in role.SUPPORTED:
        yield Line("cluster", OK, seen)
    else:
        known = " and ".join(map(str, role.SUPPORTED))
        yield Line(
            "cluster",
            WARNING,
            f"{seen}: not a release that this service was made for",
            f"use Proxmox VE {known}",
        )
    # any host answers for the cluster, so one that does not is no failure
    for error in service.pve.silent():
        yield Line(
            "cluster",
            WARNING,
            f"a host of BACKUPSVC_PVE__HOST is of no use now: {error.message}",
            error.hint,
        )


def nodes(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield the findings of ``pra status`` about nodes, with what is known without
    any long question.
    """
    nodes = service.pve.cluster.nodes()
    if not any(node.unknown or not node.online for node in nodes):
        return
    # guests, archives, quorum and HA, as the nodes that answer tell them; what is refused is not
    # known
    cluster, seen = service.pve.cluster, survey(service, remember=False)
    status, managed = _unless_denied(cluster.status), _unless_denied(cluster.ha_resources) or set()
    guests = tuple(
        GuestFacts(
            guest.vmid,
            guest.name or (known.name if (known := service.policy.guests.get(guest.vmid)) else ""),
            guest,
            archives=tuple(one for one in seen.listed if one.vmid == guest.vmid),
            unreachable=tuple(one for one in seen.unreachable if one.vmid == guest.vmid),
            ha_managed=bool({f"vm:{guest.vmid}", f"ct:{guest.vmid}"} & managed),
        )
        for guest in cluster.guests()
        if guest.vmid not in service.policy.scratch
    )
    quorum = Quorum(True, len(status.nodes), status.quorate) if status else None
    facts = SiteFacts(
        service.policy.site, int(service.clock.now()), guests, nodes=tuple(nodes), quorum=quorum
    )
    for finding in findings(
        facts,
        # the command line speaks English, whatever the report is written in
        replace(service.policy, language=i18n.ENGLISH),
        facts.at,
        (node_offline.RULE, status_unknown.RULE),
    ):
        bad = finding.severity is Severity.CRITICAL
        yield Line(
            finding.id, FAILED if bad else WARNING, finding.detail, finding.action, 3 if bad else 0
        )


def _unless_denied(question: Callable[[], T]) -> T | None:
    try:
        return question()
    except PvePermissionDenied:
        return None


def quorum(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield whether the cluster has quorum."""
    try:
        status = service.pve.cluster.status()
    except PvePermissionDenied as denied:
        yield Line("quorum", WARNING, f"not known: {denied.message}", denied.hint)
        return
    online, votes = sum(node.online for node in status.nodes), len(status.nodes)
    if status.quorate is None:
        yield Line("quorum", OK, "a node that stands alone has none to lose")
    elif status.quorate:
        yield Line("quorum", OK, f"kept: {online} of {votes} nodes are online")
    else:
        text = (
            f"LOST: {online} of {votes} nodes are online; HA does not act, and PVE refuses every "
            "restore and every new setting"
        )
        action = (
            "bring the missing node back" if online == votes else "see node-offline, the first line"
        )
        yield Line("quorum", FAILED, text, action, 3)


def clocks(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield each node whose clock is off, or could not be read."""
    limit = service.policy.max_clock_drift
    offsets = service.pve.cluster.clock_offsets()
    untold = [
        node.name
        for node in service.pve.cluster.nodes()
        if node.online and node.name not in offsets
    ]
    for node in untold:
        yield Line(
            "clocks",
            WARNING,
            f"{node} did not tell its time, so its drift is not known",
            f"see on {node} that it answers",
        )
    for node, offset in sorted(offsets.items()):
        if abs(offset) > limit:
            text = (
                f"the clock of {node} is {abs(offset):.0f} s "
                f"{'ahead of' if offset > 0 else 'behind'} this machine's"
            )
            yield Line(
                "clocks",
                WARNING,
                text,
                "synchronise both (chronyc tracking): schedules and ages lean on them",
            )
    if all(abs(offset) <= limit for offset in offsets.values()):
        which = f"{i18n.names(sorted(offsets)) or 'no node'}" if untold else "every node"
        yield Line("clocks", OK, f"{which} within {limit} s of this machine")


def down(service: DoctorServices) -> dict[str, str]:
    """Given the service, return the nodes that cannot be asked, each with how; none is known where
    the cluster does not answer, which its own line says.
    """
    try:
        return reach.down(service.pve.cluster.nodes())
    except (BackupsvcError, PolicyError):
        return {}
