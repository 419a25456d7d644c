"""The archives of a site: what its storages list now, and what the catalog knows where none could be
listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from backupsvc.report.gaps import Gaps, bound
from policies import lineage, reach
from policies.compliance.facts import Listing
from policies.model import Archive, Node, SeenStorages

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.pve import Pve

_NO_STORAGE = "the node listed no storage"
_INACTIVE = "the storage is not active"
_listed = attrgetter(
    "volid",
    "node",
    "storage",
    "vmid",
    "type",
    "ctime",
    "size",
    "format",
    "protected",
    "notes",
    "shared",
)


@dataclass(frozen=True, slots=True)
class HeldArchives:
    """What the storages list, and what the catalog knows on those that could not be listed."""

    listed: tuple[Archive, ...]
    unreachable: tuple[Archive, ...]
    listings: tuple[Listing, ...]


def held_archives(
    pve: Pve, catalog: Catalog, seen: SeenStorages, nodes: Sequence[Node], gaps: Gaps
) -> HeldArchives:
    """Given the storages and the nodes, list every storage with archives once (a shared one from the
    first node that can), and return that with what the catalog knows.
    """
    for node in nodes:
        named = any(storage.node == node.name for storage in seen.storages)
        why = seen.silent.get(node.name, _NO_STORAGE)
        if node.online and not named and not gaps.is_silent(node.name, why):
            gaps.note("listing", node.name, why)
    # read before the storages: what is recorded meanwhile cannot seem to be lost
    known: dict[reach.Place, dict[str, Archive]] = defaultdict(dict)
    everything = catalog.archives.find()
    for archive in everything:
        known["" if archive.shared else archive.node, archive.storage][archive.volid] = archive
    online = {node.name for node in nodes if node.online}
    found: dict[reach.Place, dict[str, Archive]] = {}
    listings: list[Listing] = []
    for storage in seen.storages:
        place = "" if storage.shared else storage.node, storage.name
        holds = "backup" in storage.content and storage.enabled and storage.node in online
        # a shared storage holds the same from every node: once is enough
        if not holds or ("", storage.name) in found:
            continue
        subject = f"{storage.name} ({storage.node})"
        if not storage.active:
            gaps.note("listing", subject, _INACTIVE)
            continue
        before = known[place]
        question = bound(pve.storage.archives, storage.node, storage.name, known=before)
        rows = gaps.ask("listing", subject, question, storage.node)
        if rows is None:
            continue
        there = {archive.volid: _joined(archive, before.get(archive.volid)) for archive in rows}
        found[place] = there
        # only a storage that was listed can have lost an archive
        lost = sum(volid not in there for volid in before)
        listings.append(Listing(storage.node, storage.name, len(there), lost))
    return HeldArchives(
        tuple(archive for there in found.values() for archive in there.values()),
        reach.unlisted(everything, found),
        tuple(listings),
    )


def _joined(archive: Archive, known: Archive | None) -> Archive:
    """What the storage says, with what the catalog has learnt; no proof if it is not the file that
    was recorded.
    """
    if known is None or archive is known:  # nearly every one is what the catalog has
        return archive
    if _listed(archive) == _listed(known):
        return known
    learnt = replace(
        archive,
        name=known.name,
        sha256=known.sha256,
        operation=known.operation,
        uuid=known.uuid,
        born=known.born,
        suspicious=known.suspicious,
        macs=known.macs,
        decided=known.decided,
    )
    # of another size: the catalog's proof, and its word on damage, are of other bytes
    if differs := lineage.resized(known.size, archive.size):
        return replace(learnt, changed="; ".join(filter(None, (known.changed, *differs))))
    learnt = replace(
        learnt,
        changed=known.changed,
        damaged=known.damaged,
        checked_at=known.checked_at,
        holds_disk=known.holds_disk,
    )
    return (
        learnt
        if known.ctime != archive.ctime
        else replace(learnt, rung=known.rung, proven_at=known.proven_at)
    )
