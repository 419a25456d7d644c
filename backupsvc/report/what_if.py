"""Asks the site what must be known to say what a loss would leave: the facts of a report, what the
guests need, and PVE's replicas of their disks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc import garbage
from backupsvc.clock import iso
from backupsvc.copies import config_sets
from backupsvc.errors import ArchiveError, CopyError, UsageError
from backupsvc.report.facts import collect
from backupsvc.report.gaps import Gaps, bound, config_of
from policies import config_sources, needs
from policies.compliance.facts import SiteFacts
from policies.ha.facts import Replica
from policies.i18n import names
from policies.model import GuestType
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
    # one that is mistyped would be a loss of nothing, and well
    _must_be_known(loss.nodes, [node.name for node in service.pve.cluster.nodes()], "node")
    with garbage.kept_out():
        facts = collect(service.pve, service.catalog, service.policy, service.clock)
    # a storage that only a dead node has is in no list: what the catalog knows there counts
    there = {one.name for one in facts.storages} | {
        archive.storage for item in facts.guests for archive in item.archives + item.unreachable
    }
    _must_be_known(loss.storages, there, "storage")
    gaps = Gaps(lambda node: service.pve.cluster.answers(node))
    # what the report found silent is not asked once more
    gaps.silent |= facts.silent
    # a report reads no container's configuration; what it needs is told there
    up = {node.name for node in facts.nodes if node.online}
    containers = {
        guest.vmid: needs.needs(config, guest.type)
        for guest in (item.guest for item in facts.guests if item.guest)
        if guest.type is GuestType.LXC and not guest.template and guest.node in up
        if (config := config_of(service.pve, guest, gaps))
    }
    facts, told = _with_kept_needs(service, _given(facts, containers))
    # what replication keeps of a guest only its own node tells
    # and a node whose storage is lost can still tell it
    homes = {
        item.guest.node
        for item in facts.guests
        if item.guest and (loss.storages or loss.node(item.guest.node))
    }
    replicas: list[Replica] = []
    for node in (node.name for node in facts.nodes if node.name in homes & up):
        replicas += gaps.ask("replication", node, bound(service.pve.ha.replicas, node), node) or ()
    found = decide.decide(facts, service.policy, replicas, loss, int(service.clock.now()))
    unread = [f"{_UNREAD[one.kind].format(one.subject)} ({one.reason})" for one in gaps.found]
    return replace(found, unseen=(*found.unseen, *told, *unread))


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
    found = {}
    for guest in (item.guest for item in unknown if item.guest):
        source, *_ = config_sources.guest_sources(str(guest.type), guest.node, guest.vmid)
        if text := texts.get(source.file):
            found[guest.vmid] = needs.needs(parse_config(text), guest.type)
    if not found:
        return facts, ()
    which = names(str(vmid) for vmid in sorted(found))
    return _given(facts, found), (
        f"what guest {which} needs is taken from the configuration kept at {iso(at)}",
    )
