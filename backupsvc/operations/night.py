"""A night: a job's due occurrence as an operation that opens the others. Back up every guest, apply retention, prove one archive.

The night does no work itself: it opens operations and waits until they have ended. Each of them has an occurrence key of its own,
so that it is opened once, however often this operation is resumed (law 9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from backupsvc.catalog.operations import NewOperation
from backupsvc.clock import iso
from backupsvc.errors import OperationFailed, Refused
from backupsvc.operations import backup, prune, restore_test
from backupsvc.operations.run import Run, Wait
from policies import sampling
from policies.calendar import occurrences
from policies.jobs import Expected, expected
from policies.model import Job, Operation
from policies.site import policy_for
from policies.transitions import PLANS

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

Opener = Callable[[str], Operation | None]


def open_due(service: Service) -> list[Operation]:
    """Open the night of every job whose occurrence is due and not yet opened; return those that this call opened."""
    opened = []
    for job in service.policy.jobs:
        at = last_due(job, service.policy.timezone, int(service.clock.now()))
        if at is not None:
            operation = service.engine.open(
                "night", None, _memory(job, at), occurrence=key(job, at), within=job.timeout + job.window
            )
            opened += [operation] if operation else []
    return opened


def record_missed(service: Service, since: int) -> list[Operation]:
    """Given when the scheduler was last seen at work, record every occurrence since then whose window has passed unopened.

    Each is recorded once (law 9), with the state ``missed``. Return those that this call recorded.
    """
    now, missed = int(service.clock.now()), []
    for job in service.policy.jobs:
        for at in occurrences(job.schedule, service.policy.timezone, since, now - job.window):
            new = NewOperation("night", None, PLANS["night"].first, _memory(job, at), key(job, at))
            why = f"no scheduler ran within {job.window // 60} minutes of {iso(at)}, so job {job.id} was not run"
            operation = service.catalog.record_missed(new, now, why)
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
        run.data["vmids"] = [item.vmid for item in expected(job, service.policy, guests)]
    items = [Expected(vmid, present.get(vmid)) for vmid in run.data["vmids"]]
    openers: dict[str, Opener] = {f"backup#{item.vmid}": partial(backup.open_backup, service, job, item) for item in items}
    return _wait_for(run, openers, "the guests are being backed up")


def apply_retention(run: Run) -> Wait | None:
    """Open the site's prune, and wait for it."""

    def open_prune(key: str) -> Operation | None:
        return prune.open_prune(run.service, occurrence=key)

    return _wait_for(run, {"prune": open_prune}, "retention is being applied")


def prove(run: Run) -> Wait | None:
    """Open the restore test of the guest whose proof is due first, and wait for it."""
    if "turn" not in run.data:
        run.data["turn"] = _most_urgent(run)
    vmid = run.data["turn"]
    if vmid is None:
        return None
    return _wait_for(run, {f"prove#{vmid}": partial(_open_test, run.service, vmid)}, f"guest {vmid} is being proven")


HANDLERS = {"back-up": back_up, "prune": apply_retention, "prove": prove}


def _open_test(service: Service, vmid: int, key: str) -> Operation | None:
    return restore_test.open_test(service, vmid, occurrence=key)


def _wait_for(run: Run, openers: Mapping[str, Opener], why: str) -> Wait | None:
    """Open each piece once; return a wait until all have ended. A guest that is busy is tried again at the next call."""
    children: dict[str, Any] = run.data.setdefault("children", {})
    for name, opener in openers.items():
        if name not in children:
            run.beat()
            _open_piece(run, children, name, opener)
    waiting = {children[name] for name in openers if name in children}
    if len(waiting) == len(openers) and not run.service.catalog.still_open(waiting):
        return None
    return Wait(why, most=30.0)


def _open_piece(run: Run, children: dict[str, Any], name: str, opener: Opener) -> None:
    key = f"{run.operation.occurrence}#{name}"
    try:
        found = opener(key) or run.service.catalog.occurrence(key)
    except Refused as refused:
        run.say(f"{name} waits: {refused.message}")
        return
    if found is None:
        raise OperationFailed(f"{name} of night {run.operation.occurrence} could not be opened", operation=run.id)
    children[name] = found.id


def _most_urgent(run: Run) -> int | None:
    policy, vmids = run.service.policy, run.data["vmids"]
    proven = {proof.vmid: proof.ended for proof in reversed(run.service.catalog.proofs()) if proof.verdict == "proven"}
    wanted = MappingProxyType({vmid: policy_for(policy, vmid, "") for vmid in vmids})
    turns = sampling.due(replace(policy, guests=wanted), proven, run.now())
    return turns[0].vmid if turns else None


def _memory(job: Job, at: int) -> dict[str, Any]:
    return {"job": job.id, "at": at}


def _job(run: Run) -> Job:
    for job in run.service.policy.jobs:
        if job.id == run.data["job"]:
            return job
    raise OperationFailed(f"job {run.data['job']} is no longer in the policy", "run `backupsvc policy show`", operation=run.id)
