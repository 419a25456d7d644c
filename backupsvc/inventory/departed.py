"""Look whether guests are gone from the cluster, set and end their tombstones, and say of each that
stands whether it is sure at this moment that its machine is gone.

Only what a cluster said that answered whole is believed, and of each VMID the cluster's own word: a
token that sees less must not make a tombstone (law 4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backupsvc.clock import iso
from backupsvc.errors import PveError, PveNotFound, PvePermissionDenied, PveUnreachable
from backupsvc.services import Cluster
from policies import lineage, ownership, tombstones, whole
from policies.chains import chains
from policies.lineage import Identity
from policies.model import (
    Archive,
    Guest,
    GuestType,
    OperationState,
    Tombstone,
    TombstoneRules,
)
from policies.tombstones import Listed

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.pve import Pve

_FAILS = (PveError, PvePermissionDenied, PveUnreachable)
AGE = 30.0  # seconds that an answer of the cluster serves for each removal


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the cluster found. ``why`` says why nobody could be called missing by it, "" if
    it was whole; ``set`` are the new tombstones, ``ended`` the VMIDs of those that ended.
    """

    why: str
    set: tuple[Tombstone, ...] = ()
    ended: tuple[int, ...] = ()


def look(service: Cluster, *, remember: bool = True) -> Look:
    """Given the service, see which machines with archives are gone from the cluster and which are
    back, and remember it. Nothing is remembered of a cluster that did not answer whole.
    """
    catalog, pve, now = service.catalog, service.pve, int(service.clock.now())
    guests = pve.cluster.guests()
    # a part of a cluster must make no tombstone (law 4)
    if why := _not_whole(service, guests):
        return Look(why)
    there = {guest.vmid: guest for guest in guests}
    stones: dict[int, list[Tombstone]] = defaultdict(list)
    for one in catalog.lineages.tombstones():
        stones[one.vmid].append(one)
    seen = catalog.lineages.seen()
    gone: list[Tombstone] = []
    back: dict[int, str] = {}
    copied = {one.route.vmid for one in catalog.copies.find(damaged=True)} - {None}
    kinds = catalog.archives.machines()
    said = {one.vmid for one in catalog.lineages.decisions()}
    for vmid in sorted({*kinds, *(one for one in copied if one is not None)}):
        guest = there.get(vmid)
        # of nearly every guest nothing needs to be asked
        of_it = kinds.get(vmid, set())
        alike = guest and len(of_it) < 2 and all(one[0] in (None, guest.type) for one in of_it)
        if alike and vmid not in stones and vmid not in said:
            continue
        # a guest that the token does not see is not gone
        if guest is None and not _surely_free(pve, vmid):
            continue
        archives = held(catalog, vmid)
        machine = machine_of(service, guest) if guest else None
        found = chains(archives)
        for stone in stones[vmid]:
            mine = tombstones.chain_of(stone, found)
            if mine and guest and tombstones.returned(mine, guest, machine):
                back[stone.number] = f"it was seen again on {guest.node}"
        type, name, last = seen.get(vmid, (None, "", None))
        for chain in tombstones.missing(found, guest, machine):
            if not tombstones.stones_of(chain, found, stones[vmid]):
                was_it = guest is None and type in (None, chain.type)
                newest = chain is found[-1]
                told = (name, last) if was_it and newest else ("", None)
                gone.append(
                    tombstones.of_chain(vmid, chain, now=now, name=told[0], seen_last=told[1])
                )
    if remember:
        catalog.lineages.record_look(guests, now, gone=gone, back=back)
    ended = [one.vmid for group in stones.values() for one in group if one.number in back]
    return Look("", tuple(gone), tuple(sorted(ended)))


def standing(
    service: Cluster, guests: Sequence[Guest], vmids: Collection[int | None]
) -> list[Tombstone]:
    """Given the guests that exist and some VMIDs, return the tombstones of these, each that was
    released with what makes it doubtful now that its machine is gone.
    """
    found = [one for one in service.catalog.lineages.tombstones() if one.vmid in vmids]
    return standing_of(service, guests, found)


