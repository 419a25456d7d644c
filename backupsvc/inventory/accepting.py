"""Accept what the storages hold: archives that are gone, and guests of which the catalog knows too
little to prune (law 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backupsvc.catalog.inspections import Acceptance
from backupsvc.inventory.listing import survey
from backupsvc.requester import person
from backupsvc.services import Cluster
from policies import prune_guard, reach, whole
from policies.model import Archive


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync found. ``stopped``: the guests that a prune would not touch, and why;
    ``accepted``: those accepted now.

    ``unreachable`` are archives that the catalog knows on storages that could not be listed,
    ``blind`` a sentence for each of those storages and for each node that was not asked; nothing
    there is gone.
    """

    archives: int
    new: tuple[Archive, ...]
    gone: tuple[Archive, ...]
    stopped: Mapping[int, str]
    accepted: tuple[Acceptance, ...]
    unreachable: tuple[Archive, ...] = ()
    blind: tuple[str, ...] = ()


def sync(
    service: Cluster, *, accept: bool = False, vmid: int | None = None, dry_run: bool = False
) -> Synced:
    """List every storage that can be asked, record what is gone from those, and with ``accept`` let
    the stopped guests (or only ``vmid``) be pruned again.

    Who accepted what is written into the catalog. With ``dry_run`` nothing is recorded as gone and
    nothing is accepted.
    """
    before = {whole.key(one): one for one in service.catalog.archives.find()}
    seen = survey(service, complete=not dry_run)
    now = {whole.key(one): one for one in seen.listed}
    stopped = prune_guard.stopped(list(now.values()), service.catalog.inspections.knowledge())
    chosen = {guest: why for guest, why in stopped.items() if accept and vmid in (None, guest)}
    accepted = _acceptances(chosen, list(now.values()), int(service.clock.now()))
    if not dry_run:
        service.catalog.inspections.accept(accepted)
    new = tuple(now[key] for key in now.keys() - before.keys())
    gone = tuple(
        before[key]
        for key in before.keys() - now.keys()
        if reach.was_listed(before[key], seen.looked)
    )
    left = {guest: why for guest, why in stopped.items() if guest not in chosen}
    return Synced(len(now), new, gone, left, accepted, seen.unreachable, tuple(seen.said()))


def _acceptances(
    stopped: Mapping[int, str], archives: Sequence[Archive], at: int
) -> tuple[Acceptance, ...]:
    volids: dict[int, list[str]] = {vmid: [] for vmid in stopped}
    for archive in archives:
        if archive.vmid in volids:
            volids[archive.vmid].append(archive.volid)
    return tuple(
        Acceptance(vmid, at, person(), why, tuple(volids[vmid])) for vmid, why in stopped.items()
    )
