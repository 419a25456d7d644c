"""Whether a scheduled backup may begin yet: not while its node is offline, and not where PVE makes
the same backup by itself.

A backup that a person asks for never stands back.
"""

from __future__ import annotations

from dataclasses import replace

from backupsvc.engine.context import Wait
from backupsvc.errors import OperationFailed, PvePermissionDenied
from backupsvc.operations.backup.memory import Adopted, BackupMemory, Dump
from backupsvc.operations.services import Run
from policies import external_backups
from policies import external_backups as foreign
from policies.external_backups import Adopt, StandBack
from policies.model import Archive, Guest, Job
from policies.pve import vzdump_log as vzdumplog

JOBS_AGE = 60.0  # seconds that an answer about PVE's own jobs serves for all guests
LOOK_AGAIN = 120.0  # seconds between two looks for an archive that PVE makes


def stand_back(run: Run[BackupMemory], guest: Guest, job: Job) -> Wait | None:
    """Given a guest and the job that backs it up, return a wait while its dump must not begin; the
    node's turn is left then.

    When PVE has made the archive itself, remember it as ``adopted``: there is nothing left to dump.
    """
    at = run.memory.at
    if at is None or run.memory.adopted:
        return None
    # PVE calls a guest so whose node it does not hear, which may be up all the same
    if guest.status == "unknown" and not any(
        node.name == guest.node and node.online for node in run.service.pve.cluster.nodes()
    ):
        if run.now() >= at + job.window:
            raise OperationFailed(
                f"node {guest.node} was offline until the window was over, so guest {guest.vmid} "
                "was not backed up",
                f"bring the node back, then run `backupsvc backup run --vmid {guest.vmid}`",
                operation=run.id,
            )
        wait: Wait | None = Wait(f"node {guest.node} is offline", most=LOOK_AGAIN)
    else:
        wait = _await_archive(run, guest, job, at)
    # while it stands back, the node's other guests are dumped
    if wait or run.memory.adopted:
        run.leave()
    return wait


def _await_archive(run: Run[BackupMemory], guest: Guest, job: Job, at: int) -> Wait | None:
    pve, policy = run.service.pve, run.service.policy
    runs = external_backups.running(guest.vmid, guest.node, pve.tasks.dumps_of_others())
    # kept, for once it has ended the cluster no longer lists it as running
    if runs:
        run.memory = replace(run.memory, foreign=runs)
    try:
        of_pve = pve.cluster.jobs(max_age=JOBS_AGE)
    except PvePermissionDenied:  # the report names that gap
        of_pve = []
    jobs = [one.seen(pve.cluster.guests(max_age=JOBS_AGE)) for one in of_pve]
    beside = (
        foreign.scheduled(guest.vmid, guest.node, at, jobs, policy.timezone) or run.memory.foreign
    )
    archives: list[Archive] = []
    for name in sorted({job.storage, beside.storage or job.storage}) if beside else ():
        for item in pve.storage.archives(guest.node, name, guest.vmid):
            # who made it is not in a listing: what this service made is not PVE's
            old = run.service.catalog.archives.get(item.node, item.volid)
            archives.append(replace(item, operation=old.operation) if old else item)
    decision = foreign.decide(
        beside,
        archives,
        at=at,
        now=run.now(),
        window=job.window,
        drift=policy.max_clock_drift,
        runs=runs is not None,
    )
    if isinstance(decision, Adopt):
        archive, origin = decision.archive, decision.origin
        adopted = Adopted(archive.volid, archive.storage, origin)
        # what PVE's task said of the guest's consistency is not known, and is not made up
        unread = Dump(vzdumplog.read((), run.vmid), "OK")
        run.memory = replace(run.memory, adopted=adopted, dump=unread)
        run.note("adopted", volid=archive.volid, origin=origin)
    return Wait(decision.why, most=LOOK_AGAIN) if isinstance(decision, StandBack) else None
