"""Open the runs of jobs that are due, and record those that were missed."""

from __future__ import annotations

from backupsvc.catalog.operations import NewOperation
from backupsvc.clock import iso
from backupsvc.operations.job_run.memory import FORM, NightMemory
from backupsvc.operations.services import Opening
from policies.model import Job, Operation
from policies.pve.calendar_event import occurrences

# of one job, the newest: a job of every minute must not fill the catalog after a week's absence
MAX_MISSED = 1000


# seconds: of a longer absence (or of a clock that jumped) only so much is written down
MISSED_BACK = 31 * 24 * 3600


def open_due(service: Opening, since: int | None = None) -> list[Operation]:
    """Open the night of every job whose occurrence is due and not yet opened; return those that
    this call opened.

    ``since`` is when the scheduler was last seen at work: what came due since then and is not
    opened now is recorded as missed.
    """
    opened, now = [], int(service.clock.now())
    for job in service.policy.jobs:
        at = last_due(job, service.policy.timezone, now)
        if at is not None:
            timeout_s = job.timeout + job.window
            operation = service.engine.open(
                "night",
                None,
                NightMemory(job.id, at),
                occurrence=occurrence_key(job, at),
                timeout_s=timeout_s,
            )
            opened += [operation] if operation else []
    if since is not None:
        record_missed(service, since)
    return opened


def record_missed(service: Opening, since: int) -> list[Operation]:
    """Given when the scheduler was last seen at work, record every occurrence since then that is
    not run any more.

    That is each whose window has passed, and each that a newer one has overtaken. Each is recorded
    once (law 9), with the state ``missed``; what lies further back than ``MISSED_BACK``, or beyond
    ``MAX_MISSED``, is not gone through. Return those that this call recorded.
    """
    now, missed = int(service.clock.now()), []
    for job in service.policy.jobs:
        newest = last_due(job, service.policy.timezone, now)
        since_then = occurrences(
            job.schedule, service.policy.timezone, max(since, now - MISSED_BACK), now
        )
        for at in since_then[-MAX_MISSED:]:
            # its window is still open, so that it is run, if late
            if at == newest:
                continue
            first, asked = (
                service.engine.kinds["night"].workflow.first,
                FORM.write(NightMemory(job.id, at)),
            )
            new = NewOperation("night", None, first, asked, occurrence=occurrence_key(job, at))
            late = f"no scheduler ran within {job.window // 60} minutes of {iso(at)}"
            why = (
                late
                if at <= now - job.window
                else f"no scheduler ran at {iso(at)}, and a newer night is due"
            )
            operation = service.catalog.operations.record_missed(
                new, now, f"{why}, so job {job.id} was not run"
            )
            missed += [operation] if operation else []
    return missed


def occurrence_key(job: Job, at: int) -> str:
    """Given a job and the time of one of its occurrences (epoch seconds), return the key that makes
    it unique.
    """
    return f"{job.id}@{at}"


def last_due(job: Job, timezone: str, now: int) -> int | None:
    """Given a job, return its newest occurrence that is due and still within its window, in epoch
    seconds, or None.
    """
    due = occurrences(job.schedule, timezone, now - job.window, now)
    return due[-1] if due else None
