"""Collects what is to be known of the cluster's high availability: one call for the whole cluster
where there is one, and a configuration for each guest that HA manages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from backupsvc import garbage
from backupsvc.inventory.copied import copies_of
from backupsvc.report.archive_facts import held_archives
from backupsvc.report.gaps import Gaps, bound, config_of
from policies import lineage
from policies.compliance.facts import GuestFacts, Quorum
from policies.ha.facts import HaFacts
from policies.ha.status import HaReport, decide
from policies.model import Guest, Node, Operation, SeenStorages
from policies.needs import needs

if TYPE_CHECKING:
    from backupsvc.operations.services import Cluster

T = TypeVar("T")


def ask(service: Cluster) -> HaReport:
    """Return what is said of the cluster's HA now. Raise Unreachable or Refused if the cluster does
    not tell its guests, its nodes or what HA manages.
    """
    with garbage.kept_out():
        return decide(collect(service), service.policy)


def last_drills(service: Cluster, found: HaReport) -> dict[int, Operation]:
    """Given what is said, return the last drill of each guest in it that has ended."""
    managed = sorted({one.vmid for one in found.resources if one.vmid is not None})
    many = service.catalog.operations.find(kind="ha-drill") if managed else []
    ended = [one for one in many if one.finished is not None and one.subject in managed]
    return {int(one.subject): one for one in reversed(ended) if one.subject is not None}


def collect(service: Cluster) -> HaFacts:
    """Return what was seen. Raises what ``ask`` raises; all else that fails is a gap, and what it
    would have told is None or missing.
    """
    pve = service.pve
    gaps = Gaps(lambda node: pve.cluster.answers(node))
    resources = pve.ha.resources()
    guests, nodes = pve.cluster.guests(), pve.cluster.nodes()
    status = gaps.ask("ha", "", pve.ha.status)
    at = int(service.clock.now())  # the stamps in that answer are compared with it
    members = gaps.ask("quorum", "", pve.cluster.status)
    offsets = gaps.ask("clocks", "", pve.cluster.clock_offsets) or {}
    seen = gaps.ask("storages", "", pve.storage.seen) or SeenStorages(())
    # who does not tell its status is not asked for the manager's own words
    states = gaps.ask("ha", "", pve.ha.states) if status else None
    facts = HaFacts(
        at,
        tuple(nodes),
        resources,
        tuple(guests),
        replace(status, lrm_states=states[0], node_states=states[1])
        if status and states
        else status,
        quorum=Quorum(
            clustered=members.quorate is not None or len(members.nodes) > 1,
            votes=len(members.nodes),
            quorate=members.quorate,
        )
        if members
        else None,
        votes=gaps.ask("votes", "", pve.ha.votes),
        members={node.name: node.online for node in members.nodes} if members else None,
        storages=seen.storages,
        untold=seen.silent,
        offsets={node: round(offset) for node, offset in offsets.items()},
    )
    if resources:
        facts = _of_guests(service, facts, seen, gaps)
    return replace(facts, gaps=tuple(gaps.found), silent=dict(gaps.silent))


def _of_guests(service: Cluster, facts: HaFacts, seen: SeenStorages, gaps: Gaps) -> HaFacts:
    """What there is to know because HA manages guests: of a cluster without any, nothing is asked."""
    pve, up = service.pve, [node for node in facts.nodes if node.online]
    managed = [guest for one in facts.resources if (guest := facts.guest_of(one))]
    asked = {node.name for node in up}
    configs = {
        guest.vmid: config
        for guest in managed
        if guest.node in asked and (config := config_of(pve, guest, gaps)) is not None
    }
    jobs = gaps.ask("jobs", "", pve.cluster.jobs)
    bridges = _each(gaps, "bridges", asked, pve.cluster.bridges)
    # only the node that runs a guest lists its replication (pve-facts 9.8)
    homes = {guest.node for guest in managed} & asked
    # PVE 9 refuses to speak of groups, and no resource has one there
    grouped = any(one.group for one in facts.resources)
    facts = replace(
        facts,
        rules=gaps.ask("rules", "", pve.ha.rules),
        groups=gaps.ask("groups", "", pve.ha.groups) if grouped else (),
        rebalancing=gaps.ask("rebalancing", "", pve.ha.rebalancing),
        configs=configs,
        jobs=None if jobs is None else tuple(job.seen(facts.guests) for job in jobs),
        bridges={node: frozenset(one.name for one in many) for node, many in bridges.items()},
        replicas=_each(gaps, "replication", homes, pve.ha.replicas),
    )
    files = {}
    for node, storage, kind in sorted(_to_list(facts, managed)):
        question = bound(pve.storage.files, node, storage, kind)
        listed = gaps.ask("files", f"{storage} ({node})", question, node)
        if listed is not None:
            files[node, storage] = listed
    held = _held(service, managed, configs, seen, facts.nodes, gaps)
    return replace(facts, files=files, held=held)


def _each(gaps: Gaps, kind: str, nodes: Collection[str], call: Callable[[str], T]) -> dict[str, T]:
    """The answers of those nodes that gave one."""
    answers = ((node, gaps.ask(kind, node, bound(call, node), node)) for node in sorted(nodes))
    return {node: answer for node, answer in answers if answer is not None}


def _to_list(facts: HaFacts, managed: Sequence[Guest]) -> set[tuple[str, str, str]]:
    """Where a medium or a snippet must be looked for: on storages that are each node's own."""
    files = [
        (guest, file)
        for guest in managed
        if guest.vmid in facts.configs
        for file in needs(facts.configs[guest.vmid], guest.type).files
    ]
    return {
        (storage.node, file.storage, file.kind)
        for guest, file in files
        for storage in facts.storages
        if storage.name == file.storage
        and storage.node != guest.node
        and storage.active
        and not storage.shared
    }


def _held(
    service: Cluster,
    managed: Sequence[Guest],
    configs: Mapping[int, Mapping[str, str]],
    seen: SeenStorages,
    nodes: Sequence[Node],
    gaps: Gaps,
) -> dict[int, GuestFacts]:
    """Where the archives of each guest are, by VMID."""
    archives = held_archives(service.pve, service.catalog, seen, nodes, gaps)
    copies, _ = copies_of(service.catalog, service.policy)
    found = {}
    for guest in managed:
        config = configs.get(guest.vmid)
        found[guest.vmid] = GuestFacts(
            guest.vmid,
            guest.name,
            guest,
            archives=tuple(one for one in archives.listed if one.vmid == guest.vmid),
            unreachable=tuple(one for one in archives.unreachable if one.vmid == guest.vmid),
            copies=tuple(copies.get(guest.vmid, ())),
            machine=lineage.of(config) if config else None,
        )
    return found
