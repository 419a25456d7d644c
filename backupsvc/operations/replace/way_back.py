"""The way back of a replacement: the new guest off the network and down, the old one wired and started
as it was. The cleanup of one that did not come to its end, and the work of one that is taken back.

Each step looks for itself whether it is owed, so that after one that failed the next still brings back
what can be: what would bring both onto the network is refused at the effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import TaskFailed
from backupsvc.operations.replace import moving
from backupsvc.operations.replace.memory import ReplaceMemory
from backupsvc.operations.replace.pair import change, pair, power
from backupsvc.operations.services import Run, StepServices
from backupsvc.pve.replacing import Found
from policies import replace_guard
from policies.model import Operation, OperationState
from policies.replace_guard import Links, Power
from policies.surroundings.ha import STARTS

CLEANUP = ("settle", "release", "withdraw", "give-back", "start-again", "jobs-back", "arm-again")
# the tasks that may still run, with PVE's word for them, and whether they are about the old guest
_TASKS = (
    ("restore", "qmrestore", False),
    ("start-new", "qmstart", False),
    ("shut-down", "qmshutdown", True),
    ("shut-down-off", "qmstop", True),
)


def owed(run: Run[ReplaceMemory]) -> bool:
    """Whether there is anything to bring back: it did not come to its end, or shall be undone."""
    memory = run.memory
    if memory.undo_of is not None:
        return memory.begun
    return memory.judged is None and "restore" in run.book.tasks


def note_who(run: Run[ReplaceMemory]) -> None:
    """Write into the history, once, who typed the old guest's name."""
    memory = run.memory
    if not memory.noted:
        run.memory = replace(memory, noted=True)
        word = replace_guard.name_to_type(memory.old, memory.old_name)
        run.note("confirmed", by=memory.typed_by, time=memory.typed_at, words=word)


def wait_for_child(run: Run[ReplaceMemory], child: Operation) -> Wait:
    """Return the wait for the safety backup; a command drives it itself meanwhile."""
    why = f"the safety backup of guest {run.memory.old} is being made"
    return Wait(why, most=5.0, behind=child.id if run.foreground else None)


def while_locked(run: Run[ReplaceMemory], vmid: int, seen: Found) -> Wait | None:
    """Given one of the two as it was just seen, return a wait while PVE has it locked."""
    lock = seen.config.get("lock")
    return Wait(f"guest {vmid} is locked ({lock})", most=10.0) if lock else None


def shut_down(
    run: Run[ReplaceMemory],
    name: str,
    vmid: int,
    seen: Found,
    ask: Callable[[int], str],
    stop: Callable[[], str],
) -> Wait | None:
    """Ask a guest that runs to shut down, once, and wait for it; switch it off afterwards only if that
    was allowed. Raise TaskFailed if it does not go.
    """
    pve, memory, off = run.service.restore_pve, run.memory, f"{name}-off"
    if name not in run.book.tasks and (wait := while_locked(run, vmid, seen)):
        return wait
    node = memory.old_node if vmid == memory.old else seen.node or memory.node
    result = run.task(
        name,
        lambda: ask(memory.patience),
        what=f"shut guest {vmid} down",
        pve=pve,
        node=node,
        type="qmshutdown",
        vmid=vmid,
    )
    if result is None:
        return Wait(f"guest {vmid} is shutting down")
    run.ended(name, result)
    if not result.ok and memory.force_stop:
        result = run.task(
            off, stop, what=f"switch guest {vmid} off", pve=pve, node=node, type="qmstop", vmid=vmid
        )
        if result is None:
            return Wait(f"guest {vmid} is being switched off")
    result.raise_if_failed(
        f"guest {vmid} did not shut down within {memory.patience} s, and may still do so later: "
        f"shutting it down on {node}"
    )
    if pair_of(run, vmid).side.power is not Power.STOPPED:
        return Wait(f"guest {vmid} is not off yet")
    return None


def pair_of(run: Run[ReplaceMemory], vmid: int) -> Found:
    """Return one of the two as it is seen at this moment."""
    return pair(run).old() if vmid == run.memory.old else pair(run).new()


