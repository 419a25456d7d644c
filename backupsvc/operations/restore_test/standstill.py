"""What the step ``boot`` of a restore test sees of its copy from outside, kept from look to look in
the operation's memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backupsvc.errors import OperationFailed, PveError, PveUnreachable
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.operations.services import Run
from policies import stillness
from policies.stillness import Conclusion, Look, Reading

EVERY = 5.0  # seconds between two looks
_HALTED_HINT = "the archive is not to blame: look at the copy's node and storage, and test again"


def look(run: Run[RestoreTestMemory], config: Mapping[str, str]) -> Conclusion:
    """Given a copy that boots and its config, look at its machine unless that was just done; return
    what is known of it.
    """
    before, now = run.memory.machine, run.passed("boot")
    if before is None or now - before.last.at >= EVERY:
        scratch = run.memory.reserved
        try:
            status = run.service.pve.guests.status(scratch.node, scratch.vmid)
        except (PveError, PveUnreachable):
            pass  # what PVE does not tell this time leaves everything as it was
        else:
            found = Look(now, status.qmpstatus, status.reads, status.pid)
            before = stillness.seen(before, found)
            run.memory = replace(run.memory, machine=before)
    return stillness.conclude(config, before) if before else Conclusion(Reading.OPEN, "")


def end_if_halted(run: Run[RestoreTestMemory], found: Conclusion, *, timed_out: bool) -> None:
    """Raise OperationFailed if the copy's machine does not run and will not: that nobody answers is
    then no sign of death.
    """
    if found.reading is Reading.HALTED and (found.final or timed_out):
        run.memory = replace(run.memory, booted=None)
        raise OperationFailed(
            f"the machine of guest {run.vmid}'s copy does not run: {found.said}",
            _HALTED_HINT,
            operation=run.id,
        )


def end_if_unbootable(run: Run[RestoreTestMemory], found: Conclusion) -> None:
    """Raise OperationFailed if nothing boots from the copy's disk; a copy that could not be asked
    is waited for all the same.
    """
    if found.reading is Reading.UNBOOTABLE and run.memory.heard:
        run.memory = replace(run.memory, booted=False)
        raise OperationFailed(
            f"the copy of guest {run.vmid} showed no sign of life: {found.said}", operation=run.id
        )
