"""Whether archives and restored disks will find room, as ``doctor``, ``backup run`` and ``restore``
say it before they write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from backupsvc.errors import BackupsvcError, NoRoom
from backupsvc.inventory.listing import FAILS, read, readers
from backupsvc.services import Cluster
from policies import jobs, reach, room
from policies.i18n import size, sizes
from policies.model import Archive, Guest, Job
from policies.room import DiskNeed, DiskRoom, Room

if TYPE_CHECKING:
    from backupsvc.pve import Pve

Told = tuple[str, str, str, int]  # status, detail, action and exit code of a line of doctor


def rooms(service: Cluster) -> Iterator[Told]:
    """Given the service, yield what ``doctor`` says of each storage that the jobs write to.

    Of a node that does not answer, or does not say its storages, nothing is known, and another line
    has said what is to be done.
    """
    for place in measure(service, service.policy.jobs, service.pve.cluster.guests()):
        if place.silent:
            yield "unknown", sentence(place), "", 0
            continue
        status, code = (
            ("failed", 1)
            if place.short
            else ("warning", 0)
            if place.tight or place.free is None
            else ("ok", 0)
        )
        yield status, sentence(place), "" if status == "ok" else action(place), code


def warnings(service: Cluster, job: Job, only: Collection[int] = ()) -> list[str]:
    """Given a job that is about to run, for some guests or all, return a sentence for each storage
    that may have no room for it.

    A question that fails keeps nobody from a backup: then that is the sentence. Nothing is said of
    a node that does not answer: the backups of its guests say it.
    """
    guests = service.pve.cluster.guests()  # without this answer there is no backup either
    try:
        found = measure(service, [job], guests, only)
    except BackupsvcError as error:
        return [f"whether {job.storage} has room is not known: {error.message}"]
    doubtful = [
        place
        for place in found
        if place.silent in ("", reach.SILENT) and (place.short or place.tight or place.free is None)
    ]
    return [f"{sentence(place)}; {action(place)}" for place in doubtful]


def measure(
    service: Cluster, chosen: Collection[Job], guests: Sequence[Guest], only: Collection[int] = ()
) -> tuple[Room, ...]:
    """Given jobs and the cluster's guests, return the room on each storage that they write to.

    An archive that cannot be listed now still tells how large the next one will be.
    """
    pve = service.pve
    seen, nodes = pve.storage.seen(), pve.cluster.nodes()
    targets = [
        (item.guest, job.storage)
        for job in chosen
        for item in jobs.expected(job, service.policy, guests, only)
        if item.guest
    ]
    wanted = {job.storage for job in chosen}
    listed: list[Archive] = []
    looked: set[reach.Place] = set()
    for place, able in readers(seen.storages, nodes).items():
        if place[1] in wanted:
            # of what cannot be listed the catalog tells, below
            with suppress(*FAILS):
                listed += read(pve, place[1], able)[1]
                looked.add(place)
    listed += reach.unlisted(service.catalog.archives.find(), looked)
    return room.rooms(targets, listed, seen.storages, reach.down(nodes, seen.silent))


def before_restore(
    pve: Pve, vmid: int, node: str, needs: Collection[DiskNeed], packed: int
) -> list[str]:
    """Given what a restore of a guest needs on a node, and its archive's size in bytes, return a
    sentence for each storage that may have no room for it. Raise NoRoom where it surely has none.
    """
    seen = pve.storage.seen()
    # a node that hangs at one storage tells none: that is no reason to refuse
    if why := seen.silent.get(node):
        return [
            f"whether {node} has room for the disks is not known: it did not say which storages "
            f"it has ({why})"
        ]
    found = room.for_disks(needs, node, seen.storages)
    # a storage that is not thin sets the whole disk aside, and PVE asks for no room before
    # (pve-facts 7.8)
    full = next((one for one in found if one.impossible), None)
    if full is None:
        return [said for place in found if (said := _doubt(place, packed))]
    storage, there = full.need.storage, full.free or 0
    free, needed, lacking = sizes("en", there, full.need.needed, full.need.needed - there)
    elsewhere = ", ".join(
        f"{one.name} ({size(one.available, 'en')} free)"
        for one in room.roomier(full.need.needed, node, seen.storages)
        if one.name != storage
    )
    nowhere = f"; no other storage of {node} has so much"
    way = f", or put the disks elsewhere with --storage: {elsewhere}" if elsewhere else nowhere
    raise NoRoom(
        f"restoring guest {vmid} was not begun: storage {storage} on {node} has {free} free, and "
        f"{needed} are needed, because it sets the whole size of a disk aside when the disk is made",
        f"free {lacking} there{way}",
    )


def _doubt(place: DiskRoom, packed: int) -> str | None:
    """What speaks against the room, None if nothing does."""
    name, need = f"storage {place.need.storage}", place.need
    where = f"{name} on {place.node}"
    if not place.there:
        return (
            f"{place.node} shows no {name}, where the disks would go: name another with "
            "--storage, or PVE refuses the restore"
        )
    if place.free is None:
        return (
            f"how much {where} has free is not known; the disks take {size(need.needed, 'en')} "
            "there when full"
        )
    if place.short:
        free, needed, archive = sizes("en", place.free, need.needed, packed)
        hardly = (
            f"; the archive alone is {archive} packed, so it will hardly fit"
            if place.free < packed
            else ""
        )
        return (
            f"{where} has {free} free, and the disks take {needed} there when full: only what is "
            "written is allocated, so the restore may fit, and the guest run out of room "
            f"later{hardly}; free some, or name another storage with --storage"
        )
    if need.unsized:
        return (
            f"the archive does not say how large {', '.join(need.unsized)} is: whether {where} "
            "has room is not known"
        )
    return None


def sentence(place: Room) -> str:
    """Given a storage's room, return what is known of it."""
    if place.silent:
        why = (
            ": {} did not say which storages it has"
            if place.silent == reach.SILENT
            else " while {} does not answer"
        )
        return f"how much storage {place.where} has free is not known{why.format(place.node)}"
    free = (
        "how much is free is not known" if place.free is None else f"{size(place.free, 'en')} free"
    )
    needed = (
        f"the last archives of {place.guests} guest(s) that it is to take again are "
        f"{size(place.needed, 'en')}"
    )
    unknown = (
        f", and {len(place.unknown)} guest(s) have no archive to go by" if place.unknown else ""
    )
    verdict = (
        "has no room"
        if place.short
        else "is nearly full"
        if place.tight
        else "has room"
        if place.free
        else "may have no room"
    )
    return f"storage {place.where} {verdict}: {free}, {needed}{unknown}"


def action(place: Room) -> str:
    """Given a storage that may have no room, return the next action."""
    if place.free is None:
        return f"look at it: pvesm status --storage {place.storage}"
    return (
        "free some, keep fewer archives (`backupsvc prune --dry-run` says what would go), or name "
        "another storage in the job"
    )