def settle(run: Run[ReplaceMemory]) -> Wait | None:
    """Leave nothing running: the safety backup and tasks are awaited, a restore is stopped."""
    memory, pve, catalog = run.memory, run.service.restore_pve, run.service.catalog
    child = catalog.operations.get(memory.safety) if memory.safety else None
    if child and child.state is OperationState.OPEN:
        return wait_for_child(run, child)
    if memory.undo_of is not None or memory.judged is not None:
        return None
    for name, type, of_old in _TASKS:
        vmid, node = (memory.old, memory.old_node) if of_old else (run.vmid, memory.node)
        upid = run.book.upid(name) or run.adopt(name, pve=pve, node=node, type=type, vmid=vmid)
        if upid is None and run.unsettled(name):
            return Wait(f"it is not known yet whether {name} was begun", most=2.0)
        if upid and pve.tasks.poll(upid) is None:
            if name == "restore":
                run.stop(name, pve, upid)
            return Wait(f"{name} is ending", most=2.0)
    return None


def withdraw(run: Run[ReplaceMemory]) -> Wait | None:
    """Take the new guest's links down, then shut it down. One that does not go is left running with
    its links down.
    """
    if not owed(run):
        return None
    both = pair(run)
    seen = both.new()
    if seen.side.power is Power.ABSENT:
        return None
    pulled = not replace_guard.cut(seen.config) and seen.side.links is Links.DOWN
    if not pulled:
        if wait := while_locked(run, run.vmid, seen):
            return wait
        change(run, both.pull_new, lambda: not replace_guard.cut(both.new().config))
        seen = both.new()
    # a cable takes a moment to be pulled out of a guest that runs
    if seen.side.links is not Links.DOWN:
        return Wait(f"the links of guest {run.vmid} are not down yet", most=2.0)
    if seen.side.power is Power.STOPPED and "shut-down-new" not in run.book.tasks:
        return None
    try:
        return shut_down(run, "shut-down-new", run.vmid, seen, both.shut_down_new, both.stop_new)
    except TaskFailed as error:
        left = f"guest {run.vmid} is left running with its links down: {error.message}"
        run.memory = replace(run.memory, left=(*run.memory.left, left))
        run.conclude(left)
    return None


def give_back(run: Run[ReplaceMemory]) -> Wait | None:
    """Give the old guest the links, and the start at boot, that it had."""
    was = run.memory.was
    if not owed(run) or was is None:
        return None
    seen = pair(run).old()
    if wait := while_locked(run, run.memory.old, seen):
        return wait
    change(
        run,
        lambda: pair(run).return_old(was),
        lambda: not replace_guard.given_back(pair(run).old().config, was),
    )
    return None


def start_again(run: Run[ReplaceMemory]) -> Wait | None:
    """Start the old guest if it had been running."""
    memory = run.memory
    if not owed(run) or not memory.cut or not memory.ran:
        return None
    seen = pair(run).old()
    if "start-old" not in run.book.tasks:
        if seen.side.power is Power.RUNNING:
            return None
        # somebody gave it to HA meanwhile, which starts it now that it may
        if seen.ha in STARTS and run.passed(run.operation.step) < moving.LET_GO:
            return Wait(f"HA is starting guest {memory.old}", most=2.0)
        if wait := while_locked(run, memory.old, seen):
            return wait
    node = seen.node or memory.old_node
    return power(run, "start-old", "qmstart", node, memory.old, pair(run).start_old)


def release(run: Run[ReplaceMemory]) -> Wait | None:
    """Have HA leave the new guest alone, if it manages it."""
    return moving.release(run) if owed(run) else None


def jobs_back(run: Run[ReplaceMemory]) -> Wait | None:
    """Put the old guest back into the backup jobs, if the new one took its place there."""
    return moving.jobs_back(run) if owed(run) else None


def arm_again(run: Run[ReplaceMemory]) -> Wait | None:
    """Let HA keep the old guest as it did."""
    if owed(run):
        moving.arm_again(run)
    return None


HANDLERS: Mapping[str, Handler[StepServices, ReplaceMemory]] = {
    "settle": settle,
    "release": release,
    "withdraw": withdraw,
    "give-back": give_back,
    "start-again": start_again,
    "jobs-back": jobs_back,
    "arm-again": arm_again,
}
