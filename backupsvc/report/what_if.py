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
from policies import config_sources, needs
from policies.compliance.facts import SiteFacts
from policies.i18n import names
from policies.model import GuestType
from policies.pve.guest_config import parse_config
from policies.what_if import decide
from policies.what_if.decide import WhatIf
from policies.what_if.loss import Loss

if TYPE_CHECKING:
    from backupsvc.operations.services import Nodes


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
    facts, told = _with_kept_needs(service, facts)
    found = decide.decide(facts, service.policy, (), loss, int(service.clock.now()))
    return replace(found, unseen=(*found.unseen, *told))


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
        if item.needs is None
        and item.guest
        and item.guest.type is GuestType.QEMU
        and not item.guest.template
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
    found = _needs_in(texts, {item.vmid: item.guest.node for item in unknown if item.guest})
    if not found:
        return facts, ()
    guests = tuple(
        replace(item, needs=found[item.vmid]) if item.vmid in found else item
        for item in facts.guests
    )
    which = names(str(vmid) for vmid in sorted(found))
    return replace(facts, guests=guests), (
        f"what guest {which} needs is taken from the configuration kept at {iso(at)}",
    )


def _needs_in(texts: Mapping[str, str], nodes: Mapping[int, str]) -> dict[int, needs.Needs]:
    found = {}
    for vmid, node in nodes.items():
        source, *_ = config_sources.guest_sources(str(GuestType.QEMU), node, vmid)
        if text := texts.get(source.file):
            found[vmid] = needs.of(parse_config(text))
    return found
