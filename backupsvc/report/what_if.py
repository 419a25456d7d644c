"""Asks the site what must be known to say what a loss would leave: the facts of a report, what the
guests need, and PVE's replicas of their disks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc import garbage
from backupsvc.clock import iso
from backupsvc.copies import config_sets
from backupsvc.errors import ArchiveError, CopyError, UsageError
from backupsvc.report.facts import collect
from backupsvc.report.gaps import Gaps, bound
from policies import config_sources, needs
from policies.compliance.facts import SiteFacts
from policies.ha.facts import Replica
from policies.i18n import names
from policies.model import Guest, GuestType
from policies.pve.guest_config import parse_config
from policies.what_if import decide
from policies.what_if.decide import WhatIf
from policies.what_if.loss import Loss

if TYPE_CHECKING:
    from backupsvc.operations.services import Nodes

_UNREAD = {
    "replication": "which replicas there are of the guests on {}",
    "config": "the configuration of container {}",
    "node": "everything that lies on the node {}",
}


def ask(service: Nodes, loss: Loss) -> WhatIf:
    """Given what is lost, return what could be brought back now. Raise UsageError for a node or a
    storage that the cluster does not have, Unreachable or Refused if it says nothing at all.
    """
    _must_be_known(loss.nodes, [node.name for node in service.pve.cluster.nodes()], "node")
    with garbage.kept_out():
        facts = collect(service.pve, service.catalog, service.policy, service.clock)
    # a storage that only a dead node has is in no list: what the catalog knows there counts
    there = {one.name for one in facts.storages} | {
        archive.storage for item in facts.guests for archive in item.archives + item.unreachable
    }
    _must_be_known(loss.storages, there, "storage")
    gaps = Gaps(lambda node: service.pve.cluster.answers(node))
    gaps.silent |= facts.silent
    facts = _with_containers(service, facts, gaps)
    facts, told = _with_kept_needs(service, facts)
    found = decide.decide(
        facts, service.policy, _replicas(service, facts, loss, gaps), loss, int(service.clock.now())
    )
    unread = [f"{_UNREAD[one.kind].format(one.subject)} ({one.reason})" for one in gaps.found]
    return replace(found, unseen=(*found.unseen, *told, *unread))


def _replicas(service: Nodes, facts: SiteFacts, loss: Loss, gaps: Gaps) -> list[Replica]:
    """What PVE's replication keeps of the guests that would be lost; only their own node tells."""
    homes = {item.guest.node for item in facts.guests if item.guest and loss.node(item.guest.node)}
    up = [node.name for node in facts.nodes if node.online and node.name in homes]
    found: list[Replica] = []
    for node in up:
        found += gaps.ask("replication", node, bound(service.pve.ha.replicas, node), node) or ()
    return found


def _with_containers(service: Nodes, facts: SiteFacts, gaps: Gaps) -> SiteFacts:
    """A report reads no container's configuration; what it needs is told there."""
    up = {node.name for node in facts.nodes if node.online}
    found = {}
    for item in facts.guests:
        guest = item.guest
        if guest and guest.type is GuestType.LXC and not guest.template and guest.node in up:
            question = bound(service.pve.guests.container_config, guest.node, guest.vmid)
            if config := gaps.ask("config", str(guest.vmid), question, guest.node):
                found[guest.vmid] = needs.needs(config, guest.type)
    return _given(facts, found)


def _given(facts: SiteFacts, found: Mapping[int, needs.Needs]) -> SiteFacts:
    guests = tuple(
        replace(item, needs=found[item.vmid]) if item.vmid in found else item
        for item in facts.guests
    )
    return replace(facts, guests=guests)


def _must_be_known(asked: Collection[str], known: Collection[str], what: str) -> None:
    if strange := sorted(set(asked) - set(known)):
        raise UsageError(
            f"the cluster has no {what} {names(strange)}",
            f"its {what}s are {names(sorted(known)) or 'not to be seen'}",
        )


def _with_kept_needs(service: Nodes, facts: SiteFacts) -> tuple[SiteFacts, tuple[str, ...]]:
    """What a guest of a node that does not answer needs is looked up in the configuration that was
    kept last; that is told.
    """
    unknown = [
        item
        for item in facts.guests
        if item.needs is None and item.guest and not item.guest.template
    ]
    if not unknown:
        return facts, ()
    try:
        kept = config_sets.kept_in(service.settings.state_dir)
        if not kept:
            return facts, ()
        at = max(kept)
        texts = config_sets.read(kept[at]).files
    except (ArchiveError, CopyError) as error:
        return facts, (error.message,)
    found = _needs_in(texts, [item.guest for item in unknown if item.guest])
    if not found:
        return facts, ()
    which = names(str(vmid) for vmid in sorted(found))
    return _given(facts, found), (
        f"what guest {which} needs is taken from the configuration kept at {iso(at)}",
    )


def _needs_in(texts: Mapping[str, str], guests: Iterable[Guest]) -> dict[int, needs.Needs]:
    found = {}
    for guest in guests:
        source, *_ = config_sources.guest_sources(str(guest.type), guest.node, guest.vmid)
        if text := texts.get(source.file):
            found[guest.vmid] = needs.needs(parse_config(text), guest.type)
    return found
