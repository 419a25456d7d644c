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

from backupsvc.errors import OperationFailed, Refused
from backupsvc.operations import backup, prune, restore_test
from backupsvc.operations.engine import Run, Wait
from policies import sampling
from policies.calendar import occurrences
from policies.jobs import expected
from policies.model import Job, Operation, OperationState
from policies.site import policy_for

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

Opener = Callable[[str], Operation | None]


def open_due(service: Service) -> list[Operation]:
    """Open the night of every job whose occurrence is due and not yet opened; return those that this call opened."""
    opened = []
    for job in service.policy.jobs:
        at = last_due(job, service.policy.timezone, int(service.clock.now()))
        if at is not None:
            data = {"job": job.id, "at": at, "deadline": at + job.timeout + job.window}
            operation = service.engine.open("night", None, data, f"{job.id}@{at}")
            opened += [operation] if operation else []
    return opened


def last_due(job: Job, timezone: str, now: int) -> int | None:
    """Given a job, return its newest occurrence that is due and still within its window, in epoch seconds, or None."""
    due = occurrences(job.schedule, timezone, now - job.window, now)
    return due[-1] if due else None


def back_up(run: Run) -> Wait | None:
    """Open one backup for each guest that the job expects, and wait for all of them."""
    service, job = run.service, _job(run)
    vmids = run.data.setdefault("vmids", [])
    if not vmids:
        vmids += [item.vmid for item in expected(job, service.policy, service.pve.cluster.guests())]
    openers: dict[str, Opener] = {f"backup#{vmid}": partial(_open_backup, service, job, vmid) for vmid in vmids}
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


def _open_backup(service: Service, job: Job, vmid: int, key: str) -> Operation | None:
    return next(iter(backup.open_job(service, job, [vmid], key)), None)


def _open_test(service: Service, vmid: int, key: str) -> Operation | None:
    return restore_test.open_test(service, vmid, occurrence=key)


def _wait_for(run: Run, openers: Mapping[str, Opener], why: str) -> Wait | None:
    """Open each piece once; return a wait until all have ended. A guest that is busy is tried again at the next call."""
    children: dict[str, Any] = run.data.setdefault("children", {})
    for name, opener in openers.items():
        if name not in children:
            try:
                key = f"{run.operation.occurrence}#{name}"
                found = opener(key) or run.service.catalog.occurrence(key)
            except Refused as refused:
                run.say(f"{name} waits: {refused.message}")
                continue
            if found is None:
                raise OperationFailed(f"{name} of night {run.operation.occurrence} could not be opened", operation=run.id)
            children[name] = found.id
            run.save()
    ended = [name in children and _ended(run, children[name]) for name in openers]
    return None if all(ended) else Wait(why, most=5.0)


def _ended(run: Run, id: str) -> bool:
    operation = run.service.catalog.operation(id)
    return operation is not None and operation.state is not OperationState.OPEN


def _most_urgent(run: Run) -> int | None:
    policy, vmids = run.service.policy, run.data["vmids"]
    proven = {proof.vmid: proof.ended for proof in reversed(run.service.catalog.proofs()) if proof.verdict == "proven"}
    wanted = MappingProxyType({vmid: policy_for(policy, vmid, "") for vmid in vmids})
    turns = sampling.due(replace(policy, guests=wanted), proven, run.now())
    return turns[0].vmid if turns else None


def _job(run: Run) -> Job:
    for job in run.service.policy.jobs:
        if job.id == run.data["job"]:
            return job
    raise OperationFailed(f"job {run.data['job']} is no longer in the policy", "run `backupsvc policy show`", operation=run.id)
