"""The site as a runbook needs it: what the catalog knows of each guest, and what the cluster and the
configuration that was just kept say of where it runs and what it needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from backupsvc.inventory.copied import copies_of
from backupsvc.services import Cluster
from policies import config_sources, lineage, needs
from policies.cluster_config import ConfigSet
from policies.compliance.facts import GuestFacts, SiteFacts
from policies.model import GuestType
from policies.pve.guest_config import parse_config

T = TypeVar("T")


def site(service: Cluster, config: ConfigSet) -> SiteFacts:
    """Given the cluster's configuration as it was just read, return what is known of the site.
    Raise Unreachable or Refused if the cluster says nothing. No storage is listed for it: the
    archives are those that the catalog knows.
    """
    pve, catalog, policy = service.pve, service.catalog, service.policy
    version, nodes = pve.cluster.version(), pve.cluster.nodes()
    guests = {one.vmid: one for one in pve.cluster.guests() if one.vmid not in policy.scratch}
    archives = _by_vmid(catalog.archives.find(), lambda one: one.vmid)
    proofs = _by_vmid(catalog.proofs.find(), lambda one: one.vmid)
    copies, _ = copies_of(catalog, policy)
    found = []
    vmids = guests.keys() | archives.keys() | copies.keys() | set(policy.guests)
    for vmid in sorted(vmid for vmid in vmids if vmid not in policy.scratch):
        guest, written, held = guests.get(vmid), policy.guests.get(vmid), archives.get(vmid, [])
        kept: Mapping[str, str] = {}
        # of the set that was just kept, not of PVE: a runbook and that set tell of the same moment
        if guest and guest.type is GuestType.QEMU:
            source, *_ = config_sources.guest_sources(str(guest.type), guest.node, vmid)
            kept = parse_config(config.files.get(source.file, ""))
        learnt = next((one.name for one in held if one.name), "")
        found.append(
            GuestFacts(
                vmid,
                (guest and guest.name) or (written.name if written else learnt),
                guest,
                archives=tuple(held),
                removed=tuple(
                    catalog.archives.find(vmid=vmid, gone=True) if vmid in copies else ()
                ),
                proofs=tuple(proofs.get(vmid, ())),
                copies=tuple(copies.get(vmid, ())),
                machine=lineage.of(kept) if kept else None,
                needs=needs.needs(kept, GuestType.QEMU) if kept else None,
            )
        )
    return SiteFacts(
        policy.site,
        int(service.clock.now()),
        tuple(found),
        nodes=tuple(nodes),
        storages=pve.storage.seen().storages,
        simulated=version.simulated,
    )


def _by_vmid(items: Iterable[T], vmid_of: Callable[[T], int | None]) -> dict[int, list[T]]:
    found: dict[int, list[T]] = defaultdict(list)
    for item in items:
        if (vmid := vmid_of(item)) is not None:
            found[vmid].append(item)
    return found
