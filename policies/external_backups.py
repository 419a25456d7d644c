"""Decide about backups that PVE makes by itself: whether ours waits for one, adopts its archive, or
dumps.

PVE's own job may begin up to half an hour before or after ours. The archive that it makes counts
for our occurrence, once it is read back and verified like one of ours. Only when none has come by
the time at which our job's window is over do we dump.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from policies.compliance.facts import ClusterJob
from policies.model import Archive, PolicyError
from policies.pve.calendar_event import occurrences

NEAR = 1800  # seconds between two occurrences that are taken for the same night's
# what the notes of our archives carry, before the operation's id, unless somebody wrote others
OURS = "backupsvc "
_NAMED = re.compile(rf"(?:^|[ ,]){OURS}([0-9A-HJKMNP-TV-Z]{{26}})\s*$")


def operation_named(notes: str) -> str | None:
    """Given an archive's notes, return the id of the operation that they say has made it, None if
    they name none. Whoever may write the archive may write its notes: it links, and proves nothing.
    """
    found = _NAMED.search(notes)
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Beside:
    """PVE's own backup of a guest. ``begins`` in epoch seconds; ``storage`` None: not known.

    ``certain`` if a schedule promises it: then it is waited for even while no task runs.
    """

    origin: str
    begins: int
    storage: str | None = None
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Dumping:
    """A vzdump task that is not ours and runs now. ``vmid`` None: of several guests, nobody can
    tell which.
    """

    upid: str
    node: str
    vmid: int | None
    begins: int


@dataclass(frozen=True, slots=True)
class Own:
    """Decision: make the dump ourselves."""


@dataclass(frozen=True, slots=True)
class StandBack:
    """Decision: wait for PVE's archive."""

    why: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Decision: this archive is the backup of our occurrence."""

    archive: Archive
    origin: str


def scheduled(
    vmid: int, node: str, at: int, jobs: Sequence[ClusterJob], timezone: str
) -> Beside | None:
    """Given a guest, its node and our occurrence, return the enabled PVE job that backs the guest
    up then too, the first of them.

    A job of another node passes the guest by. A schedule that cannot be read promises nothing.
    """
    found = []
    for job in jobs:
        ours_too = job.enabled and job.covers(vmid) and job.node in (None, node)
        if not ours_too or not job.schedule:
            continue
        try:
            near = occurrences(job.schedule, timezone, at - NEAR - 1, at + NEAR)
        except PolicyError:
            continue
        found += [Beside(f"PVE job {job.id}", begins, job.storage, certain=True) for begins in near]
    return min(found, key=lambda item: (item.begins, item.origin), default=None)


def running(vmid: int, node: str, tasks: Sequence[Dumping]) -> Beside | None:
    """Given a guest and the vzdump tasks that are not ours, return the one that dumps it now, or
    may: one of several guests.
    """
    found = [
        task for task in tasks if task.vmid == vmid or (task.vmid is None and task.node == node)
    ]
    first = min(found, key=lambda task: (task.begins, task.upid), default=None)
    return Beside(f"PVE task {first.upid}", first.begins) if first else None


def decide(
    beside: Beside | None,
    archives: Sequence[Archive],
    *,
    at: int,
    now: int,
    window: int,
    drift: int,
    runs: bool,
) -> Own | StandBack | Adopt:
    """Given PVE's own backup of a guest and the guest's archives, return what becomes of our
    occurrence at ``at``.

    No archive is adopted that names us in its notes, or that the catalog knows as ours whatever its
    notes say by now. ``runs`` says whether PVE works on it right now; ``window`` is how long our
    job may be late, ``drift`` how far clocks may differ (seconds).
    """
    if beside is None:
        return Own()
    # a job may begin before or after our occurrence: what is from the earlier of both on counts
    begun = (min(at, beside.begins) if beside.certain else beside.begins) - drift
    fresh = [
        item
        for item in archives
        if item.ctime >= begun
        and item.size > 0
        # else a night would take an earlier dump of this service for PVE's
        and item.operation is None
        and OURS not in item.notes
    ]
    if fresh:
        return Adopt(max(fresh, key=lambda item: (item.ctime, item.volid)), beside.origin)
    # a task that runs no more and left no archive is not waited for: nothing will come of it
    if now < at + window and (beside.certain or runs):
        return StandBack(f"{beside.origin} backs the guest up: its archive is waited for")
    return Own()
