"""Whether the archives of the jobs will find room, as ``doctor`` and ``backup run`` say it before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from backupsvc.errors import BackupsvcError
from backupsvc.operations.listing import places
from policies import jobs, room
from policies.model import Guest, Job
from policies.room import Room
from policies.wording import size

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

Told = tuple[str, str, str, int]  # status, detail, action and exit code of a line of doctor


def rooms(service: Service) -> Iterator[Told]:
    """Given the service, yield what ``doctor`` says of each storage that the jobs write to."""
    for place in measure(service, service.policy.jobs, service.pve.cluster.guests()):
        status, code = ("failed", 1) if place.short else ("warning", 0) if place.tight or place.free is None else ("ok", 0)
        yield status, sentence(place), "" if status == "ok" else action(place), code


def warnings(service: Service, job: Job, only: Collection[int] = ()) -> list[str]:
    """Given a job that is about to run, for some guests or all, return a sentence for each storage that may have no room for it.

    A question that fails keeps nobody from a backup: then that is the sentence.
    """
    guests = service.pve.cluster.guests()  # without this answer there is no backup either
    try:
        found = measure(service, [job], guests, only)
    except BackupsvcError as error:
        return [f"whether {job.storage} has room is not known: {error.message}"]
    return [f"{sentence(place)}; {action(place)}" for place in found if place.short or place.tight or place.free is None]


def measure(service: Service, chosen: Collection[Job], guests: Sequence[Guest], only: Collection[int] = ()) -> tuple[Room, ...]:
    """Given jobs and the cluster's guests, return the room on each storage that they write to."""
    pve = service.pve
    storages = pve.storage.storages()
    targets = [
        (item.guest, job.storage) for job in chosen for item in jobs.expected(job, service.policy, guests, only) if item.guest
    ]
    wanted = {job.storage for job in chosen}
    pairs = [pair for pair in places(storages, pve.cluster.nodes()) if pair[1] in wanted]
    return room.rooms(targets, [item for node, name in pairs for item in pve.storage.archives(node, name)], storages)


def sentence(place: Room) -> str:
    """Given a storage's room, return what is known of it."""
    free = "how much is free is not known" if place.free is None else f"{size(place.free, 'en')} free"
    needed = f"the last archives of {place.guests} guest(s) that it is to take again are {size(place.needed, 'en')}"
    unknown = f", and {len(place.unknown)} guest(s) have no archive to go by" if place.unknown else ""
    verdict = (
        "has no room" if place.short else "is nearly full" if place.tight else "has room" if place.free else "may have no room"
    )
    return f"storage {place.where} {verdict}: {free}, {needed}{unknown}"


def action(place: Room) -> str:
    """Given a storage that may have no room, return the next action."""
    if place.free is None:
        return f"look at it: pvesm status --storage {place.storage}"
    return "free some, keep fewer archives (`backupsvc prune --dry-run` says what would go), or name another storage in the job"
