"""Bring a lost guest back, under its own VMID or another. Never over a guest that exists: ``force``
is not a word that this service knows.

Unlike a restore test, nothing is overridden but in a clone: the guest returns as it was archived, on
its own bridges, and nothing that fails is destroyed, because what stands under a production VMID is not
ours to destroy (law 1). The one exception is what a restore of our
own left that failed: an empty config, which is removed before the next try.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import PveError, Refused
from backupsvc.inventory.room import before_restore
from backupsvc.operations import choosing, identity
from backupsvc.operations.restore import checking, double_run, obstacles, twins
from backupsvc.operations.restore import rights as restore_rights
from backupsvc.operations.restore.absence import must_be_absent
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.services import Run, StepServices
from policies import causes, restore_clone
from policies.workflow import Workflow

# a replacement restores as well, and remembers more
R = TypeVar("R", bound=RestoreMemory)


def choose(run: Run[RestoreMemory]) -> Wait | None:
    """Look once more, just before the restore, that nobody has taken VMID, rights or room or
    changed the archive meanwhile.

    What our own failed restore left there is removed. A lost quorum is waited for, and nothing is
    begun while the original may be alive.
    """
    if lost := obstacles.without_quorum(run.service, run.memory.node):
        return Wait(f"{lost.message}; it goes on when quorum is back", most=5.0, least=5.0)
    double_run.require_off(run, f"restoring guest {run.vmid} was not begun")
    if rest := must_be_absent(run.service, run.vmid):
        pve = run.service.restore_pve
        result = run.task(
            "clear",
            # law 1's exception is decided anew at that moment
            lambda: pve.stubs().destroy(rest.node, run.vmid, rest.upid),
            what=f"remove the rest of our failed restore of guest {run.vmid}",
            pve=pve,
            node=rest.node,
            type="qmdestroy",
            vmid=run.vmid,
        )
        if result is None:
            return Wait("the rest of our failed restore is being removed", most=1.0)
        result.raise_if_failed(
            f"removing the rest of our failed restore of guest {run.vmid} on {rest.node}"
        )
    memory = run.memory
    archive = choosing.chosen(run.service, memory.archive)
    # what has warnings was named by somebody who was told of them
    if archive.changed and not memory.warnings:
        raise Refused(
            identity.was_changed(archive),
            f"name it with --archive {archive.volid} if it is the one that you want",
        )
    restore_rights.require(run.service, run.vmid, memory.rights)
    if not memory.clone:
        # the machine may have come back under another VMID meanwhile
        twins.seen_before(run.service, memory, run.vmid)
    # since it was planned others have written there
    room = before_restore(
        run.service.restore_pve, run.vmid, memory.node, memory.needs, archive.size
    )
    run.memory = replace(memory, room=tuple(room))
    choosing.pin(run.service, archive, run.fence(), run.now())
    run.conclude(archive.volid)
    return None


def restore(run: Run[R]) -> Wait | None:
    """Restore the archive as it is, or as a clone. PVE refuses if a guest with that VMID exists."""
    pve, archive, node = run.service.restore_pve, run.memory.archive, run.memory.node

    def begin() -> str:
        return pve.restore.start(
            node,
            run.vmid,
            archive.volid,
            storage=run.memory.storage,
            overrides=run.memory.overrides,
            unique=run.memory.clone,
        )

    result = run.task("restore", begin, what=f"restore {archive.volid}", **_task(run, "qmrestore"))
    if result is None:
        return Wait("the archive is being restored", most=2.0)
    run.ended("restore", result)
    if not result.ok and (blame := causes.blame(result.exitstatus, result.log)).damaged:
        # its proof must not offer it once more
        run.service.catalog.archives.record_damaged(
            archive.node, archive.volid, f"PVE could not restore it: {blame.text}", run.now()
        )
    result.raise_if_failed(
        f"restoring guest {run.vmid} on {node} from {archive.volid} (an empty VM that it left "
        "goes at the next try)"
    )
    return None


def read_back(run: Run[R]) -> Wait | None:
    """See that the guest is there with the disks that its archive held (law 4)."""
    archived = {key.rsplit(":", 1)[-1] for key in run.memory.disks}
    config = run.service.restore_pve.guests.config(run.memory.node, run.vmid)
    if lost := sorted(archived - set(config)):
        raise PveError(
            f"guest {run.vmid} was restored without {', '.join(lost)}, which its archive holds",
            "look at the restore's log in PVE",
        )
    if run.memory.clone and (
        wrong := restore_clone.problems(config, run.memory.overrides, run.memory.archive.uuid)
    ):
        raise PveError(
            f"guest {run.vmid} is restored, and not yet apart from guest {run.memory.original}: "
            f"{'; '.join(wrong)}",
            f"put that right in PVE before you start guest {run.vmid}, or remove it",
        )
    held = f"{config.get('name', '')} with {', '.join(sorted(archived))}"
    run.conclude("; ".join([held, *run.memory.left_out]))
    return None


def start(run: Run[RestoreMemory]) -> Wait | None:
    """Start the guest if that was asked for, and if its original cannot have come back meanwhile."""
    if not run.memory.start:
        run.conclude("not started, as asked")
        return None
    pve, node = run.service.restore_pve, run.memory.node
    if run.book.task("start").intended is None:
        double_run.require_off(run, f"guest {run.vmid} is restored on {node}, and was not started")
        # under another VMID its machine may have come back to its own meanwhile
        twins.seen_before(run.service, run.memory, run.vmid)
    result = run.task(
        "start",
        lambda: pve.guests.start(node, run.vmid),
        what=f"start guest {run.vmid}",
        **_task(run, "qmstart"),
    )
    if result is None:
        return Wait("the guest is starting")
    result.raise_if_failed(f"guest {run.vmid} is restored on {node}, but starting it")
    return None


def settle(run: Run[RestoreMemory]) -> Wait | None:
    """Leave nothing running: a restore that was cancelled or late is stopped, a start is awaited.

    What PVE leaves of a stopped restore, or a guest that has just been started, is not ours to
    destroy or to stop.
    """
    restoring = _under_way(run, "restore", "qmrestore")
    if isinstance(restoring, str):
        run.stop("restore", run.service.restore_pve, restoring)
        return Wait("the interrupted restore is ending", most=2.0)
    starting = restoring or _under_way(run, "start", "qmstart")
    return Wait("the guest is starting") if isinstance(starting, str) else starting


def _under_way(run: Run[RestoreMemory], step: str, type: str) -> str | Wait | None:
    """The UPID of a step's task if that still runs, or a wait while it is not known whether one was
    started.
    """
    if step in run.book.seconds and not run.book.failed_at(step):
        return None  # the step went well
    upid = run.book.upid(step) or run.adopt(step, **_task(run, type))
    if upid is None:
        return (
            Wait(f"it is not known yet whether a {step} was begun", most=2.0)
            if run.unsettled(step)
            else None
        )
    return upid if run.service.restore_pve.tasks.poll(upid) is None else None


WORKFLOW = Workflow(
    "restore",
    ("choose", "restore", "read-back", "start", "check", "watch"),
    ("settle",),
    long=frozenset({"watch"}),
)
HANDLERS: Mapping[str, Handler[StepServices, RestoreMemory]] = {
    "choose": choose,
    "restore": restore,
    "read-back": read_back,
    "start": start,
    "check": checking.check,
    "watch": checking.watch,
    "settle": settle,
}


def _task(run: Run[R], type: str) -> dict[str, Any]:
    """Where a task on the guest runs, as ``Run.task`` and ``Run.adopt`` want to know it."""
    return {"pve": run.service.restore_pve, "node": run.memory.node, "type": type, "vmid": run.vmid}
