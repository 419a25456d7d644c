"""Take a scratch copy down, whatever happened before: end its restore, stop it, destroy it, give
its VMID back (law 1).

It is the cleanup of every restore test, and all that a ``reap`` does: an operation of its own,
opened for a copy whose test ended without getting rid of it (PVE was silent for a day, say).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from backupsvc.engine.context import Handler, NoTask, Wait
from backupsvc.errors import (
    OperationFailed,
    PveError,
    PveNotFound,
    PvePermissionDenied,
    Unreachable,
)
from backupsvc.operations.memories import ScratchPlace
from backupsvc.operations.scratch_cleanup.memory import C, CopyMemory, ReapMemory, recall
from backupsvc.operations.scratch_cleanup.whereabouts import (
    copies,
    holder,
    inherit,
    owner,
    place_of,
    until_gone,
    where_now,
)
from backupsvc.operations.services import Opening, Run, StepServices
from policies import ownership
from policies.bookkeeping import TaskRecord
from policies.model import Operation, OperationState
from policies.workflow import Workflow

MAX_WAIT_S = 1800  # seconds after which PVE is no longer expected to get it done
REAP_EVERY = 3600  # seconds between two attempts to get rid of a copy that would not go
_ENDS = {"stop": ("stopping", "stopped"), "destroy": ("destroying", "removed")}
_log = logging.getLogger(__name__)


def tear_down(
    run: Run[C],
    *,
    meanwhile: Callable[[], bool] = lambda: False,
    afterwards: Callable[[], Wait | None] = lambda: None,
) -> Wait | None:
    """Remove the copy, if it is ours, and give its VMID back once it is gone. A restore that still
    runs is stopped first.

    ``meanwhile`` is called while it is being removed, and returns whether it began something that
    takes but a moment. ``afterwards`` is called once it is gone, and returns a wait until the VMID
    may be given back.

    Where PVE cannot be asked, or answers with something that cannot be read, the error names the
    copy that is left.
    """
    scratch = run.memory.scratch
    try:
        if scratch and (wait := _end_restore(run, scratch) or _remove(run, scratch)):
            if meanwhile():
                wait = replace(wait, most=0.01)
            if run.passed("tear-down") > MAX_WAIT_S:
                raise OperationFailed(
                    f"scratch VMID {scratch.vmid} on {place_of(run, scratch)} could not be removed "
                    f"within {MAX_WAIT_S} s: {wait.why}",
                    "look at its tasks in PVE; the VMID stays reserved, and it is tried again "
                    "every hour while workers run",
                    operation=run.id,
                )
            return wait
        if wait := afterwards():
            return wait
        release_vmids(run, holder(run))
        run.leave()
        return None
    except (Unreachable, PveError) as error:
        # said once: what is raised further in may have named it already
        if scratch and _began(run) and "stays reserved" not in error.hint:
            left = (
                f"the copy in scratch VMID {scratch.vmid} on {place_of(run, scratch)} may still be "
                "there, and the VMID stays reserved: the next `backupsvc restore-test`, or workers "
                "(`backupsvc serve`), take it down"
            )
            error.hint = f"{error.hint}; {left}" if error.hint else left
        raise


def _remove(run: Run[C], scratch: ScratchPlace) -> Wait | None:
    if not _began(run):
        # PVE refused the restore, so whatever is under that VMID now is somebody else's
        return None
    if wait := inherit(run, scratch):
        return wait
    if not run.memory.destroyed:
        if wait := where_now(run, scratch):
            return wait
        node, vmid = place_of(run, scratch), scratch.vmid
        if not run.memory.stopped:
            # what a failed restore leaves bears no marker, and nothing unmarked is stopped (law 1)
            _adopt_stub(run, node, vmid)
            if wait := _end_copy(
                run, scratch, "stop", lambda: copies(run).stop(node, vmid, owner(run))
            ):
                return wait
            run.memory = replace(run.memory, stopped=True)
        if wait := _end_copy(
            run, scratch, "destroy", lambda: copies(run).destroy(node, vmid, owner(run))
        ):
            return wait
        run.memory = replace(run.memory, destroyed=True)
    return until_gone(run, scratch)


def _began(run: Run[C]) -> bool:
    restore = run.book.task("restore")
    return bool(restore.upid or restore.intended or run.memory.orphan)


def open_reaps(service: Opening) -> list[Operation]:
    """Open a reap for every scratch VMID whose operation has ended and still holds it; return those
    that this call opened.
    """
    opened = []
    for vmid, held_by in service.catalog.leases.holders().items():
        ended = service.catalog.operations.get(held_by)
        if ended is None or ended.state is OperationState.OPEN:
            continue
        try:
            operation = None if tried(service, vmid, held_by) else open_reap(service, vmid, ended)
        except OperationFailed as error:
            # what it remembers cannot be read here: the other copies are taken down all the same
            _log.warning(
                "the copy in scratch VMID %s of %s %s: %s",
                vmid,
                ended.kind,
                ended.id,
                error.message,
            )
            continue
        opened += [operation] if operation else []
    return opened


def open_reap(service: Opening, vmid: int, ended: Operation) -> Operation | None:
    """Given a scratch VMID that an ended operation still holds, open the reap that takes its copy
    down. Raise Refused if something is at work there.
    """
    remembered = service.engine.kinds[ended.kind].form.read(ended.memory)
    # what is of a kind that makes no copy remembers nothing of one
    copy = remembered if isinstance(remembered, CopyMemory) else CopyMemory()
    if copy.orphan:
        # If its copy is still there, it is found again as one that is forgotten.
        service.catalog.leases.release_of_ended(vmid, ended.id)
        return None
    restore = ended.book.tasks.get("restore")
    made_by = TaskRecord(restore.intended, restore.upid) if restore else None
    memory = ReapMemory(
        copy.scratch,
        copy.where,
        volumes=copy.volumes,
        places=copy.places,
        copy_of=ended.id,
        made_by=made_by,
    )
    return service.engine.open("reap", vmid, memory)


def tried(service: Opening, vmid: int, copy_of: str) -> bool:
    """Given a scratch VMID and whose copy is there, return whether a reap is at that copy, or was
    less than an hour ago.
    """
    before = service.catalog.operations.find(kind="reap", subject=vmid, limit=1)
    same = bool(before) and recall(before[0]).copy_of == copy_of
    return same and (
        before[0].state is OperationState.OPEN
        or before[0].created > service.clock.now() - REAP_EVERY
    )


def release_vmids(run: Run[C], holder: str) -> None:
    """Give back every scratch VMID that an operation holds."""
    for vmid, held_by in run.service.catalog.leases.holders().items():
        if held_by == holder:
            run.service.catalog.leases.release(vmid, holder, run.fence())


def _end_restore(run: Run[C], scratch: ScratchPlace) -> Wait | None:
    """Wait until no restore works on the VMID any more: stop one that does, and give a lost one
    time to show up.
    """
    if run.unsettled("start"):
        return Wait("it is not known yet whether the copy was started", most=2.0)
    upid = run.book.upid("restore") or run.adopt(
        "restore", **scratch_task(run, scratch, "qmrestore")
    )
    if upid is None:
        return (
            Wait("it is not known yet whether a restore was started", most=2.0)
            if run.unsettled("restore")
            else None
        )
    if run.book.task("restore").told:
        return None
    if run.service.pve.tasks.poll(upid) is not None:
        run.keep_task("restore", told=True)
        return None
    run.stop("restore", run.service.pve, upid)
    return Wait("the interrupted restore is ending", most=0.5)


def _end_copy(
    run: Run[C], scratch: ScratchPlace, name: str, start: Callable[[], str | None]
) -> Wait | None:
    """Given what ``start`` begins, "stop" or "destroy", have it done once, and return a wait until
    PVE's task is over.
    """
    from backupsvc.pve.scratch import gone

    node, vmid = place_of(run, scratch), scratch.vmid
    doing, done = _ENDS[name]
    try:
        result = run.task(
            name,
            start,
            what=f"{name} scratch VMID {vmid}",
            **scratch_task(run, replace(scratch, node=node), f"qm{name}"),
        )
    except NoTask:
        return None  # there is no such guest
    if result is None:
        return Wait(f"the copy is being {done}", most=0.5)
    # it may have moved in between: where it is now is asked after the deletion
    if not gone(result.exitstatus):
        result.raise_if_failed(f"{doing} scratch VMID {vmid} on {node}")
    return None


def scratch_task(run: Run[C], scratch: ScratchPlace, type: str) -> dict[str, Any]:
    """Given where a copy is, return where a task on it runs, as ``Run.task`` and ``Run.adopt`` want
    to know it.
    """
    return {"pve": run.service.pve, "node": scratch.node, "vmid": scratch.vmid, "type": type}


def _adopt_stub(run: Run[C], node: str, vmid: int) -> None:
    """A failed restore leaves a config without our marker: mark it when it is provably ours, so
    that it can go (law 1).
    """
    upid = run.book.upid("restore")
    try:
        config = run.service.pve.guests.config(node, vmid)
    except PveNotFound:
        return
    holder = run.service.catalog.leases.holder(vmid)
    unmarked = ownership.refusal(
        vmid, config, scratch=run.service.policy.scratch, operation=owner(run), lease_holder=holder
    )
    if upid and unmarked and ownership.is_stub(config):
        try:
            copies(run).mark_stub(node, vmid, owner(run), upid)
        except PvePermissionDenied:
            # PVE puts a guest into its pool at the end of a restore: this one is in none
            raise PvePermissionDenied(
                f"VM {vmid} on {node} is the empty rest of our failed restore, and in no pool, so "
                f"that {run.service.pve.token_id} may not remove it",
                f"remove it there as root: `qm destroy {vmid}`; until then the scratch VMID "
                f"{vmid} stays reserved",
            ) from None


def _reap(run: Run[ReapMemory]) -> Wait | None:
    """Take down the copy of another operation: the restore that made it is this one's to end."""
    made_by = run.memory.made_by
    if made_by and "restore" not in run.book.tasks:
        run.keep_task("restore", intended=made_by.intended, upid=made_by.upid)
    return tear_down(run)


WORKFLOW = Workflow("reap", (), ("tear-down",))
HANDLERS: Mapping[str, Handler[StepServices, ReapMemory]] = {"tear-down": _reap}
