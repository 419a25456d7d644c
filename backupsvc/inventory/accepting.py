"""Accept what the storages hold: archives that are gone, and guests of which the catalog knows too
little to prune (law 3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from backupsvc.catalog.inspections import Acceptance
from backupsvc.inventory.listing import Walk
from backupsvc.requester import person
from backupsvc.services import Cluster
from policies import prune_guard, reach, whole
from policies.model import Archive

BATCH = 20_000  # archives that are judged at a time, some 20 MB with what the catalog knows of them
_MAX_VMIDS = 1000  # that one statement names


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
    walk = Walk(service, complete=not dry_run)
    new: list[Archive] = []
    gone: list[Archive] = []
    counts: Counter[int] = Counter()
    listed = 0
    for place, there, before in walk.storages(before=True):
        known, now = {whole.key(one): one for one in before}, {whole.key(one): one for one in there}
        if fresh := now.keys() - known.keys():
            recorded = {whole.key(one): one for one in walk.held(*place)}
            new += [recorded.get(key, now[key]) for key in fresh]
        gone += [one for key, one in known.items() if key not in now]
        counts.update(one.vmid for one in now.values() if one.vmid is not None)
        listed += len(now)
    seen, elsewhere = walk.survey()
    gone += elsewhere
    stopped, accepted = _judged(
        service, walk.looked, counts, gone, lambda guest: accept and vmid in (None, guest)
    )
    if not dry_run:
        service.catalog.inspections.accept(accepted)
    return Synced(
        listed, tuple(new), tuple(gone), stopped, accepted, seen.unreachable, tuple(seen.said())
    )


def _judged(
    service: Cluster,
    looked: Collection[reach.Place],
    counts: Mapping[int, int],
    gone: Iterable[Archive],
    wanted: Callable[[int], bool],
) -> tuple[dict[int, str], tuple[Acceptance, ...]]:
    """Given where was looked, each guest with how many archives it has there, those that are gone,
    and who is to be accepted, return the guests that a prune would not touch and those that it now
    would. No more than some guests are held at a time.
    """
    # the guests in ascending order, as many at a time as have BATCH archives together: a statement
    # a guest takes longer
    batches: list[list[int]] = []
    held = 0
    for vmid, count in sorted(counts.items()):
        if not batches or held + count > BATCH or len(batches[-1]) == _MAX_VMIDS:
            batches.append([])
            held = 0
        batches[-1].append(vmid)
        held += count
    catalog, at, lost = service.catalog, int(service.clock.now()), {whole.key(one) for one in gone}
    order = {place: number for number, place in enumerate(looked)}
    left: dict[int, str] = {}
    accepted: list[Acceptance] = []
    for vmids in batches:
        found = (
            one
            for one in catalog.archives.find(vmids=vmids)
            if reach.place(one) in order and whole.key(one) not in lost
        )
        archives = sorted(found, key=lambda one: (order[reach.place(one)], one.ctime, one.volid))
        for guest, why in prune_guard.stopped(
            archives, catalog.inspections.knowledge(vmids=vmids)
        ).items():
            if wanted(guest):
                volids = tuple(one.volid for one in archives if one.vmid == guest)
                accepted.append(Acceptance(guest, at, person(), why, volids))
            else:
                left[guest] = why
    return left, tuple(accepted)
