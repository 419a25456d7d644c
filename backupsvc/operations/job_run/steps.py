"""A night: a job's due occurrence as an operation that opens the others: every guest's backup, retention, the restore tests due.

The night does no work itself: it opens operations and waits until they have ended. Each of them has an occurrence key of its own,
so that it is opened once, however often this operation is resumed (law 9). A guest that failed does not fail the night: the night
ends, and says so.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from backupsvc.catalog.leases import Fence
from backupsvc.catalog.operations import NewOperation
from backupsvc.clock import iso
from backupsvc.engine.context import Run, Wait
from backupsvc.errors import OperationFailed
from backupsvc.operations.backup import steps as backup
from backupsvc.operations.job_run import due_tests as night_tests
from backupsvc.operations.job_run.pieces import Opener, ended, wait_for
from backupsvc.operations.prune import steps as prune
from policies import freezing
from policies.calendar import occurrences
from policies.jobs import Expected, expected, rank
from policies.model import Job, Operation, OperationState
from policies.transitions import PLANS

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

MOST_MISSED = 1000  # of one job, the newest: a job of every minute must not fill the catalog after a week's absence
MISSED_BACK = 31 * 24 * 3600  # seconds: of a longer absence (or of a clock that jumped) only so much is written down


def open_due(service: Service, since: int | None = None) -> list[Operation]:
    """Open the night of every job whose occurrence is due and not yet opened; return those that this call opened.

    ``since`` is when the scheduler was last seen at work: what came due since then and is not opened now is recorded as missed.
    """
    opened, now = [], int(service.clock.now())
    for job in service.policy.jobs:
        at = last_due(job, service.policy.timezone, now)
        if at is not None:
            within = job.timeout + job.window
            operation = service.engine.open("night", None, _memory(job, at), occurrence=key(job, at), within=within)
            opened += [operation] if operation else []
    if since is not None:
        record_missed(service, since)
    return opened


def record_missed(service: Service, since: int) -> list[Operation]:
    """Given when the scheduler was last seen at work, record every occurrence since then that is not run any more.

    That is each whose window has passed, and each that a newer one has overtaken. Each is recorded once (law 9), with the state
    ``missed``; what lies further back than ``MISSED_BACK``, or beyond ``MOST_MISSED``, is not gone through. Return those that
    this call recorded.
    """
    now, missed = int(service.clock.now()), []
    for job in service.policy.jobs:
        newest = last_due(job, service.policy.timezone, now)
        since_then = occurrences(job.schedule, service.policy.timezone, max(since, now - MISSED_BACK), now)
        for at in since_then[-MOST_MISSED:]:
            if at == newest:
                continue
            new = NewOperation("night", None, PLANS["night"].first, _memory(job, at), key(job, at))
            late = f"no scheduler ran within {job.window // 60} minutes of {iso(at)}"
            why = late if at <= now - job.window else f"no scheduler ran at {iso(at)}, and a newer night is due"
            operation = service.catalog.record_missed(new, now, f"{why}, so job {job.id} was not run")
            missed += [operation] if operation else []
    return missed


def key(job: Job, at: int) -> str:
    """Given a job and the time of one of its occurrences (epoch seconds), return the key that makes it unique."""
    return f"{job.id}@{at}"


def last_due(job: Job, timezone: str, now: int) -> int | None:
    """Given a job, return its newest occurrence that is due and still within its window, in epoch seconds, or None."""
    due = occurrences(job.schedule, timezone, now - job.window, now)
    return due[-1] if due else None


def back_up(run: Run) -> Wait | None:
    """Open one backup for each guest that the job expects, and wait for all of them."""
    service, job = run.service, _job(run)
    guests = service.pve.cluster.guests(max_age=backup.GUESTS_AGE)
    present = {guest.vmid: guest for guest in guests}
    if "vmids" not in run.data:
        items = expected(job, service.policy, guests)
        run.data["vmids"] = sorted((item.vmid for item in items), key=lambda vmid: (rank(service.policy, vmid), vmid))
    openers: dict[str, Opener] = {}
    for vmid in run.data["vmids"]:
        item = Expected(vmid, present.get(vmid))
        openers[f"backup#{vmid}"] = partial(backup.open_backup, service, job, item, at=int(run.data["at"]))
    if wait := wait_for(run, openers, "the guests are being backed up"):
        return wait
    _remember(run, backups=_backups(ended(run, "backup#")))
    return None


def apply_retention(run: Run) -> Wait | None:
    """Open the site's prune, and wait for it."""

    def open_prune(key: str, parent: Fence) -> Operation | None:
        return prune.open_prune(run.service, occurrence=key, parent=parent)

    if wait := wait_for(run, {"prune": open_prune}, "retention is being applied"):
        return wait
    found = ended(run, "prune")[0]
    _remember(run, retention=f"retention: {found.state}{f' ({found.error})' if found.error else ''}")
    return None


def prove(run: Run) -> Wait | None:
    """Open the restore tests that are due, as many as fit into their window, and wait for them."""
    return night_tests.prove(run, _job(run))


HANDLERS = {"back-up": back_up, "prune": apply_retention, "prove": prove}


def summary(operation: Operation) -> str | None:
    """Given a night, return in one line what has come of it so far; None if it is no night, or nothing has come of it yet."""
    said: Any = operation.data.get("results") or {}
    parts = [said[name] for name in ("backups", "retention", "tests") if name in said]
    return "; ".join(parts) or None


def _remember(run: Run, **said: str) -> None:
    run.data["results"] = run.data.get("results", {}) | said
    run.data["said"] = next(iter(said.values()))


def _backups(found: list[Operation]) -> str:
    good = sum(operation.state is OperationState.DONE for operation in found)
    bad = ", ".join(str(operation.subject) for operation in found if operation.state is not OperationState.DONE)
    frozen = ", ".join(str(operation.subject) for operation in found if freezing.left(operation.data))
    told = f"backups: {good} of {len(found)} done" + (f", not those of {bad}" if bad else "")
    return told + (f"; left frozen: {frozen}" if frozen else "")


def _memory(job: Job, at: int) -> dict[str, Any]:
    return {"job": job.id, "at": at}


def _job(run: Run) -> Job:
    for job in run.service.policy.jobs:
        if job.id == run.data["job"]:
            return job
    raise OperationFailed(f"job {run.data['job']} is no longer in the policy", "run `backupsvc policy show`", operation=run.id)
