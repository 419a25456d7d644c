"""Take a scratch copy down, whatever happened before: end its restore, stop it, destroy it, give its VMID back (law 1).

It is the cleanup of every restore test, and all that a ``reap`` does: an operation of its own, opened for a copy whose test ended
without getting rid of it (PVE was silent for a day, say).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backupsvc.engine.context import Handler, NoTask, Run, Wait
from backupsvc.errors import BackupsvcError, OperationFailed, PveError, PveNotFound, PvePermissionDenied, Unreachable
from backupsvc.operations.restore_test import listening
from backupsvc.operations.scratch_cleanup.whereabouts import copies, holder, inherit, owner, place_of, until_gone, where_now
from policies import ownership
from policies.model import Operation, OperationState
from policies.workflow import Workflow

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

LONGEST = 1800  # seconds after which PVE is no longer expected to get it done
# What a reap must know of the operation after which it cleans up.
REMEMBERED = ("scratch", "restore_upid", "restore_intent", "restore_intent_ticks", "where", "volumes", "places", "orphan")
REAP_EVERY = 3600  # seconds between two attempts to get rid of a copy that would not go


def tear_down(run: Run) -> Wait | None:
    """Remove the copy, if it is ours, and give its VMID back once it is gone. A restore that still runs is stopped first.

    Where PVE cannot be asked, or answers with something that cannot be read, the error names the copy that is left.
    """
    try:
        return _tear_down(run)
    except (Unreachable, PveError) as error:
        _name_the_copy(run, error)
        raise


def _tear_down(run: Run) -> Wait | None:
    scratch = run.data.get("scratch")
    if scratch and (wait := _end_restore(run) or _remove(run, scratch)):
        knocked = listening.knock_after(run)
        return _in_time(run, scratch, replace(wait, most=0.01) if knocked else wait)
    if wait := listening.after(run):
        return wait
    release_vmids(run, holder(run))
    run.leave()
    return None


def _name_the_copy(run: Run, error: BackupsvcError) -> None:
    scratch = run.data.get("scratch")
    if scratch and _began(run) and "stays reserved" not in error.hint:
        left = (
            f"the copy in scratch VMID {scratch['vmid']} on {place_of(run, scratch)} may still be there, and the VMID stays "
            "reserved: the next `backupsvc restore-test`, or workers (`backupsvc serve`), take it down"
        )
        error.hint = f"{error.hint}; {left}" if error.hint else left


def _remove(run: Run, scratch: dict[str, Any]) -> Wait | None:
    if not _began(run):
        return None  # PVE refused the restore, so whatever is under that VMID now is somebody else's
    if wait := inherit(run, scratch):
        return wait
    if not run.data.get("destroyed"):
        if wait := where_now(run, scratch) or _stop(run, scratch) or _destroy(run, scratch):
            return wait
        run.data["destroyed"] = True
    return until_gone(run, scratch)


def _began(run: Run) -> bool:
    return bool(run.data.get("restore_upid") or run.data.get("restore_intent") or run.data.get("orphan"))


def open_reaps(service: Service) -> list[Operation]:
    """Open a reap for every scratch VMID whose operation has ended and still holds it; return those that this call opened."""
    opened = []
    for vmid, held_by in service.catalog.leased_vmids().items():
        ended = service.catalog.operation(held_by)
        if ended and ended.state is not OperationState.OPEN and not tried(service, vmid, held_by):
            operation = open_reap(service, vmid, ended)
            opened += [operation] if operation else []
    return opened


def open_reap(service: Service, vmid: int, ended: Operation) -> Operation | None:
    """Given a scratch VMID that an ended operation still holds, open the reap that takes its copy down. Raise Refused if
    something is at work there."""
    if ended.data.get("orphan"):
        service.catalog.release_vmid(vmid, ended.id)  # if its copy is still there, it is found again as one that is forgotten
        return None
    kept: Any = ended.data
    known = {key: kept[key] for key in REMEMBERED if key in kept}
    found: Operation | None = service.engine.open("reap", vmid, known | {"copy_of": ended.id})
    return found


def tried(service: Service, vmid: int, copy_of: str) -> bool:
    """Given a scratch VMID and whose copy is there, return whether a reap is at that copy, or was less than an hour ago."""
    before = service.catalog.operations(kind="reap", subject=vmid, limit=1)
    same = bool(before) and before[0].data.get("copy_of") == copy_of
    return same and (before[0].state is OperationState.OPEN or before[0].created > service.clock.now() - REAP_EVERY)


def release_vmids(run: Run, holder: str) -> None:
    """Give back every scratch VMID that an operation holds."""
    for vmid, held_by in run.service.catalog.leased_vmids().items():
        if held_by == holder:
            run.service.catalog.release_vmid(vmid, holder, run.fence())


def _end_restore(run: Run) -> Wait | None:
    """Wait until no restore works on the VMID any more: stop one that does, and give a lost one time to show up."""
    if run.unsettled("start"):
        return Wait("it is not known yet whether the copy was started", most=2.0)
    upid = run.data.get("restore_upid") or run.adopt("restore", **scratch_task(run, "qmrestore"))
    if upid is None:
        return Wait("it is not known yet whether a restore was started", most=2.0) if run.unsettled("restore") else None
    if run.data.get("restore_ended"):
        return None
    if run.service.pve.tasks.poll(str(upid)) is not None:
        run.data["restore_ended"] = True
        return None
    if not run.data.get("restore_stopped"):
        run.service.pve.tasks.stop(str(upid))
        run.data["restore_stopped"] = True
        run.note("stopped", str(upid))
    return Wait("the interrupted restore is ending", most=0.5)


def _stop(run: Run, scratch: dict[str, Any]) -> Wait | None:
    from backupsvc.pve.scratch import gone

    node, vmid = place_of(run, scratch), scratch["vmid"]
    if run.data.get("stopped"):
        return None
    _adopt_stub(run, node, vmid)
    try:
        result = run.task(
            "stop",
            lambda: copies(run).stop(node, vmid, owner(run)),
            what=f"stop scratch VMID {vmid}",
            **_task(run, node, "qmstop"),
        )
    except NoTask:
        result = None
    else:
        if result is None:
            return Wait("the copy is being stopped", most=0.5)
        if not gone(result.exitstatus):  # it may have moved in between: where it is now is asked after the deletion
            result.raise_if_failed(f"stopping scratch VMID {vmid} on {node}")
    run.data["stopped"] = True
    return None


def _destroy(run: Run, scratch: dict[str, Any]) -> Wait | None:
    from backupsvc.pve.scratch import gone

    node, vmid = place_of(run, scratch), scratch["vmid"]
    try:
        result = run.task(
            "destroy",
            lambda: copies(run).destroy(node, vmid, owner(run)),
            what=f"destroy scratch VMID {vmid}",
            **_task(run, node, "qmdestroy"),
        )
    except NoTask:
        return None  # there is no such guest
    if result is None:
        return Wait("the copy is being removed", most=0.5)
    if not gone(result.exitstatus):
        result.raise_if_failed(f"destroying scratch VMID {vmid} on {node}")
    return None


def _in_time(run: Run, scratch: dict[str, Any], wait: Wait) -> Wait:
    """Pass a wait on, unless the tear-down has lasted too long: then it has failed, and a reap will try again."""
    if run.passed("tear-down") > LONGEST:
        raise OperationFailed(
            f"scratch VMID {scratch['vmid']} on {place_of(run, scratch)} could not be removed within {LONGEST} s: {wait.why}",
            "look at its tasks in PVE; the VMID stays reserved, and it is tried again every hour while workers run",
            operation=run.id,
        )
    return wait


def scratch_task(run: Run, type: str) -> dict[str, Any]:
    """Where a task on the copy runs, as ``Run.task`` and ``Run.adopt`` want to know it."""
    scratch = run.data["scratch"]
    return {"pve": run.service.pve, "node": scratch["node"], "vmid": scratch["vmid"], "type": type}


def _task(run: Run, node: str, type: str) -> dict[str, Any]:
    """As ``scratch_task``, where the copy is now."""
    return scratch_task(run, type) | {"node": node}


def _adopt_stub(run: Run, node: str, vmid: int) -> None:
    """A failed restore leaves a config without our marker: mark it when it is provably ours, so that it can go (law 1)."""
    upid = run.data.get("restore_upid")
    try:
        config = run.service.pve.guests.config(node, vmid)
    except PveNotFound:
        return
    holder = run.service.catalog.lease_holder(vmid)
    unmarked = ownership.refusal(vmid, config, scratch=run.service.policy.scratch, operation=owner(run), lease_holder=holder)
    if upid and unmarked and ownership.is_stub(config):
        try:
            copies(run).mark_stub(node, vmid, owner(run), str(upid))
        except PvePermissionDenied:  # PVE puts a guest into its pool at the end of a restore: this one is in none
            raise PvePermissionDenied(
                f"VM {vmid} on {node} is the empty rest of our failed restore, and in no pool, so that "
                f"{run.service.pve.token_id} may not remove it",
                f"remove it there as root: `qm destroy {vmid}`; until then the scratch VMID {vmid} stays reserved",
            ) from None


WORKFLOW = Workflow("reap", (), ("tear-down",))
HANDLERS: Mapping[str, Handler] = {"tear-down": tear_down}