def standing_of(
    service: Cluster, guests: Sequence[Guest], found: Sequence[Tombstone]
) -> list[Tombstone]:
    """Given the guests that exist and tombstones, return these as ``standing`` does."""
    there = {guest.vmid: guest for guest in guests}
    doubted = []
    for stone in found:
        guest = there.get(stone.vmid)
        if stone.released is None:
            doubted.append(stone)  # it keeps everything, whatever is there
        elif guest is None and (why := _not_free(service, stone.vmid)):
            doubted.append(replace(stone, doubt=why))
        else:
            machine = machine_of(service, guest) if guest else None
            archives, now = held(service.catalog, stone.vmid), int(service.clock.now())
            doubted.append(tombstones.doubted(stone, archives, guest, machine, now))
    return doubted


def listed(catalog: Catalog, rules: TombstoneRules, now: int) -> tuple[Listed, ...]:
    """Given the catalog, the policy's rules and the time (epoch seconds), return the tombstones as
    they are shown.
    """
    stones = catalog.lineages.tombstones()
    vmids = sorted({one.vmid for one in stones})
    archives = [one for vmid in vmids for one in held(catalog, vmid)]
    copies = [one for vmid in vmids for one in catalog.copies.find(vmid)]
    return tombstones.listed(stones, archives, copies, rules, now)


def held(catalog: Catalog, vmid: int) -> list[Archive]:
    """Given a VMID, return its archives that the storages hold, and those that are gone and of
    which a copy is left.
    """
    copied = {one.route.archive for one in catalog.copies.find(vmid, damaged=True)}
    left = catalog.archives.find(vmid=vmid, gone=True) if copied else []
    there = catalog.archives.find(vmid=vmid)
    known = {whole.key(one) for one in there}
    return there + [one for one in left if whole.key(one) in copied - known]


def _not_free(service: Cluster, vmid: int) -> str:
    """Why it is not sure at this moment that no guest is at a VMID, "" if it is."""
    if why := _not_whole(service, service.pve.cluster.guests(max_age=AGE)):
        return why
    if not _surely_free(service.pve, vmid):
        return f"the cluster does not call VMID {vmid} free, though the token sees no guest"
    # whoever restores it wants it back, and may need another archive if this one fails
    restores = service.catalog.operations.find(kind="restore", subject=vmid, limit=1)
    if restores and restores[0].state is OperationState.OPEN:
        return f"the restore {restores[0].id} of it is not over"
    return ""


def _not_whole(service: Cluster, guests: Collection[Guest]) -> str:
    try:
        cluster = service.pve.cluster
        nodes, quorate = cluster.nodes(max_age=AGE), cluster.status().quorate
    except _FAILS as error:
        return error.message
    return tombstones.not_whole(nodes, quorate, guests, service.catalog.lineages.seen()) or ""


def _surely_free(pve: Pve, vmid: int) -> bool:
    with suppress(*_FAILS):
        # the cluster's own word; where it does not give it, nothing is known
        return pve.cluster.vmid_free(vmid)
    return False


def machine_of(service: Cluster, guest: Guest) -> Identity | None:
    """Whose the guest is by its own config, with what people said of it; None if it is not to be
    read, or is only what a failed restore left.
    """
    guests = service.pve.guests
    asked = guests.config if guest.type is GuestType.QEMU else guests.container_config
    try:
        config = asked(guest.node, guest.vmid)
    except (*_FAILS, PveNotFound):
        return None
    if guest.type is GuestType.QEMU and ownership.is_stub(config):
        return None
    now = int(service.clock.now())
    return service.catalog.lineages.told(guest.vmid, guest.type, lineage.of(config), now)


def as_dict(one: Listed) -> dict[str, Any]:
    """Given a tombstone, return it as every ``--json`` answer shows it."""
    stone = one.tombstone
    released = stone.released
    return {
        "vmid": stone.vmid,
        "name": stone.name,
        "type": str(stone.type) if stone.type else None,
        "lineage": one.chain,
        "seen_last": iso(stone.seen_last) if stone.seen_last else None,
        "missing_since": iso(stone.missing_since),
        "kept_until": iso(one.until),
        "over": one.over,
        "archives": len(one.archives),
        "copies": one.copies,
        "newest_proven": iso(one.newest_proven) if one.newest_proven else None,
        "released": {
            "at": iso(released.at),
            "who": released.who,
            "why": released.why,
            "wholly": released.wholly,
        }
        if released
        else None,
    }
