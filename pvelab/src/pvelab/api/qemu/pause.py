"""Halting a guest and letting it go on (qemu-server PVE/API2/Qemu.pm vm_suspend, vm_resume;
05_restore_ok 189-197).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pvelab.guests import power
from pvelab.guests.access import check_root_parameter
from pvelab.guests.state import check_unlocked, need, task_lock
from pvelab.kernel import Call, LabError, Machine, TaskDied, TaskLog, route

_BASE = "/nodes/{node}/qemu/{vmid}/status"


@route("POST", _BASE + "/suspend")
def suspend(call: Call) -> Any:
    """Halt a guest's processors, in a task. Raise LabError 501 where its memory is to be written to
    a disk.
    """
    if call.params.get("todisk"):
        raise LabError(501, "the lab suspends guests in memory only")
    return _spawn(call, "qmpause", lambda machine: machine.suspend())


@route("POST", _BASE + "/resume")
def resume(call: Call) -> Any:
    """Let a guest go on, in a task; one that was never halted may be told so, too."""
    return _spawn(call, "qmresume", lambda machine: machine.resume(), despite="backup")


def _spawn(call: Call, kind: str, act: Callable[[Machine], None], *, despite: str = "") -> str:
    """Start the task that acts on a guest's machine. Raise LabError 500 for a guest that is off."""
    check_root_parameter(call, "skiplock")
    lab, node, vmid, skiplock = call.lab, call.node, call.vmid, call.params.get("skiplock")
    if power.machine_of(lab, lab.guests.need(node, vmid).vmid) is None:
        raise LabError(500, f"VM {vmid} not running")

    def work(log: TaskLog) -> None:
        with task_lock(lab, vmid, log):
            vm = need(lab, node, vmid)
            if not skiplock:
                check_unlocked(vm, despite)
            if (machine := power.machine_of(lab, vmid)) is None:
                raise TaskDied(f"VM {vmid} not running")
            act(machine)

    return call.spawn(kind, vmid, work)
