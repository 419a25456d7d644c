"""/nodes/{node}/qemu/{vmid}/resize: making a disk larger (qemu-server PVE/API2/Qemu.pm resize_vm;
05_restore_ok 63).
"""

from __future__ import annotations

from typing import Any

from pvelab.guests import resizing
from pvelab.guests.access import check_root_parameter
from pvelab.guests.state import check_unlocked, need, task_lock
from pvelab.kernel import Call, TaskDied, TaskLog, route


@route("PUT", "/nodes/{node}/qemu/{vmid}/resize")
def resize(call: Call) -> Any:
    """Make a disk of a guest larger, in a task."""
    check_root_parameter(call, "skiplock")
    lab, node, vmid, params = call.lab, call.node, call.vmid, call.params
    lab.guests.need(node, vmid)

    def work(log: TaskLog) -> None:
        with task_lock(lab, vmid, log):
            vm = need(lab, node, vmid)
            if params.get("digest") not in (None, vm.digest):
                raise TaskDied("checksum mismatch (file change by other user?)")
            if not params.get("skiplock"):
                check_unlocked(vm)
            resizing.resize(call, vm, resizing.disk_of(vm, params["disk"]), params["size"], log)

    return call.spawn("resize", vmid, work)
