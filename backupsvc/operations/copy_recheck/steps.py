"""Read a copy anew: wait for the turn at its target, read it there, record what was found.

It writes nothing at the target, so it may be broken off anywhere and begun again. What is found is
recorded of the copy, so that tiers, prune and the report go by it at once; its end is a failure
where the copy is not what was verified: somebody must look at that disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backupsvc.copies.opening import open_target
from backupsvc.copies.reread import reread
from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import CopyError
from backupsvc.operations.copy.opening import lock_of, target_of
from backupsvc.operations.copy_recheck.memory import (
    NONE_ANY_MORE,
    CopyReading,
    CopyRecheckMemory,
)
from backupsvc.operations.services import Run, StepServices
from policies.copy_folders import folder_of
from policies.model import CopyRoute
from policies.workflow import Workflow


def choose(run: Run[CopyRecheckMemory]) -> Wait | None:
    """Wait for the turn at the target, which copies take too."""
    target = target_of(run)
    return run.turn(
        lock_of(run.memory.node, target.name),
        f"another copy at {target.name} is being made or read",
    )


def read(run: Run[CopyRecheckMemory]) -> Wait | None:
    """Read the copy whole, hold it against what was verified, and record what was found."""
    service, target = run.service, target_of(run)
    memory, folder_name = run.memory, folder_of(target)
    route = CopyRoute(
        target.name, folder_name, "", memory.node, memory.volid, run.operation.subject
    )
    # as the catalog knows it now: it may have been let go since, or is being made anew
    copy, began = service.catalog.copies.get(route), run.now()
    if copy is None:
        run.conclude(NONE_ANY_MORE)
        return None
    with open_target(target, service.nodes, service.settings.ssh) as folder:
        found = reread(folder, copy, target.bandwidth, run.clock, run.heartbeat)
    service.catalog.copies.record_checked(copy, began, found.problem, run.fence())
    run.memory = replace(run.memory, found=CopyReading(found.problem, found.how))
    run.conclude(found.problem or f"its bytes are those that were verified ({found.how})")
    return None


def judge(run: Run[CopyRecheckMemory]) -> Wait | None:
    """End as failed where the copy is damaged."""
    found, memory = run.memory.found, run.memory
    if found is not None and found.problem:
        raise CopyError(
            f"the copy of {memory.volid} at {memory.target} is no longer what was verified: "
            f"{found.problem}",
            f"check the disk of {memory.target}; `backupsvc copy run --to {memory.target}` makes "
            "the copy anew, as the next night does, while the archive is there",
        )
    return None


WORKFLOW = Workflow("copy-recheck", ("choose", "read", "judge"), long=frozenset({"read"}))
HANDLERS: Mapping[str, Handler[StepServices, CopyRecheckMemory]] = {
    "choose": choose,
    "read": read,
    "judge": judge,
}
