"""The two guests of a replacement, and the one way in which its steps touch them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from backupsvc.engine.context import Wait
from backupsvc.errors import PveError
from backupsvc.operations.replace.memory import ReplaceMemory
from backupsvc.operations.restore import twins
from backupsvc.operations.services import Run
from backupsvc.pve.replacing import Replacing


def pair(run: Run[ReplaceMemory]) -> Replacing:
    """Return what may be done with the two: bound to them, and to the operation while this process
    drives it.
    """
    memory, service = run.memory, run.service
    machine = replace(twins.identity_of(memory), uuid=memory.uuid)
    return service.restore_pve.replacing(
        service.policy.scratch, memory.old, run.vmid, machine, run.save, service.pve.ha
    )


def power(
    run: Run[ReplaceMemory], name: str, type: str, node: str, vmid: int, begin: Callable[[], str]
) -> Wait | None:
    """Begin a task that starts one of the two, once, and wait for it. Raise TaskFailed."""
    pve = run.service.restore_pve
    result = run.task(
        name, begin, pve=pve, node=node, type=type, vmid=vmid, what=f"{name}: guest {vmid}"
    )
    if result is None:
        return Wait(f"guest {vmid} is starting")
    result.raise_if_failed(f"starting guest {vmid} on {node}")
    return None


def change(run: Run[ReplaceMemory], act: Callable[[], None], done: Callable[[], bool]) -> None:
    """Change the config of one of the two, and read it back. Raise PveError if it is not so then."""
    if not done():
        run.note("intent", what=run.operation.step)
        act()
    if not done():
        raise PveError(
            f"the configuration did not change at step {run.operation.step}",
            "look at both guests in PVE",
        )
