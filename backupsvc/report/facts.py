"""Collects a site's facts from the cluster, the catalog and the policy: one listing a storage, one
call for all guests.

A call that is refused or fails becomes a gap with PVE's own words; only the two calls without which
there is nothing to say (the guests and the nodes) end the collection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc.clock import Clock
from backupsvc.inventory import departed
from backupsvc.report.archive_facts import held_archives
from backupsvc.report.cluster_facts import bridges_of, clocks_of
from backupsvc.report.gaps import Gaps
from backupsvc.report.guest_facts import guest_facts
from backupsvc.report.operation_facts import (
    job_runs,
    moved_copies,
    orphaned_copies,
    restores,
)
from policies.compliance.facts import Quorum, SiteFacts
from policies.model import Policy, SeenStorages

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.pve import Pve

_OFFLINE = "the node is offline"
_MUTE = "its status is unknown, and it does not answer"


def collect(pve: Pve, catalog: Catalog, policy: Policy, clock: Clock) -> SiteFacts:
    """Given cluster, catalog, policy and clock, return what is known now. Raise Unreachable or
    Refused if the cluster says nothing at all.
    """
    gaps = Gaps(lambda node: pve.cluster.answers(node))
    version = pve.cluster.version()
    guests, nodes = pve.cluster.guests(), pve.cluster.nodes()
    for node in nodes:
        if not node.online:
            gaps.note("node", node.name, _MUTE if node.unknown else _OFFLINE)
    asked = {node.name for node in nodes if node.online}
    seen = gaps.ask("storages", "", pve.storage.seen) or SeenStorages(())
    archives = held_archives(pve, catalog, seen, nodes, gaps)
    status = gaps.ask("quorum", "", pve.cluster.status)
    quorum = None
    if status:
        votes, clustered = len(status.nodes), status.quorate is not None or len(status.nodes) > 1
        quorum = Quorum(clustered=clustered, votes=votes, quorate=status.quorate)
    managed = gaps.ask("ha", "", pve.cluster.ha_resources) or set()
    now = int(clock.now())
    # in the order in which the gaps are told
    known = guest_facts(pve, catalog, policy, guests, asked, archives, managed, now, gaps)
    clocks = clocks_of(pve, nodes, gaps)
    jobs = gaps.ask("jobs", "", pve.cluster.jobs)
    facts = SiteFacts(
        cluster=(status.name if status else "") or policy.site,
        at=now,
        guests=known,
        nodes=tuple(nodes),
        storages=seen.storages,
        quorum=quorum,
        clocks=clocks,
        jobs=None if jobs is None else tuple(job.seen(guests) for job in jobs),
        permissions=gaps.ask("permissions", "", pve.cluster.permissions),
        bridges=bridges_of(pve, nodes, gaps),
        listings=archives.listings,
        job_runs=job_runs(catalog, gaps),
        gaps=(),
        simulated=version.simulated,
        release=version.version,
        orphans=orphaned_copies(pve, catalog, policy, guests, asked, gaps),
        moves=moved_copies(catalog, gaps),
        canaries=tuple(catalog.copies.canaries()),
        rehearsals=tuple(catalog.copies.rehearsals()),
        snapshot_trials=tuple(catalog.snapshot_trials.last()),
        tombstones=departed.listed(catalog, policy.tombstone, now),
        restores=restores(catalog, gaps),
    )
    # all has been asked by now
    return replace(facts, gaps=tuple(gaps.found), silent=dict(gaps.silent))
