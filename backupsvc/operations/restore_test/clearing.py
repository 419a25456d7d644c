"""What earlier tests left is taken down before a command makes another copy: a site without workers
has nobody else for it.

An ended operation that could not remove its copy keeps the copy's VMID (law 1). A copy that still
runs takes memory, and answers at the address of the next one.
"""

from __future__ import annotations

from dataclasses import replace

from backupsvc.engine.context import Wait
from backupsvc.errors import BackupsvcError
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.operations.scratch_cleanup.taking_down import open_reap
from backupsvc.operations.services import Run
from policies.model import Operation, OperationState

# seconds that a test waits for it: what takes longer goes on beside it, and a VMID is reserved
# until then
MAX_WAIT_S = 120.0


def take_down_left_copies(run: Run[RestoreTestMemory]) -> Wait | None:
    """In the foreground, let each copy that ended operations left be taken down, once a test;
    return a wait meanwhile.

    What cannot be removed now is named and keeps its VMID; the test goes on with another one.
    Workers have their tick for this.
    """
    catalog = run.service.catalog
    while run.foreground:
        if run.memory.clearing:
            if wait := _await(run, run.memory.clearing):
                return wait
            run.memory = replace(run.memory, clearing=None)
        held = [(vmid, catalog.operations.get(id)) for vmid, id in catalog.leases.holders().items()]
        left = next(
            (
                (vmid, one)
                for vmid, one in held
                if one and one.state is not OperationState.OPEN and vmid not in run.memory.cleared
            ),
            None,
        )
        # who waits for the test does not wait for another copy that may not go either
        if left is None or run.memory.not_cleared:
            break
        run.memory = replace(run.memory, cleared=(*run.memory.cleared, left[0]))
        run.memory = replace(run.memory, clearing=_begin(run, *left))
    return None


def _begin(run: Run[RestoreTestMemory], vmid: int, ended: Operation) -> str | None:
    """Return the reap that takes a copy down, one that is open already or a new one; None where
    there is nothing to wait for.
    """
    catalog = run.service.catalog
    error = ended.book.cleanup_error
    because = f" ({error.message})" if error and error.message else ""
    why = f"{ended.kind} {ended.id} left its copy in scratch VMID {vmid}{because}"
    try:
        reap = catalog.operations.by_exclusive_key(f"guest {vmid}") or open_reap(
            run.service, vmid, ended
        )
    except BackupsvcError as refused:
        run.say(f"{why}; it is not taken down now: {refused.message}")
        return None
    if reap is None:
        return None
    run.say(
        f"{why}; it is taken down first, by {reap.kind} {reap.id}: see `backupsvc operations show "
        f"{reap.id}`"
    )
    return reap.id


def _await(run: Run[RestoreTestMemory], id: str) -> Wait | None:
    reap = run.service.catalog.operations.get(id)
    if reap is None or reap.state is OperationState.DONE:
        return None
    if reap.state is OperationState.OPEN and run.passed("reserve") < MAX_WAIT_S:
        return Wait(
            f"{reap.kind} {id} takes down the copy in scratch VMID {reap.subject} first",
            most=2.0,
            behind=id,
        )
    run.memory = replace(run.memory, not_cleared=True)
    why = (
        reap.error
        if reap.state is not OperationState.OPEN
        else f"it lasts longer than {MAX_WAIT_S:g} s"
    )
    run.say(
        f"the copy in scratch VMID {reap.subject} is still there ({why}): the VMID stays "
        "reserved, and another one is used"
    )
    return None
