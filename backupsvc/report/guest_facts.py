"""The guests of a site, each with all that the cluster, the catalog and the policy know of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from backupsvc.inventory.copied import copies_of
from backupsvc.report.archive_facts import HeldArchives
from backupsvc.report.gaps import FAILS, Gaps, config_of
from backupsvc.report.operation_facts import backup_outcomes, left_frozen
from policies import lineage, needs
from policies.compliance.facts import GuestFacts
from policies.freezing import LeftFrozen
from policies.model import Guest, GuestType, Policy
from policies.pve import guest_config

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.pve import Pve

T = TypeVar("T")
_CONTAINER = "the configuration of containers is not read"
_vmid = attrgetter("vmid")


def guest_facts(
    pve: Pve,
    catalog: Catalog,
    policy: Policy,
    guests: Sequence[Guest],
    asked: Collection[str],
    held: HeldArchives,
    resources: Collection[str],
    now: int,
    gaps: Gaps,
) -> tuple[GuestFacts, ...]:
    """Return the guests that are there, and those that the policy expects, by VMID; scratch copies
    are no guests of the site.

    ``asked`` are the nodes that are online, ``resources`` those of HA, ``now`` epoch seconds.
    """
    present = {guest.vmid: guest for guest in guests if guest.vmid not in policy.scratch}
    named = {vmid for job in policy.jobs for vmid in job.guests or () if vmid not in job.exclude}
    expected = {vmid for vmid in named | set(policy.guests) if vmid not in policy.scratch}
    archives, unreachable = _by_vmid(held.listed, _vmid), _by_vmid(held.unreachable, _vmid)
    removed = _by_vmid(catalog.archives.find(gone=True), _vmid)
    proofs = _by_vmid(catalog.proofs.find(), _vmid)
    copies, damaged = copies_of(catalog, policy)
    operations = catalog.operations.find(kind="backup")
    backups, frozen = backup_outcomes(operations), left_frozen(operations, gaps)
    found = []
    for vmid in sorted(present.keys() | expected):
        guest, written = present.get(vmid), policy.guests.get(vmid)
        # a node may fall silent while guests are asked: it is not asked again
        askable = guest is not None and guest.node in asked and guest.node not in gaps.silent
        config = _config(pve, guest, gaps) if guest and askable else None
        there, beyond = tuple(archives.get(vmid, ())), tuple(unreachable.get(vmid, ()))
        learnt = next((archive.name for archive in there + beyond if archive.name), "")
        left = frozen.get(vmid)
        found.append(
            GuestFacts(
                vmid=vmid,
                name=(guest and guest.name) or (written.name if written else learnt),
                guest=guest,
                agent=guest_config.agent_configured(config) if config else None,
                excluded=guest_config.missing_disks(config, config) if config else (),
                archives=there,
                removed=tuple(removed.get(vmid, ())),
                proofs=tuple(proofs.get(vmid, ())),
                backups=tuple(backups.get(vmid, ())),
                ha_managed=bool({f"vm:{vmid}", f"ct:{vmid}"} & set(resources)),
                left_frozen=_still_frozen(pve, guest, left, now) if askable else left,
                unreachable=beyond,
                copies=tuple(copies.get(vmid, ())),
                damaged_copies=tuple(damaged.get(vmid, ())),
                machine=lineage.of(config) if config else None,
                needs=needs.needs(config, GuestType.QEMU) if config else None,
            )
        )
    return tuple(found)


def _by_vmid(items: Iterable[T], vmid_of: Callable[[T], int | None]) -> Mapping[int, list[T]]:
    found: dict[int, list[T]] = defaultdict(list)
    for item in items:
        if (vmid := vmid_of(item)) is not None:
            found[vmid].append(item)
    return found


def _still_frozen(
    pve: Pve, guest: Guest | None, left: LeftFrozen | None, now: int
) -> LeftFrozen | None:
    """Look again at a guest that was left frozen: somebody may have thawed it since. Who cannot be
    asked is not thawed.
    """
    if guest is None or left is None:
        return left
    try:
        status = pve.agent.state(guest.node, guest.vmid)
        if not status.running or status.uptime < now - left.at:  # it has booted since
            return None
        return left if pve.agent.frozen(guest.node, guest.vmid) else None
    except FAILS:
        return left


def _config(pve: Pve, guest: Guest, gaps: Gaps) -> Mapping[str, str] | None:
    """The guest's configuration, None where it is not read."""
    # a template never runs, so nobody misses an agent in it
    if guest.template:
        return None
    if guest.type is GuestType.LXC:
        gaps.note("config", str(guest.vmid), _CONTAINER)
        return None
    return config_of(pve, guest, gaps)
