"""No copy starts beside a probe that passes packets on (law 2): through it the copy could reach
production.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc.errors import BackupsvcError, LawRefused, SshRefused
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.operations.services import Run
from policies import silence

if TYPE_CHECKING:
    from backupsvc.remote.jump import Jump

# what is known of it: that it passes none, that its login cannot tell, or that the question was
# lost, which may have gone wrong once
NONE, NOT_KNOWN, LOST = "none", "not known", "lost"
NOWHERE = "192.0.2.1"  # an address that is nobody's (RFC 5737)


def ask(run: Run[RestoreTestMemory], jump: Jump | None) -> None:
    """Given the way through the probe (None: there is none), ask it whether it passes packets on
    where the copy's checks do not speak to it, unless it has answered. One that is silent both
    times is taken for one that passes none.

    Raise LawRefused (law 2) if it passes them on, SshRefused if it does not let us in.
    """
    asked_elsewhere = run.memory.simulated or run.memory.silence
    if jump is None or asked_elsewhere or run.memory.forwarding not in ("", LOST):
        return
    try:
        table = silence.read(jump.ask(silence.question(NOWHERE)) or "", NOWHERE)
    except SshRefused:
        raise
    except BackupsvcError:
        run.memory = replace(run.memory, forwarding=LOST)
        return
    if table:
        refuse_router(run, table)
    run.memory = replace(run.memory, forwarding=NONE if table else NOT_KNOWN)


def refuse_router(run: Run[RestoreTestMemory], table: silence.Table) -> None:
    """Given what a probe told of itself, raise LawRefused (law 2) if it passes packets on."""
    if through := silence.forwards(table):
        raise LawRefused(
            2,
            f"the copy of guest {run.vmid} must not start: the probe of {run.memory.reserved.node} "
            f"passes packets on at {through}, so the copy could reach production through it",
            "switch forwarding off in the probe: sysctl -w net.ipv4.ip_forward=0 "
            "net.ipv6.conf.all.forwarding=0",
        )
