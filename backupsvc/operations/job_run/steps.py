"""A night: a job's due occurrence as an operation that opens the others: every guest's backup, its
copies, retention, the restore tests due.

The night does no work itself: it opens operations and waits until they have ended. Each of them has
an occurrence key of its own, so that it is opened once, however often this operation is resumed
(law 9). A guest that failed does not fail the night: the night ends, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import OperationFailed
from backupsvc.operations.backup.memory import recall as recall_backup
from backupsvc.operations.backup.opening import GUESTS_AGE, open_backup
from backupsvc.operations.job_run import copies, due_tests, rechecks
from backupsvc.operations.job_run.memory import NightMemory
from backupsvc.operations.job_run.pieces import Opener, ended, wait_for
from backupsvc.operations.prune.opening import open_prune
from backupsvc.operations.services import Run, StepServices
from policies import freezing
from policies.jobs import Expected, expected, rank
from policies.model import Job, OperationState
from policies.workflow import Workflow


def back_up(run: Run[NightMemory]) -> Wait | None:
    """Open one backup for each guest that the job expects, and wait for all of them."""
    service, job = run.service, _job(run)
    guests = service.pve.cluster.guests(max_age=GUESTS_AGE)
    present = {guest.vmid: guest for guest in guests}
    # decided once: a guest that comes or goes meanwhile belongs to the next night
    if run.memory.vmids is None:
        items = expected(job, service.policy, guests)
        vmids = sorted(
            (item.vmid for item in items), key=lambda vmid: (rank(service.policy, vmid), vmid)
        )
        run.memory = replace(run.memory, vmids=tuple(vmids))
    openers: dict[str, Opener] = {}
    for vmid in run.memory.vmids or ():
        item = Expected(vmid, present.get(vmid))
        openers[f"backup#{vmid}"] = partial(open_backup, service, job, item, at=run.memory.at)
    if wait := wait_for(run, openers, "the guests are being backed up"):
        return wait
    found = ended(run, "backup#")
    bad = [str(one.subject) for one in found if one.state is not OperationState.DONE]
    frozen = [str(one.subject) for one in found if freezing.left(recall_backup(one).thaw)]
    told = f"backups: {len(found) - len(bad)} of {len(found)} done"
    told += f", not those of {', '.join(bad)}" if bad else ""
    told += f"; left frozen: {', '.join(frozen)}" if frozen else ""
    _remember(run, backups=told)
    return None


def copy(run: Run[NightMemory]) -> Wait | None:
    """Open the copies that are due; they go on beside what follows."""
    return copies.open_due(run)


def apply_retention(run: Run[NightMemory]) -> Wait | None:
    """Open the site's prune, and wait for it."""
    # of all guests, not of the night's alone: what is kept is decided over everything
    opener = partial(open_prune, run.service, ())
    if wait := wait_for(run, {"prune": opener}, "retention is being applied"):
        return wait
    found = ended(run, "prune")[0]
    _remember(
        run, retention=f"retention: {found.state}{f' ({found.error})' if found.error else ''}"
    )
    return None


def prove(run: Run[NightMemory]) -> Wait | None:
    """Open the restore tests that are due, as many as fit into their window, and wait for them."""
    return due_tests.prove(run, _job(run))


def recheck(run: Run[NightMemory]) -> Wait | None:
    """Read archives anew whose turn it is."""
    return rechecks.read_due(run)


def copied(run: Run[NightMemory]) -> Wait | None:
    """Wait for the copies."""
    return copies.await_all(run)


WORKFLOW = Workflow(
    "night",
    ("back-up", "copy", "prune", "prove", "recheck", "copied"),
    # two jobs' nights may overlap: what they open keeps out of each other's way by guest
    exclusive=False,
    long=frozenset({"copied"}),  # a target that is tried may be slow to answer
)
HANDLERS: Mapping[str, Handler[StepServices, NightMemory]] = {
    "back-up": back_up,
    "copy": copy,
    "prune": apply_retention,
    "prove": prove,
    "recheck": recheck,
    "copied": copied,
}


def _remember(run: Run[NightMemory], **said: str) -> None:
    run.memory = replace(run.memory, results={**run.memory.results, **said})
    run.conclude(next(iter(said.values())))


def _job(run: Run[NightMemory]) -> Job:
    for job in run.service.policy.jobs:
        if job.id == run.memory.job:
            return job
    raise OperationFailed(
        f"job {run.memory.job} is no longer in the policy",
        "run `backupsvc policy show`",
        operation=run.id,
    )
